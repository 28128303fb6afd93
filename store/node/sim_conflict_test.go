package node

import (
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/internal/oracle"
	"github.com/aether-lan/aether/store/tree"
)

// shownLosers returns the versions that the machine shows as conflict copies.
func (h *simHost) shownLosers() map[store.Dot]bool {
	all := map[store.Dot]bool{}
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if e.Conflict { // else it is the file itself, kept from its name by another
			n, err := h.m.tree.Node(h.m.kv, e.ID)
			if err != nil {
				h.w.fail("%s: %s: %v", h, e.Path, err)
			}
			all[e.Version.Dot] = n.Version.Dot != e.Version.Dot
		}
		return true
	})
	return all
}

// versions returns for each file what was written to it, and leaves out those that
// somebody removed, or removed a copy of, or a directory above: what is to be shown of
// them the oracle knows.
func (p *simPast) versions() map[store.FileID][]simOp {
	files, parents, removed := map[store.FileID][]simOp{}, map[store.FileID][]store.FileID{}, map[store.FileID]bool{}
	for _, o := range p.ops {
		id := o.op.Node
		switch o.op.Kind {
		case tree.KindCreate:
			id = oracle.NodeID(o.op.Dot)
			if !o.op.Dir {
				files[id] = append(files[id], o)
			}
			parents[id] = append(parents[id], o.op.Parent)
		case tree.KindContent:
			files[id] = append(files[id], o)
		case tree.KindMove:
			parents[id] = append(parents[id], o.op.Parent)
		case tree.KindDelete, tree.KindDiscard:
			removed[id] = true
		case tree.KindLink:
			removed[id] = true // shown twice
		}
	}
	var gone func(id store.FileID, deep int) bool
	gone = func(id store.FileID, deep int) bool {
		return removed[id] || deep > 20 || slices.ContainsFunc(parents[id], func(up store.FileID) bool { return gone(up, deep+1) })
	}
	maps.DeleteFunc(files, func(id store.FileID, _ []simOp) bool { return gone(id, 0) })
	return files
}

// stayed returns the versions that stay: those that nobody replaced who had them
// before his eyes as the file itself. Of equal bytes the latest counts.
func stayed(versions []simOp) map[store.Dot]bool {
	slices.SortFunc(versions, func(a, b simOp) int {
		x, y := store.Stamp{Time: a.op.Time, Machine: a.op.Dot.Machine}, store.Stamp{Time: b.op.Time, Machine: b.op.Dot.Machine}
		return y.Compare(x)
	})
	stay, had := map[store.Dot]bool{}, map[store.Ref]bool{}
	for _, v := range versions {
		replaced := slices.ContainsFunc(versions, func(o simOp) bool {
			return o.op.Dot != v.op.Dot && o.saw.Has(v.op.Dot) && !o.losers[v.op.Dot]
		})
		if root := v.op.Version.Content.Root; !replaced && !had[root] {
			had[root], stay[v.op.Dot] = true, true
		}
	}
	return stay
}

// checkConflicts: a file and its conflict copies are exactly the versions whose authors
// did not know of each other.
func (w *simWorld) checkConflicts(h *simHost) {
	shown := map[store.FileID]map[store.Dot]bool{}
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir {
			if shown[e.ID] == nil {
				shown[e.ID] = map[store.Dot]bool{}
			}
			shown[e.ID][e.Version.Dot] = true
		}
		return true
	})
	for id, versions := range w.past.versions() {
		got := shown[id]
		if got == nil {
			continue // it lies under the name of another file with the same bytes
		}
		want := stayed(versions)
		w.count.conflicts += len(want) - 1
		if !maps.Equal(got, want) {
			w.fail("%s shows the versions %v of file %v, and %v should stand", h, slices.SortedFunc(maps.Keys(got), store.Dot.Compare),
				id, slices.SortedFunc(maps.Keys(want), store.Dot.Compare))
		}
	}
}
