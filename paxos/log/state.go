package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/aether-lan/aether/paxos"
)

// Applied returns the slot, and the membership after it, that the state is of.
func (l *Log) Applied() (paxos.Slot, paxos.Membership) {
	s := l.applied.Load()
	return s.Slot, s.Members
}

func (l *Log) loadApplied() error {
	b, err := l.get(keyGeneration)
	if err != nil {
		return err
	}
	if len(b) == 8 {
		l.generation.Store(binary.BigEndian.Uint64(b))
	}
	if b, err = l.get(keyApplied(l.generation.Load())); err != nil {
		return err
	}
	var s paxos.Snapshot
	if b != nil {
		if s, err = paxos.ParseSnapshot(b); err != nil {
			return &DamagedError{"the slot of the state: " + err.Error()}
		}
	}
	l.state.Applied = s
	l.applied.Store(&s)
	return nil
}

// Apply makes writes to the state and notes that it is the state after slot, where
// members are the members: both or neither, also after a crash. A nil value deletes
// its key. The writes are durable with the next Save.
func (l *Log) Apply(slot paxos.Slot, members paxos.Membership, writes iter.Seq2[[]byte, []byte]) (err error) {
	if l.closed.Load() {
		return named("apply", ErrClosed)
	}
	defer func() { err = l.heard("apply", err) }()
	defer l.caught(&err)
	b := l.db.NewBatch()
	defer b.Close()
	g := l.generation.Load()
	for k, v := range writes {
		var err error
		if v == nil {
			err = b.Delete(keyState(g, k), nil)
		} else {
			err = b.Set(keyState(g, k), v, nil)
		}
		if err != nil {
			return err
		}
	}
	s := paxos.Snapshot{Slot: slot, Members: members}
	if err := b.Set(keyApplied(g), checked(keyApplied(g), s.Append(nil)), nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	l.applied.Store(&s)
	return nil
}

// Get returns a value of the state, nil when it has none.
func (l *Log) Get(key []byte) ([]byte, error) {
	if !l.use.begin() {
		return nil, named("get", ErrClosed)
	}
	defer l.use.end()
	v, closer, err := l.db.Get(keyState(l.generation.Load(), key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, l.heard("get", err)
	}
	v = append([]byte{}, v...)
	return v, l.heard("get", closer.Close())
}

// Scan calls f with the keys of the state from from up to but not to, nil being no
// end, and their values, in order, until f returns false. f must keep neither.
func (l *Log) Scan(from, to []byte, f func(key, value []byte) bool) error {
	if !l.use.begin() {
		return named("scan", ErrClosed)
	}
	defer l.use.end()
	return l.heard("scan", scan(l.db, l.generation.Load(), from, to, f))
}

func scan(r pebble.Reader, g uint64, from, to []byte, f func(key, value []byte) bool) error {
	o := &pebble.IterOptions{LowerBound: keyState(g, from), UpperBound: keyState(g+1, nil)}
	if to != nil {
		o.UpperBound = keyState(g, to)
	}
	if bytes.Compare(o.LowerBound, o.UpperBound) >= 0 {
		return nil
	}
	it, err := r.NewIter(o)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !f(it.Key()[9:], v) {
			break
		}
	}
	return it.Error()
}

// dropOldStates deletes the states of other generations: of a snapshot that was not
// installed to its end, or the one that it replaced.
func (l *Log) dropOldStates() (err error) {
	defer l.caught(&err)
	g := l.generation.Load()
	b := l.db.NewBatch()
	defer b.Close()
	err = errors.Join(
		b.DeleteRange(keyState(0, nil), keyState(g, nil), nil),
		b.DeleteRange(keyState(g+1, nil), []byte{'s' + 1}, nil))
	if err == nil {
		err = b.Commit(pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("old states: %w", err)
	}
	return nil
}
