package tree

import (
	"errors"

	"github.com/aether-lan/aether/store"
)

// saw reports whether the author of b had applied a when it made b. What each
// author had seen of each other is kept as the numbers at which it changed, so
// the answer is one look for the last change up to b.
func saw(r store.Reader, b, a store.Dot) (bool, error) {
	if a.Machine == b.Machine {
		return a.Seq <= b.Seq, nil
	}
	from := key(keySeen, b.Machine[:], a.Machine[:])
	to := append(append([]byte(nil), from...), u64(b.Seq)...)
	_, v, err := r.Last(from, append(to, 0))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return len(v) == 8 && a.Seq <= be64(v), nil
}

// applied returns the number of the last operation of m that was applied.
func applied(r store.Reader, m store.MachineID) (uint64, error) {
	return number(r, key(keyVector, m[:]))
}

// ready reports whether all that op has seen is applied and op is its author's
// next.
func (w *work) ready(op *Op) (bool, error) {
	r := w.tx
	last, err := applied(r, op.Dot.Machine)
	if err != nil || op.Dot.Seq != last+1 {
		return false, err
	}
	if w.state.Lapsed && op.Dot.Machine != w.self {
		wait, err := held(r, op.Dot.Machine)
		if err == nil && wait {
			wait, err = w.unwanted(op.Dot)
		}
		if wait || err != nil {
			return false, err
		}
	}
	for _, d := range op.Seen {
		n, err := applied(r, d.Machine)
		if err == nil && n < d.Seq && w.state.Lapsed {
			var never bool
			if never, err = distrusted(r, d.Machine); never && err == nil {
				continue // it will not come
			}
		}
		if err != nil || n < d.Seq {
			return false, err
		}
	}
	return true, nil
}

// record enters op in the books of who has seen what.
func (w *work) record(op *Op) error {
	tx, m := w.tx, op.Dot.Machine
	for _, d := range op.Seen {
		if err := tx.Set(key(keySeen, m[:], d.Machine[:], u64(op.Dot.Seq)), u64(d.Seq)); err != nil {
			return err
		}
	}
	if m == w.self {
		w.state.Last = op.Dot.Seq
	} else {
		_, err := tx.Get(key(keyDirty, m[:]))
		if errors.Is(err, store.ErrNotFound) {
			w.state.News++
			err = tx.Set(key(keyDirty, m[:]), nil)
		}
		if err != nil {
			return err
		}
	}
	return tx.Set(key(keyVector, m[:]), u64(op.Dot.Seq))
}

// news returns what was applied since our own last operation, and forgets it.
func (w *work) news() ([]store.Dot, error) {
	if w.state.News == 0 {
		return nil, nil
	}
	w.state.News = 0
	tx, from := w.tx, key(keyDirty)
	var dots []store.Dot
	err := tx.Scan(from, end(from), func(k, _ []byte) bool {
		var d store.Dot
		copy(d.Machine[:], k[len(from):])
		dots = append(dots, d)
		return true
	})
	for i, d := range dots {
		if err != nil {
			return nil, err
		}
		if dots[i].Seq, err = applied(tx, d.Machine); err == nil {
			err = tx.Delete(key(keyDirty, d.Machine[:]))
		}
	}
	return dots, err
}

// Vector returns, for each machine, the last of its operations that was applied.
// Equal vectors mean equal drives: see [Tree.Hash].
func (t *Tree) Vector(r store.Reader) (store.Vector, error) {
	from := key(keyVector)
	v := store.Vector{}
	err := r.Scan(from, end(from), func(k, val []byte) bool {
		var m store.MachineID
		copy(m[:], k[len(from):])
		if len(val) == 8 {
			v[m] = be64(val)
		}
		return true
	})
	return v, err
}

// park keeps an operation until what it has seen has come.
func park(tx store.Txn, op *Op) (fresh bool, err error) {
	k := key(keyParked, op.Dot.Machine[:], u64(op.Dot.Seq))
	if _, err := tx.Get(k); !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	b, err := op.Append(nil)
	if err != nil {
		return false, err
	}
	return true, tx.Set(k, b)
}

// unpark takes a parked operation that is ready, if there is one. It looks at the
// first of each author.
func (w *work) unpark() (*Op, error) {
	tx := w.tx
	from := key(keyParked)
	stop := end(from)
	for {
		var k, v []byte
		err := tx.Scan(from, stop, func(key, val []byte) bool {
			k, v = append(k, key...), append(v, val...)
			return false
		})
		if err != nil || k == nil {
			return nil, err
		}
		op, err := ParseOp(v)
		if err != nil {
			return nil, err
		}
		ok, err := w.ready(&op)
		if err != nil {
			return nil, err
		}
		if ok {
			return &op, tx.Delete(k)
		}
		from = end(key(keyParked, op.Dot.Machine[:]))
	}
}
