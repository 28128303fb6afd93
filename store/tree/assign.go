package tree

import (
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
		n, err := loadNode(l.tx, id)
		if err != nil {
			return err
		}
		i := n.versionAt(dot)
		if i < 0 {
			return fmt.Errorf("version %s: %w", dot, store.ErrNotFound)
		}
		op := Op{Kind: KindAssign, Node: id, Dots: []store.Dot{dot}, Version: Version{Holders: holders}}
		return l.issue(op, max(n.latest(), n.Versions[i].Placed.Time))
	})
}

// versionAt returns where the version lies that the operation d brought, or -1.
func (n *node) versionAt(d store.Dot) int {
	return slices.IndexFunc(n.Versions, func(v version) bool { return v.At.dot() == d })
}

// assign enters an operation: of the assignments of one version the latest counts,
// and those of a version that was replaced count for nothing. The author must have
// seen the version, so that it does not matter which of them came first.
func (w *work) assign(op *Op, n *node) error {
	i := n.versionAt(op.Dots[0])
	if i < 0 {
		return nil
	}
	v := &n.Versions[i]
	ok, err := saw(w.tx, op.Dot, v.At.dot())
	if err != nil || !ok || op.mark().compare(v.Placed) <= 0 {
		return err
	}
	v.Holders, v.Placed = op.Version.Holders, op.mark()
	w.assigned = true
	return nil
}

// reportVersions adds the events of the versions that are shown now and were not, and
// the other way round. One that only got other holders is both.
func (w *work) reportVersions() {
	event := func(s *shownVersion, kind EventKind) Event {
		return Event{Kind: kind, File: s.key.file, Dot: s.key.placed, Content: s.v.Content, Holders: s.v.Holders}
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
