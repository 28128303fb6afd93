package tree

import (
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
)

// LastHorizon returns the last horizon that this machine made, and the time that it
// names; zeros when it has made none.
func (t *Tree) LastHorizon(r store.Reader) (d store.Dot, before store.Time, err error) {
	v, err := r.Get(lapseKey(lapseHorizon, t.self))
	if errors.Is(err, store.ErrNotFound) {
		return d, 0, nil
	}
	if err != nil || len(v) != 16 {
		return d, 0, errors.Join(err, lenError(len(v)))
	}
	return store.Dot{Machine: t.self, Seq: be64(v)}, store.Time(be64(v[8:])), nil
}

// purger looks for what may be forgotten by the horizon d.
type purger struct {
	r      store.Reader
	d      store.Dot
	before store.Time
	chosen map[store.FileID]bool
}

// Purgeable returns at most limit nodes that the last horizon of this machine lets
// it forget: what lies in a directory comes before the directory. It looks at every
// node that there is.
func (t *Tree) Purgeable(r store.Reader, limit int) ([]store.FileID, error) {
	d, before, err := t.LastHorizon(r)
	if err != nil || before == 0 {
		return nil, err
	}
	p := purger{r: r, d: d, before: before, chosen: map[store.FileID]bool{}}
	var ids []store.FileID
	for more := true; more && len(ids) < limit; {
		more = false
		from := key(keyNode)
		var bad error
		err := r.Scan(from, end(from), func(k, v []byte) bool {
			id := store.FileID(k[2:])
			var ok bool
			if ok, bad = p.may(id, v); ok {
				ids, more = append(ids, id), true
				p.chosen[id] = true
			}
			return bad == nil && len(ids) < limit
		})
		if err = errors.Join(err, bad); err != nil {
			return nil, fmt.Errorf("tree: purgeable: %w", err)
		}
	}
	return ids, nil
}

// may reports whether a node may be forgotten, now that those chosen are.
func (p *purger) may(id store.FileID, record []byte) (bool, error) {
	if p.chosen[id] {
		return false, nil
	}
	var n node
	if err := decode(record, &n); err != nil || n.View.shown() || n.View.named() {
		return false, err
	}
	parent, err := loadNode(p.r, n.Place.Parent)
	if err != nil {
		return false, err
	}
	del, err := deletionsOf(p.r, &n, &parent)
	if err != nil || len(del) == 0 || del[len(del)-1].At.Time >= p.before {
		return false, err
	}
	marks := []mark{n.Born, n.Place.At, n.Attr.At, n.Attr.TimeAt}
	for _, v := range n.Versions {
		marks = append(marks, v.At, v.Placed)
	}
	for _, d := range append(n.Deletes, del...) {
		marks = append(marks, d.At)
	}
	for _, m := range marks {
		if m.Seq == 0 {
			continue
		}
		if ok, err := saw(p.r, p.d, m.dot()); !ok || err != nil {
			return false, err
		}
	}
	return p.empty(id)
}

// empty reports whether nothing hangs on a node but what is chosen.
func (p *purger) empty(id store.FileID) (bool, error) {
	for _, kind := range []byte{keyChild, keyLink} {
		from, left := key(kind, id[:]), false
		if err := p.r.Scan(from, end(from), func(k, _ []byte) bool {
			left = !p.chosen[store.FileID(k[len(from):])]
			return !left
		}); left || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Purge forgets nodes that Purgeable gave. It fails with ErrWaiting until all others
// have answered the horizon. Those that are not what they were are left out; without
// any left it makes no operation.
func (t *Tree) Purge(tx store.Txn, ids []store.FileID, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "purge", "", func(l *local) error {
		d, before, err := t.LastHorizon(l.tx)
		if err != nil || before == 0 {
			return errors.Join(err, ErrWaiting)
		}
		if waiting, err := t.Unanswered(l.tx, d); err != nil || len(waiting) > 0 {
			return errors.Join(err, ErrWaiting)
		}
		p := purger{r: l.tx, d: d, before: before, chosen: map[store.FileID]bool{}}
		var body []byte
		for _, id := range ids[:min(len(ids), MaxPurge)] {
			record, err := l.tx.Get(key(keyNode, id[:]))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ok, err := p.may(id, record)
			if err != nil {
				return err
			}
			if ok {
				p.chosen[id] = true
				body = append(body, id[:]...)
			}
		}
		if len(body) == 0 {
			return nil
		}
		return l.issue(Op{Kind: KindPurge, Body: body}, 0)
	})
}

// purge forgets nodes. One that is shown all the same stays: its author has not kept to
// the rules, and nothing shall be lost by that.
func (w *work) purge(op *Op) error {
	if len(op.Body)%16 != 0 || len(op.Body) > 16*MaxPurge {
		return errInvalid
	}
	for b := op.Body; len(b) > 0; b = b[16:] {
		if err := w.purgeNode(store.FileID(b[:16])); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) purgeNode(id store.FileID) error {
	n, err := loadNode(w.tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || id == Root || n.View.shown() || n.View.named() {
		return err
	}
	if busy, err := hasKeys(w.tx, key(keyChild, id[:])); busy || err != nil {
		return err
	}
	if busy, err := hasKeys(w.tx, key(keyLink, id[:])); busy || err != nil {
		return err
	}
	drop := [][]byte{key(keyNode, id[:]), key(keyChild, n.Place.Parent[:], id[:]), key(keyCount, id[:])}
	if n.isLink() {
		drop = append(drop, key(keyLink, n.Target[:], id[:]))
	}
	from := key(keyXattr, id[:])
	if err := w.tx.Scan(from, end(from), func(k, v []byte) bool {
		w.digest(k, v, -1)
		drop = append(drop, append([]byte{}, k...))
		return true
	}); err != nil {
		return err
	}
	for _, k := range drop {
		if err := w.tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// hasKeys reports whether a key begins with prefix.
func hasKeys(r store.Reader, prefix []byte) (found bool, err error) {
	err = r.Scan(prefix, end(prefix), func(_, _ []byte) bool { found = true; return false })
	return found, err
}
