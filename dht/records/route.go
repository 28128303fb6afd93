package records

import (
	"slices"

	"github.com/aether-lan/aether/dht"
)

// do finds the leader of a request: this node, or another whose name is the answer.
func (e *Engine) do(q Request, from dht.Peer) {
	if status, why := q.check(); status != 0 {
		e.answer(from, Response{ID: q.ID, Status: status, Text: why})
		return
	}
	switch q.Op {
	case Scan:
		e.scan(q, from)
		return
	case Unwatch:
		e.unwatch(q)
		return
	case Watch:
		if from != (dht.Peer{}) {
			e.answer(from, Response{ID: q.ID, Status: Invalid, Text: "watches are given to the leader by its own user"})
			return
		}
		if q.Limit == 1 {
			e.watchPrefix(q)
			return
		}
	}
	key := e.key(q.Name)
	l := e.leadAt(key)
	if l == nil {
		if e.lineage == 0 && e.foundFor(q, from) {
			return
		}
		e.answer(from, e.elsewhere(q.ID, key))
		return
	}
	if q.Op != merge && e.dissolving(key) {
		e.answer(from, Response{ID: q.ID, Status: Busy, Text: "two rings are being joined here"})
		return
	}
	if q.Op == Watch && !e.watch(q) {
		e.answer(from, Response{ID: q.ID, Status: Busy, Text: "too many watches"})
		return
	}
	e.serve(l, q, key, from)
}

// leadAt returns what this node leads at a point: of two lineages the lesser.
func (e *Engine) leadAt(key dht.ID) *lead {
	var best *lead
	for _, l := range e.leads {
		if l.r.group.Arc.Contains(key) && (best == nil || l.r.group.Lineage < best.r.group.Lineage) {
			best = l
		}
	}
	return best
}

// dissolving reports whether records at key of a greater lineage are still to be
// merged here.
func (e *Engine) dissolving(key dht.ID) bool {
	return slices.ContainsFunc(e.replicas, func(r *replica) bool {
		return r.phase == active && r.group.Lineage > e.lineage && r.group.Arc.Contains(key)
	})
}

// elsewhere says where a request may go.
func (e *Engine) elsewhere(id RequestID, key dht.ID) Response {
	p := Response{ID: id, Status: Elsewhere, Point: key}
	t, ok := e.lookup(key)
	owner, owned := e.view.owner(key)
	switch {
	case ok && t.Group.Leader.ID != e.cfg.Self.ID && e.view.alive(t.Group.Leader):
		p.Leader = e.view.latest(t.Group.Leader)
	case ok && owned && owner.ID != e.cfg.Self.ID:
		p.Leader = owner
	case ok:
		p.Status, p.Text = Busy, "the group is just changing"
	case owned && owner.ID != e.cfg.Self.ID:
		p.Leader = owner
	default:
		// Nothing is known here: who owns the point 0 knows where the first arcs went.
		p.Point = dht.ID{}
		if o, ok := e.view.owner(dht.ID{}); ok && o.ID == e.cfg.Self.ID {
			p.Status, p.Text = Busy, "the ring is not ready"
		} else if ok {
			p.Leader = o
		}
	}
	return p
}

// scan lists records that this node leads, as far as they are done. Nobody else is
// asked: a leader that does not know yet that it is none any more lists what was.
func (e *Engine) scan(q Request, from dht.Peer) {
	limit := q.Limit
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	p := Response{ID: q.ID, Status: OK}
	bytes := 0
	var all []*item
	for _, l := range e.leads {
		names := l.r.shelf.after(max(string(q.Value), q.Name))
		if i := l.r.shelf.items[q.Name]; i != nil && string(q.Value) < q.Name {
			names = append([]string{q.Name}, names...)
		}
		n := 0
		for _, name := range names {
			if len(name) < len(q.Name) || name[:len(q.Name)] != q.Name || n > limit {
				break
			}
			if i := l.r.shelf.items[name].done(l.committed); i != nil && !i.rec.Deleted {
				all = append(all, i)
				n++
			}
		}
	}
	slices.SortFunc(all, func(a, b *item) int {
		if a.rec.Name < b.rec.Name {
			return -1
		}
		return 1
	})
	for _, i := range all {
		if len(p.Records) == limit || bytes > maxPiece {
			p.More = true
			break
		}
		p.Records = append(p.Records, i.rec)
		bytes += len(i.raw) + len(i.rec.Name)
	}
	e.answer(from, p)
}
