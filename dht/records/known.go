package records

import (
	"encoding/binary"
	"slices"

	"github.com/aether-lan/aether/dht"
)

// maxArcs bounds the groups that a node remembers, and how finely arcs are split.
const maxArcs = 4096

// known is what a node has heard of groups that were decided, and what it must not
// forget: floors say for arcs what was the highest epoch that it took part in. A node
// that forgot a group and became its member again would have forgotten its promises.
type known struct {
	list   []Tiding
	floors []floor
}

type floor struct {
	lineage uint64
	arc     Arc
	epoch   uint64
}

// within reports whether a lies in b. Arcs of one lineage come of splits: if they
// overlap at all, one lies in the other.
func (e *Engine) within(a, b Arc) bool {
	if b.From == b.To {
		return true
	}
	if a.From == a.To {
		return false
	}
	start, end := e.cfg.Space.Distance(b.From, a.From), e.cfg.Space.Distance(b.From, a.To)
	return start.Compare(end) < 0 && end.Compare(e.cfg.Space.Distance(b.From, b.To)) <= 0
}

// floor returns the highest epoch that the node took part in at any point of the arc.
func (e *Engine) floor(lineage uint64, a Arc) (epoch uint64) {
	for _, f := range e.known.floors {
		if f.lineage == lineage && f.epoch > epoch && f.arc.Overlaps(a) {
			epoch = f.epoch
		}
	}
	return epoch
}

func (e *Engine) raise(lineage uint64, a Arc, epoch uint64) {
	e.known.floors = slices.DeleteFunc(e.known.floors, func(f floor) bool {
		if f.lineage != lineage || !e.within(f.arc, a) || f.epoch >= epoch {
			return false
		}
		if f.arc != a {
			e.disk.delete(floorKey(f))
		}
		return true
	})
	f := floor{lineage, a, epoch}
	e.known.floors = append(e.known.floors, f)
	e.disk.set(floorKey(f), binary.AppendUvarint(nil, epoch))
}

func floorKey(f floor) []byte {
	b := binary.BigEndian.AppendUint64([]byte{rowFloor}, f.lineage)
	return append(append(b, f.arc.From[:]...), f.arc.To[:]...)
}

// learn remembers a group that was decided.
func (e *Engine) learn(t Tiding) {
	g := t.Group
	for i, k := range e.known.list {
		if k.Group.Lineage != g.Lineage || !k.Group.Arc.Overlaps(g.Arc) {
			continue
		}
		if k.Group.Epoch == g.Epoch {
			// The same group: decided ones of one epoch do not overlap.
			if t.Established && !k.Established {
				e.known.list[i].Established = true
				e.settleHeirs()
			}
			return
		}
		if k.Group.Epoch > g.Epoch && e.within(g.Arc, k.Group.Arc) {
			return
		}
	}
	t.Sealed, t.Over, t.Staged = false, false, false
	e.known.list = slices.DeleteFunc(e.known.list, func(k Tiding) bool {
		return g.supersedes(k.Group) && e.within(k.Group.Arc, g.Arc)
	})
	e.known.list = append(e.known.list, t)
	e.known.list = slices.DeleteFunc(e.known.list, func(k Tiding) bool {
		return g.supersedes(k.Group) && e.covered(k.Group, nil)
	})
	if len(e.known.list) > maxArcs {
		e.known.list = slices.Delete(e.known.list, 0, 1)
		e.stats.Forgotten++
	}
	e.hear(g.Lineage)
	for _, l := range slices.Clone(e.leads) {
		if g.supersedes(l.r.group) {
			e.cede(l.r)
		}
	}
	e.dropStages()
	e.settleHeirs()
	e.survey.due = e.now
}

// covered reports whether at every point of g's arc a later group is known for which
// ok holds.
func (e *Engine) covered(g Group, ok func(Tiding) bool) bool {
	at, one := g.Arc.From, e.cfg.Space.Int(1)
	for range len(e.known.list) + 1 {
		next, found := at, false
		for _, t := range e.known.list {
			if t.Group.supersedes(g) && t.Group.Arc.Contains(e.cfg.Space.Add(at, one)) && (ok == nil || ok(t)) {
				if e.within(g.Arc, t.Group.Arc) {
					return true
				}
				next, found = t.Group.Arc.To, true
				break
			}
		}
		if !found {
			return false
		}
		if at = next; at == g.Arc.To {
			return true
		}
	}
	return false
}

