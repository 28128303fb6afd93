package tree

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// Assign gives a version of the file id, the one that the operation dot brought,
// other holders. The bytes, the history and what conflicts with what stay as they
// are: who edits or removes the file at the same time need not have seen it. Of
// several assignments the latest counts. It fails with store.ErrNotFound where the
// file has no such version any more.
func (t *Tree) Assign(tx store.Txn, id store.FileID, dot store.Dot, holders []store.MachineID, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "assign", id.String(), func(l *local) error {
		return l.assign(id, dot, func(v *version) (Version, bool) { return Version{Holders: holders, Content: v.Sealed}, true })
	})
}

// Reseal says that the bytes of a version of the file id, the one that the operation
// dot brought, have been sealed anew, as c says: they are the same bytes, and this is no
// edit, as with [Tree.Assign]. Of several the newest generation of keys counts, then the
// latest. A version that is sealed under as new a generation already is left alone. It
// fails with store.ErrNotFound where the file has no such version any more.
func (t *Tree) Reseal(tx store.Txn, id store.FileID, dot store.Dot, c store.Content, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "reseal", id.String(), func(l *local) error {
		return l.assign(id, dot, func(v *version) (Version, bool) {
			return Version{Holders: v.Holders, Content: c}, v.stored().Oldest < c.Oldest
		})
	})
}

// assign issues an assignment of what change returns for the version, if anything.
func (l *local) assign(id store.FileID, dot store.Dot, change func(*version) (Version, bool)) error {
	n, err := loadNode(l.tx, id)
	if err != nil {
		return err
	}
	i := n.versionAt(dot)
	if i < 0 {
		return fmt.Errorf("version %s: %w", dot, store.ErrNotFound)
	}
	v, ok := change(&n.Versions[i])
	switch {
	case !ok:
		return nil
	case v.Content != (store.Content{}) && v.Content.Size != n.Versions[i].Content.Size:
		return fmt.Errorf("%w: %d bytes sealed anew, %d before", ErrBadOp, v.Content.Size, n.Versions[i].Content.Size)
	}
	return l.issue(Op{Kind: KindAssign, Node: id, Dots: []store.Dot{dot}, Version: v}, max(n.latest(), n.Versions[i].Placed.Time))
}

// versionAt returns where the version lies that the operation d brought, or -1.
func (n *node) versionAt(d store.Dot) int {
	return slices.IndexFunc(n.Versions, func(v version) bool { return v.At.dot() == d })
}

// assign enters an operation: of the assignments of one version that with the newest
// keys counts, then the latest, and those of a version that was replaced count for
// nothing. One that knows nothing of newer keys loses its holders too: who gave them
// sees that and does it again. The author must have seen the version, so that it does
// not matter which of them came first.
func (w *work) assign(op *Op, n *node) error {
	i := n.versionAt(op.Dots[0])
	if i < 0 {
		return nil
	}
	v := &n.Versions[i]
	sealed := op.Version.Content
	if sealed != (store.Content{}) && sealed.Size != v.Content.Size {
		return nil // it cannot be the same bytes
	}
	ok, err := saw(w.tx, op.Dot, v.At.dot())
	if err != nil || !ok {
		return err
	}
	if newer := cmp.Or(cmp.Compare(storedAs(v.Content, sealed).Oldest, v.stored().Oldest), op.mark().compare(v.Placed)); newer <= 0 {
		return nil
	}
	if sealed != v.Sealed {
		if err := w.keepBefore(op.Node, n, v); err != nil {
			return err
		}
	}
	v.Holders, v.Placed, v.Sealed = op.Version.Holders, op.mark(), sealed
	w.assigned = true
	return nil
}

// reportVersions adds the events of the versions that are shown now and were not, and
// the other way round. One that only got other holders is both.
func (w *work) reportVersions() {
	event := func(s *shownVersion, kind EventKind) Event {
		return Event{Kind: kind, File: s.key.file, Dot: s.key.placed, Content: s.v.stored(), Holders: s.v.Holders}
	}
	other := func(s *shownVersion) *shownVersion {
		if !w.assigned {
			return nil
		}
		for i := range w.seen {
			if o := &w.seen[i]; o.key.file == s.key.file && o.key.at == s.key.at && o.n*s.n < 0 {
				return o
			}
		}
		return nil
	}
	for i := range w.seen {
		s := &w.seen[i]
		switch o := other(s); {
		case s.n > 0 && o != nil && o.v.stored() != s.v.stored():
			e := event(s, VersionAdded)
			e.From = o.v.stored()
			w.events = append(w.events, event(o, VersionRemoved), e)
		case s.n > 0 && o != nil:
			e := event(s, VersionAdded)
			e.Was, e.Before = o.key.placed, o.v.Holders
			w.events = append(w.events, e, event(o, VersionRemoved))
		case s.n > 0:
			w.events = append(w.events, event(s, VersionAdded))
		case s.n < 0 && o == nil:
			w.events = append(w.events, event(s, VersionRemoved))
		}
	}
}

// Held returns the version of the file id whose holders the operation placed named, a
// conflict copy or the current one. It fails with store.ErrNotFound where the file has
// no such version any more.
func (t *Tree) Held(r store.Reader, id store.FileID, placed store.Dot) (Version, error) {
	n, err := loadNode(r, id)
	if err != nil {
		return Version{}, fmt.Errorf("tree: version %s: %w", placed, err)
	}
	for i := range n.Versions {
		if n.Versions[i].placed() == placed {
			return n.heldVersion(id, i), nil
		}
	}
	return Version{}, fmt.Errorf("tree: version %s: %w", placed, store.ErrNotFound)
}

// heldVersion returns the i-th version of the file id as others see it.
func (n *node) heldVersion(id store.FileID, i int) Version {
	r := n.versionRow(id, n.Versions[i], rowFile)
	return r.version()
}
