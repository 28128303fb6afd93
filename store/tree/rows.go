package tree

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"github.com/aether-lan/aether/store"
)

// show writes the rows that n.View tells of.
func (w *work) show(id store.FileID, n *node) error {
	if n.isLink() {
		return w.countLink(n, +1)
	}
	if err := w.showNames(id, n); err != nil || !n.View.shown() {
		return err
	}
	if n.View.Plain {
		k, r := n.plainRow(id)
		if err := w.setRow(k, r); err != nil {
			return err
		}
		w.slots = append(w.slots, slot{n.View.Home, n.Place.Name})
	}
	for _, l := range n.View.Losers {
		k, r := n.loserRow(id, l)
		if err := w.setRow(k, r); err != nil {
			return err
		}
		w.count(id, n, l, +1)
	}
	return w.countChild(n.Place.Parent, +1)
}

// hide removes the rows that n.View tells of.
func (w *work) hide(id store.FileID, n *node) error {
	if n.isLink() {
		err := w.countLink(n, -1)
		n.View.Plain = false
		return err
	}
	if err := w.hideNames(id, n); err != nil || !n.View.shown() {
		return err
	}
	if n.View.Plain {
		k, _ := n.plainRow(id)
		if !n.Dir {
			if err := w.dropCopy(k, slot{n.View.Home, n.Place.Name}, n.Place.At); err != nil {
				return err
			}
		}
		if err := w.dropRow(k); err != nil {
			return err
		}
		w.slots = append(w.slots, slot{n.View.Home, n.Place.Name})
	}
	for _, l := range n.View.Losers {
		k, _ := n.loserRow(id, l)
		if err := w.dropRow(k); err != nil {
			return err
		}
		w.count(id, n, l, -1)
	}
	n.View.Plain, n.View.Winner, n.View.Losers = false, mark{}, nil
	return w.countChild(n.Place.Parent, -1)
}

// dropCopy removes the row that a file placed in s has when another bears the
// name; k is the one at the name.
func (w *work) dropCopy(k []byte, s slot, at mark) error {
	if !w.names.noted(s) { // as settled: who comes first has no copy
		var first bool
		if err := scanRows(w.tx, s, func(other, _ []byte) bool {
			first = bytes.Equal(k, other)
			return false
		}); err != nil {
			return err
		}
		if first {
			w.first = append(w.first, at)
			return nil
		}
	}
	return w.dropRow(copyRow(s.home, s.name, at))
}

// count notes that a version is shown or hidden.
func (w *work) count(id store.FileID, n *node, at mark, by int) {
	if n.Dir {
		return
	}
	v := n.version(at)
	k := shownKey{id, at, v.placed()}
	i, ok := w.index[k]
	if !ok {
		i = len(w.seen)
		w.index[k] = i
		w.seen = append(w.seen, shownVersion{key: k, v: v})
	}
	w.seen[i].n += by
}

// countChild counts the children of a directory that are shown.
func (w *work) countChild(dir store.FileID, by int64) error {
	if dir == Root {
		return nil
	}
	c, err := loadContained(w.tx, dir)
	if err != nil {
		return err
	}
	was := c.shown
	c.shown += uint64(by)
	if was == 0 || c.shown == 0 {
		w.touch(dir)
	}
	return c.save(w.tx, dir)
}

func (w *work) setRow(k []byte, r row) error {
	if err := w.dropRow(k); err != nil {
		return err
	}
	b, err := encode(&r)
	if err != nil {
		return err
	}
	if err := w.noteName(k); err != nil {
		return err
	}
	w.sum(k, b, r, +1)
	if err := w.touched(k, nil, b); err != nil {
		return err
	}
	return w.tx.Set(k, b)
}

func (w *work) dropRow(k []byte) error {
	b, err := w.tx.Get(k)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var r row
	if err := decode(b, &r); err != nil {
		return err
	}
	if err := w.noteName(k); err != nil {
		return err
	}
	w.sum(k, b, r, -1)
	if err := w.touched(k, b, nil); err != nil {
		return err
	}
	return w.tx.Delete(k)
}

// digest adds the hash of a record to the digest, or takes it out.
func (w *work) digest(k, v []byte, by int64) {
	var room [512]byte
	d := sha256.Sum256(append(append(room[:0], k...), v...))
	addHash(&w.state.Sum, d, by)
}

// sum keeps the totals and the digest over all rows.
func (w *work) sum(k, v []byte, r row, by int64) {
	w.digest(k, v, by)
	if (r.Kind == rowFile || r.Kind == rowLoser) && !r.Again {
		w.state.Files += by
		w.state.Bytes += by * r.Content.Size
	}
	if r.Kind == rowPlaced || r.Kind == rowLoser {
		w.state.Conflicts += by
	}
}