// settled reports whether all that follows g is kept by majorities that know it, so
// that nobody needs to remember g. Of groups later than the next that is so: their
// predecessors could not have been sealed otherwise.
func (e *Engine) settled(g Group) bool {
	return e.covered(g, func(t Tiding) bool { return t.Established || t.Group.Epoch > g.Epoch+1 })
}

// settleHeirs removes groups whose successors are settled.
func (e *Engine) settleHeirs() {
	for _, r := range slices.Clone(e.replicas) {
		if r.phase == past && r.acceptor.decision.Into == 0 || r.phase == active && e.overtakenKnown(r.group) {
			if e.settled(r.group) && !e.stageNeeds(r) {
				e.remove(r)
			}
		}
	}
}

// stageNeeds reports whether a proposed group would take its records from r.
func (e *Engine) stageNeeds(r *replica) bool {
	return slices.ContainsFunc(e.replicas, func(s *replica) bool {
		return s.phase == staged && s.staging.own && s.staging.of == r.ref
	})
}

func (e *Engine) overtakenKnown(g Group) bool {
	return slices.ContainsFunc(e.known.list, func(t Tiding) bool { return t.Group.supersedes(g) })
}

// hear notes a lineage. The least of those that meet goes on.
func (e *Engine) hear(lineage uint64) {
	if e.broken == GenesisTwice || lineage == 0 || e.lineage != 0 && lineage >= e.lineage {
		return
	}
	e.lineage = lineage
	e.disk.set([]byte{rowLineage}, binary.AppendUvarint(nil, lineage))
	e.founding.stop(e)
	e.greet(e.view.near(4)...)
}

// tidings tells what this node knows to overlap g, and how it stands with g itself.
func (e *Engine) tidings(g Group) Arcs {
	m := Arcs{Lineage: e.lineage, Candidate: e.founding.candidate}
	for _, r := range e.replicas {
		if r.ref == g.Ref() && r.phase == active && r.sealed() {
			m.List = append(m.List, Tiding{Group: r.group, Sealed: true})
		}
	}
	if e.over(g) {
		m.List = append(m.List, Tiding{Group: g, Over: true})
	}
	for _, t := range e.known.list {
		if len(m.List) < maxTidings && t.Group.Lineage == g.Lineage && t.Group.Epoch >= g.Epoch && t.Group.Arc.Overlaps(g.Arc) {
			m.List = append(m.List, t)
		}
	}
	return m
}

// over reports whether this node took part in g and forgot it, which it only does when
// all that follows is settled.
func (e *Engine) over(g Group) bool {
	return e.find(g.Ref(), staged, active, past) == nil && slices.Contains(e.known.floors, floor{g.Lineage, g.Arc, g.Epoch})
}

// forgetOver drops all that is left here of a group that is over.
func (e *Engine) forgetOver(g Group) {
	if r := e.find(g.Ref(), active, past); r != nil && !e.stageNeeds(r) {
		e.remove(r)
	}
	for _, c := range slices.Clone(e.changes) {
		if c.ref == g.Ref() && c.step != announcing {
			e.fail(c)
		}
	}
	e.markOver(g)
}

// markOver notes that nothing is to be done about a group any more. It stays known, so
// that what was before it is known to be past.
func (e *Engine) markOver(g Group) {
	e.learn(Tiding{Group: g, Established: true})
	for i, t := range e.known.list {
		if t.Group.Ref() == g.Ref() {
			e.known.list[i].Over = true
		}
	}
	e.dropStages()
}

// later tells what is known to come after the group called of.
func (e *Engine) later(of Ref) Arcs {
	m := Arcs{Lineage: e.lineage, Candidate: e.founding.candidate}
	for _, t := range e.known.list {
		if g := t.Group; len(m.List) < maxTidings && g.Lineage == of.Lineage && g.Epoch > of.Epoch && g.Arc.Contains(of.To) {
			m.List = append(m.List, t)
		}
	}
	return m
}

// lookup returns the newest group known at k of the least lineage.
func (e *Engine) lookup(k dht.ID) (Tiding, bool) {
	var best Tiding
	for _, t := range e.known.list {
		if t.Group.Lineage == e.lineage && t.Group.Epoch > best.Group.Epoch && t.Group.Arc.Contains(k) {
			best = t
		}
	}
	return best, best.Group.Epoch > 0
}
