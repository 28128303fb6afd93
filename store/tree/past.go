package tree

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Rows that are gone, or were replaced by others, are kept as past rows: each says
// what a directory showed under a name from one change to another. Only the ends are
// written, so making files costs nothing. They are this machine's own memory of what
// it showed: two machines that heard of the same changes in another order may have
// different ones, and nothing that is shown now depends on them.
//
//	h home, name, 0, end, tail → past     end: when the row ended; tail: its class and order
//	H end, home, name, 0, tail → empty    the same by time, to forget the oldest
//	Z                          → pastTotals

// past is a row that is no more.
type past struct {
	_     struct{} `cbor:",toarray"`
	Row   row
	Began store.Time
	End   store.Time
	By    dotWire
	Why   Ending
}

// Ending says how what a name led to came to an end there.
type Ending uint8

const (
	// Replaced: by another version, or another file.
	Replaced Ending = iota + 1
	// Removed: by a deletion.
	Removed
	// Moved: it has another name now, or lies elsewhere.
	Moved
)

// String returns the word for people and JSON.
func (e Ending) String() string {
	return [...]string{"", "replaced", "removed", "moved"}[min(e, Moved)]
}

// pastTotals are the sums over all past rows.
type pastTotals struct {
	_     struct{} `cbor:",toarray"`
	Rows  int64
	Bytes int64
}

// touched is what one change did to a row.
type touched struct {
	key    []byte
	before []byte // nil: it was not there
	after  []byte
	began  store.Time
	end    mark
}

// note remembers that the row under k was before and is after now. Of several changes
// of a row the first before and the last after count.
func (w *work) note(k, before, after []byte) {
	i, ok := w.rows[string(k)]
	if !ok {
		i = len(w.touched)
		w.rows[string(k)] = i
		w.touched = append(w.touched, touched{key: bytes.Clone(k), before: bytes.Clone(before), began: w.began[string(k)]})
	}
	t := &w.touched[i]
	t.after, t.end = bytes.Clone(after), w.current
}

// beginning remembers since when a row is as it is; hide knows it, the row does not.
func (w *work) beginning(k []byte, n *node, at mark) {
	w.began[string(k)] = max(n.Place.At.Time, at.Time)
}

// remember writes the past rows of a change.
func (w *work) remember() error {
	var sum pastTotals
	for _, t := range w.touched {
		if t.before == nil || bytes.Equal(t.before, t.after) {
			continue
		}
		p, err := w.pastOf(t)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		if err := put(w.tx, pastKey(t.key, p.End), p); err != nil {
			return err
		}
		if err := w.tx.Set(byTimeKey(t.key, p.End), nil); err != nil {
			return err
		}
		sum.Rows++
		sum.Bytes += p.Row.Content.Size
	}
	return addPast(w.tx, sum)
}

// pastOf returns what is to be remembered of a row; nil for nothing.
func (w *work) pastOf(t touched) (*past, error) {
	p := &past{Began: t.began, End: t.end.Time, By: dotWire{Machine: t.end.Machine, Seq: t.end.Seq}}
	if err := decode(t.before, &p.Row); err != nil {
		return nil, err
	}
	p.Why = Removed
	switch {
	case t.after != nil:
		var now row
		if err := decode(t.after, &now); err != nil {
			return nil, err
		}
		if now.ID == p.Row.ID && now.Content == p.Row.Content || p.Row.Content.Size == 0 {
			return nil, nil // attributes, or a file that was just made
		}
		p.Why = Replaced
	case p.Row.Kind == rowPlaced:
		return nil, nil // it has its own name again
	default:
		n, err := loadNode(w.tx, p.Row.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if n.View.Plain {
			p.Why = Moved
		}
	}
	return p, nil
}

// addPast adds to the totals.
func addPast(tx store.Txn, by pastTotals) error {
	if by.Rows == 0 && by.Bytes == 0 {
		return nil
	}
	sum, err := loadPast(tx)
	if err != nil {
		return err
	}
	sum.Rows += by.Rows
	sum.Bytes += by.Bytes
	return put(tx, key(keyPastTotals), &sum)
}

func loadPast(r store.Reader) (pastTotals, error) {
	sum, err := get[pastTotals](r, key(keyPastTotals))
	if errors.Is(err, store.ErrNotFound) {
		return pastTotals{}, nil
	}
	return sum, err
}

// pastKey is the key of the past row that a row becomes.
func pastKey(rowKey []byte, end store.Time) []byte {
	name, tail := splitRow(rowKey)
	k := append(key(keyPast, name), 0)
	k = append(k, u64(uint64(end))...)
	return append(k, tail...)
}

func byTimeKey(rowKey []byte, end store.Time) []byte {
	return key(keyPastTime, u64(uint64(end)), rowKey[2:])
}

// splitRow cuts the key of a row into home and name, and what comes behind the zero.
func splitRow(k []byte) (name, tail []byte) {
	rest := k[2+16:]
	i := bytes.IndexByte(rest, 0)
	return k[2 : 2+16+i], rest[i+1:]
}

// pastEnd reads the time in the key of a past row.
func pastEnd(k []byte) (name string, end store.Time, tail []byte) {
	rest := k[2+16:]
	i := bytes.IndexByte(rest, 0)
	return string(rest[:i]), store.Time(be64(rest[i+1:])), rest[i+9:]
}

// eachPast calls f with the past rows of a name that ended after t, oldest first.
func eachPast(r store.Reader, s slot, t store.Time, f func(p past, tail []byte) bool) error {
	from := append(key(keyPast, s.home[:], []byte(s.name)), 0)
	stop := end(from)
	from = append(from, u64(uint64(after(t)))...)
	var bad error
	err := r.Scan(from, stop, func(k, v []byte) bool {
		var p past
		if bad = wire.dec.Unmarshal(v, &p); bad != nil {
			return false
		}
		_, _, tail := pastEnd(k)
		return f(p, tail)
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("past of %q: %w", s.name, err)
	}
	return nil
}
