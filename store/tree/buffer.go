package tree

import (
	"bytes"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/aether-lan/aether/store"
)

// Bounds of a buffer.
const (
	maxBuffered = 512 // keys; beyond it the changes go down to the Txn
	maxLoaded   = 16  // keys of a range that is worth keeping
)

// buffer is a Txn on a Txn. It keeps what was read and written during one work, so
// that a record which is changed several times is read and written once. Nothing
// else may use the keys below meanwhile; flush passes the changes on.
type buffer struct {
	store.Txn
	cells []cell // sorted by key
	spans []span // all their keys are among cells
	spilt bool   // changes were passed on before the work was done
}

func newBuffer(tx store.Txn) *buffer {
	return &buffer{Txn: tx, cells: make([]cell, 0, 32), spans: make([]span, 0, 4)}
}

// spares keeps the memory of one buffer that is done with.
type spares struct{ b atomic.Pointer[buffer] }

// take returns a buffer on tx.
func (s *spares) take(tx store.Txn) *buffer {
	b := s.b.Swap(nil)
	if b == nil {
		return newBuffer(tx)
	}
	b.Txn = tx
	return b
}

// give takes back a buffer that was flushed and is used no more.
func (s *spares) give(b *buffer) {
	clear(b.cells[:cap(b.cells)])
	clear(b.spans[:cap(b.spans)])
	b.Txn, b.spilt = nil, false
	s.b.Store(b)
}

// cell is what is known of a key.
type cell struct {
	key   []byte
	value []byte
	there bool
	old   []byte // the value below, if known
	below known
	dirty bool // set or deleted
}

// known says what a buffer knows of a key in the Txn below.
type known uint8

const (
	unread known = iota
	belowNot
	belowHas
)

type span struct{ from, to []byte }

func (b *buffer) find(k []byte) (i int, ok bool) {
	return slices.BinarySearchFunc(b.cells, k, func(c cell, k []byte) int { return bytes.Compare(c.key, k) })
}

func (b *buffer) loaded(k []byte) bool {
	return slices.ContainsFunc(b.spans, func(s span) bool {
		return bytes.Compare(s.from, k) <= 0 && bytes.Compare(k, s.to) < 0
	})
}

// Get returns the value of a key. The caller must not change it.
func (b *buffer) Get(k []byte) ([]byte, error) {
	i, ok := b.find(k)
	if ok {
		if !b.cells[i].there {
			return nil, store.ErrNotFound
		}
		return b.cells[i].value, nil
	}
	if b.loaded(k) {
		return nil, store.ErrNotFound
	}
	v, err := b.Txn.Get(k)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	b.keep(i, k, v, err == nil)
	return v, err
}

// keep notes what the Txn below has. v is the buffer's from now on.
func (b *buffer) keep(i int, k, v []byte, there bool) {
	c := cell{key: k, value: v, there: there, old: v, below: belowNot}
	if there {
		c.below = belowHas
	}
	b.cells = slices.Insert(b.cells, i, c)
}

// Set keeps both slices.
func (b *buffer) Set(k, v []byte) error { return b.change(k, v, true) }

// Delete keeps k.
func (b *buffer) Delete(k []byte) error { return b.change(k, nil, false) }

func (b *buffer) change(k, v []byte, there bool) error {
	i, ok := b.find(k)
	if !ok {
		if len(b.cells) >= maxBuffered {
			if err := b.flush(); err != nil {
				return err
			}
			i, b.spilt = 0, true
		}
		c := cell{key: k}
		if b.loaded(k) {
			c.below = belowNot
		}
		b.cells = slices.Insert(b.cells, i, c)
	}
	c := &b.cells[i]
	c.value, c.there, c.dirty = v, there, true
	return nil
}

// absent tells that the Txn below has no key k, which saves a look.
func (b *buffer) absent(k []byte) {
	if i, ok := b.find(k); !ok && !b.spilt {
		b.keep(i, k, nil, false)
	}
}

// flush passes the changes on and forgets everything.
func (b *buffer) flush() error {
	for i := range b.cells {
		c := &b.cells[i]
		var err error
		switch {
		case !c.dirty, !c.there && c.below == belowNot, c.there && c.below == belowHas && bytes.Equal(c.value, c.old):
		case c.there:
			err = b.Txn.Set(c.key, c.value)
		default:
			err = b.Txn.Delete(c.key)
		}
		if err != nil {
			return err
		}
	}
	b.cells, b.spans = b.cells[:0], b.spans[:0]
	return nil
}

// within returns where the cells of a range lie.
func (b *buffer) within(from, to []byte) (i, j int) {
	i, _ = b.find(from)
	if j = len(b.cells); to != nil {
		j, _ = b.find(to)
	}
	return i, max(i, j)
}

// Scan merges what is buffered with what lies below. f must not use the buffer.
func (b *buffer) Scan(from, to []byte, f func(k, v []byte) bool) error {
	i, j := b.within(from, to)
	cells := b.cells[i:j]
	if slices.ContainsFunc(b.spans, func(s span) bool {
		return bytes.Compare(s.from, from) <= 0 && to != nil && bytes.Compare(to, s.to) <= 0
	}) {
		b.emit(cells, f)
		return nil
	}
	more := true
	err := b.Txn.Scan(from, to, func(k, v []byte) bool {
		n := 0
		for n < len(cells) && bytes.Compare(cells[n].key, k) < 0 {
			n++
		}
		if more = b.emit(cells[:n], f); !more {
			return false
		}
		cells = cells[n:]
		if len(cells) > 0 && bytes.Equal(cells[0].key, k) {
			more = b.emit(cells[:1], f)
			cells = cells[1:]
			return more
		}
		more = f(k, v)
		return more
	})
	if err == nil && more {
		b.emit(cells, f)
	}
	return err
}

// emit calls f with what is there of cells, until it returns false.
func (b *buffer) emit(cells []cell, f func(k, v []byte) bool) (more bool) {
	for i := range cells {
		if cells[i].there && !f(cells[i].key, cells[i].value) {
			return false
		}
	}
	return true
}

// Last implements [store.Reader].
func (b *buffer) Last(from, to []byte) (key, value []byte, err error) {
	i, j := b.within(from, to)
	cells := b.cells[i:j]
	for len(cells) > 0 && !cells[len(cells)-1].there {
		cells = cells[:len(cells)-1]
	}
	for {
		key, value, err = b.Txn.Last(from, to)
		missing := errors.Is(err, store.ErrNotFound)
		if err != nil && !missing {
			return nil, nil, err
		}
		if n := len(cells) - 1; n >= 0 && (missing || bytes.Compare(cells[n].key, key) >= 0) {
			return cells[n].key, cells[n].value, nil
		}
		if missing {
			return nil, nil, store.ErrNotFound
		}
		n, ok := b.find(key)
		if !ok || b.cells[n].there {
			return key, value, nil
		}
		to = key // deleted here
	}
}

// load reads a whole range, so that what is asked of it later needs no look below.
// A range of many keys is left alone.
func (b *buffer) load(from, to []byte) error {
	if b.loaded(from) {
		return nil
	}
	type pair struct{ k, v []byte }
	var found []pair
	if err := b.Txn.Scan(from, to, func(k, v []byte) bool {
		found = append(found, pair{bytes.Clone(k), bytes.Clone(v)})
		return len(found) <= maxLoaded
	}); err != nil {
		return err
	}
	if len(found) > maxLoaded {
		return nil
	}
	for _, p := range found {
		if i, ok := b.find(p.k); !ok {
			b.keep(i, p.k, p.v, true)
		}
	}
	b.spans = append(b.spans, span{from, to})
	return nil
}
