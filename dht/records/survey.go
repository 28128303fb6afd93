package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// survey is when to look over all groups, and what was tried in vain.
type survey struct {
	due     time.Time
	greet   time.Time            // when to ask again for a lineage
	tries   map[dht.ID]tries     // by the end of the arc
	avoid   map[dht.ID]time.Time // nodes that did not answer, until when
	left    map[dht.ID]uint64    // nodes that are leaving, and in which life
	repairs map[dht.ID]int       // how often members were given their records anew
}

// tries counts changes that failed.
type tries struct {
	n    int
	next time.Time
}

// retryAfter notes that a change of the arc that ends at to failed, and returns when it
// may be tried again: later each time, and not at the same time as others.
func (e *Engine) retryAfter(to dht.ID) {
	if e.survey.tries == nil || len(e.survey.tries) > maxArcs {
		e.survey.tries = map[dht.ID]tries{}
	}
	t := e.survey.tries[to]
	wait := e.cfg.Resend << min(t.n, 8)
	t.n++
	t.next = e.now.Add(wait/2 + time.Duration(e.rng.Int64N(int64(wait))))
	e.survey.tries[to] = t
	e.survey.due = e.now
}

// avoidFor leaves a node that does not answer out of splits for a while.
func (e *Engine) avoidFor(id dht.ID, d time.Duration) {
	if e.survey.avoid == nil || len(e.survey.avoid) > maxArcs {
		e.survey.avoid = map[dht.ID]time.Time{}
	}
	e.survey.avoid[id] = e.now.Add(d)
}

func (e *Engine) avoids(id dht.ID) bool { return e.now.Before(e.survey.avoid[id]) }

// plan is what is to become of a group.
type plan struct {
	split    dht.ID // with Split: where
	hasSplit bool
	dissolve bool
	repair   bool
}

// surveyTimeout begins changes that the ring asks for, and tells others of groups
// whose change is theirs to begin.
func (e *Engine) surveyTimeout() {
	if e.survey.due.IsZero() || e.now.Before(e.survey.due) {
		return
	}
	e.survey.due = time.Time{}
	if len(e.view.list) == 0 {
		return
	}
	var d deadline
	settled := e.view.since.Add(e.cfg.Settle)
	for _, t := range slices.Clone(e.known.list) {
		owner, ok := e.view.owner(t.Group.Arc.To)
		if e.leaving && len(e.view.list) > 1 || t.Over || !ok || owner.ID != e.cfg.Self.ID || e.covered(t.Group, nil) && e.settled(t.Group) {
			continue
		}
		p, need, at := e.wanted(t.Group)
		switch {
		case !need:
			d.at(at)
		case e.now.Before(settled):
			d.at(settled)
		default:
			d.at(e.begin(t.Group, p))
		}
	}
	for _, r := range slices.Clone(e.replicas) {
		d.at(e.look(r))
	}
	d.at(e.greetAgain())
	if !d.t.IsZero() {
		e.survey.due = d.t
		if !d.t.After(e.now) {
			e.survey.due = e.now.Add(e.cfg.Resend / 4)
		}
	}
}

// greetAgain asks others for a lineage as long as none is known, ever less often: a
// node that missed it and is cut off later must not found another.
func (e *Engine) greetAgain() time.Time {
	s := &e.survey
	switch age := e.now.Sub(e.view.since); {
	case e.lineage != 0 || len(e.view.list) < 2:
		s.greet = time.Time{}
	case s.greet.IsZero():
		s.greet = e.now.Add(e.cfg.Settle)
	case !e.now.Before(s.greet):
		e.greet(e.view.near(4)...)
		s.greet = e.now.Add(min(max(age, e.cfg.Settle), 60*e.cfg.Settle))
	}
	return s.greet
}

// wanted says whether a group whose arc this node owns must change, and how. If not,
// at is when to look again.
func (e *Engine) wanted(g Group) (p plan, need bool, at time.Time) {
	if g.Lineage > e.lineage {
		return plan{dissolve: true}, true, at
	}
	if p.split, p.hasSplit = e.splitPoint(g.Arc); p.hasSplit {
		return p, true, at
	}
	r := e.find(g.Ref(), active)
	if !g.Leader.Is(e.cfg.Self) || r == nil || r.sealed() || !slices.ContainsFunc(e.leads, func(l *lead) bool { return l.r == r }) {
		return p, true, at // nobody leads it, or nobody will
	}
	if !sameMembers(e.members(g, e.cfg.Self.ID), g.Members) {
		return p, true, at
	}
	if p.repair, at = e.needsRepair(r); p.repair {
		return p, true, at
	}
	d := deadline{at}
	for _, q := range e.view.list {
		if e.avoids(q.ID) && g.Arc.Contains(q.ID) {
			d.at(e.survey.avoid[q.ID])
		}
	}
	return p, false, d.t
}

// needsRepair reports whether a living member lacks records that only a new epoch can
// give it. It is tried ever less often.
func (e *Engine) needsRepair(r *replica) (bool, time.Time) {
	i := slices.IndexFunc(e.leads, func(l *lead) bool { return l.r == r })
	if i < 0 {
		return false, time.Time{}
	}
	l := e.leads[i]
	lame := slices.ContainsFunc(l.followers, func(f *follower) bool {
		return (f.missing || f.behind) && e.view.contains(f.peer.ID)
	})
	to := r.group.Arc.To
	if !lame {
		l.repair = time.Time{}
		delete(e.survey.repairs, to)
		return false, time.Time{}
	}
	if l.repair.IsZero() {
		if e.survey.repairs == nil {
			e.survey.repairs = map[dht.ID]int{}
		}
		l.repair = e.now.Add(10 * e.cfg.Resend << min(e.survey.repairs[to], 6))
		e.survey.repairs[to]++
	}
	return !e.now.Before(l.repair), l.repair
}

func sameMembers(a, b []dht.Peer) bool {
	if len(a) != len(b) {
		return false
	}
	for _, p := range a {
		if !slices.ContainsFunc(b, func(q dht.Peer) bool { return p.ID == q.ID }) {
			return false
		}
	}
	return true
}

// members returns who should keep the records of g if its leader were the node id:
// that one and those after it. When the ring is smaller than a full group, a dead
// member stays if the group loses no strength by that: three of which one is dead
// stand as much as two, and are whole again when it returns.
func (e *Engine) members(g Group, id dht.ID) []dht.Peer {
	list := e.view.from(id, e.cfg.Copies)
	if len(list) >= e.cfg.Copies || !e.view.closed || len(list) == 0 {
		return list
	}
	var dead []dht.Peer
	for _, p := range g.Members {
		if !e.view.contains(p.ID) && e.survey.left[p.ID] < max(p.Incarnation, 1) {
			dead = append(dead, p)
		}
	}
	n := min(len(g.Members), e.cfg.Copies)
	for len(list)+len(dead) > n && len(dead) > 0 {
		dead = dead[:len(dead)-1]
	}
	alive, size := len(list), len(list)+len(dead)
	if alive-(size/2+1) < alive-(alive/2+1) {
		return list
	}
	return append(list, dead...)
}

// splitPoint returns where an arc is to be split so that all its points come to their
// owners: at the middle one of the nodes in it.
func (e *Engine) splitPoint(a Arc) (dht.ID, bool) {
	var inside []dht.ID
	others := false
	for _, p := range e.view.list {
		if p.ID != a.To && a.Contains(p.ID) && !e.avoids(p.ID) {
			inside = append(inside, p.ID)
			others = others || p.ID != e.cfg.Self.ID
		}
	}
	if !others || len(e.known.list) >= maxArcs {
		return dht.ID{}, false
	}
	slices.SortFunc(inside, func(x, y dht.ID) int {
		return e.cfg.Space.Distance(a.From, x).Compare(e.cfg.Space.Distance(a.From, y))
	})
	// From the middle on, the first whose group is in sight.
	for k := range inside {
		x := inside[(len(inside)/2+k)%len(inside)]
		if n := len(e.view.from(x, e.cfg.Copies)); n == e.cfg.Copies || e.view.closed {
			return x, true
		}
	}
	return dht.ID{}, false
}

// look tells others about a replica that is not in order, and returns when to look
// again.
func (e *Engine) look(r *replica) time.Time {
	c := &r.chase
	if !e.amiss(r) {
		*c = chase{}
		return time.Time{}
	}
	if c.since.IsZero() || c.wait == 0 {
		*c = chase{since: e.now, next: e.now.Add(e.cfg.Settle), wait: 2 * e.cfg.Settle}
	}
	if e.now.Before(c.next) {
		return c.next
	}
	c.next = e.now.Add(c.wait/2 + time.Duration(e.rng.Int64N(int64(c.wait))))
	c.wait = min(2*c.wait, 60*e.cfg.Settle)
	switch r.phase {
	case staged:
		e.askStaged(r)
	case past:
		e.tellHeirs(r)
	case active:
		e.tellOwner(r)
	}
	return c.next
}

// amiss reports whether something must still happen to a replica.
func (e *Engine) amiss(r *replica) bool {
	switch {
	case r.phase == past:
		return r.acceptor.decision.Into == 0
	case r.phase == staged:
		return true
	case e.leaving || r.sealed() || e.overtakenKnown(r.group) || r.group.Lineage > e.lineage:
		return true
	}
	if owner, ok := e.view.owner(r.group.Arc.To); ok {
		return !owner.Is(r.group.Leader) && owner.ID != e.cfg.Self.ID
	}
	if r.group.Leader.Is(e.cfg.Self) {
		return true // the owner is somewhere before, and may not know of the group
	}
	// The leader is out of sight. If a member is just before this one, it sees more; if
	// another node is, it may have to lead and not know.
	near := e.view.near(1)
	return !e.view.alive(r.group.Leader) && len(near) == 1 && !r.group.Has(near[0].ID)
}

// askStaged asks what became of a proposed group.
func (e *Engine) askStaged(r *replica) {
	ask := Arcs{Lineage: e.lineage, Ask: true, List: []Tiding{{Group: r.group, Staged: true}}}
	for _, p := range r.group.Members {
		if p.ID != e.cfg.Self.ID {
			e.send(p, ask)
		}
	}
	if !r.group.Has(r.group.Tag.ID) {
		e.send(dht.Peer{ID: r.group.Tag.ID}, ask)
	}
	if o, ok := e.view.owner(r.group.Arc.To); ok && !r.group.Has(o.ID) {
		e.send(o, ask)
	}
}

// tellHeirs tells the members of the groups that follow that they were decided.
func (e *Engine) tellHeirs(r *replica) {
	d := Decided{r.ref, r.acceptor.decision}
	told := map[dht.ID]bool{e.cfg.Self.ID: true}
	for _, g := range r.acceptor.decision.Groups {
		for _, p := range g.Members {
			if !told[p.ID] {
				told[p.ID] = true
				e.send(p, d)
			}
			if p.ID != e.cfg.Self.ID {
				e.send(p, Arcs{Lineage: e.lineage, Ask: true, List: []Tiding{{Group: g}}})
			}
		}
	}
}

// tellOwner tells who should change the group of it, and asks the other members what
// they know. When nobody has changed it for long, the members try in turn.
func (e *Engine) tellOwner(r *replica) {
	t := Tiding{Group: r.group, Sealed: r.sealed()}
	m := Arcs{Lineage: e.lineage, Ask: true, Leaving: e.leaving, Hops: 1, List: []Tiding{t}}
	if e.leaving {
		for _, p := range e.view.near(e.cfg.Copies) {
			e.send(p, m)
		}
		return
	}
	owner, ok := e.view.owner(r.group.Arc.To)
	switch near := e.view.near(1); {
	case ok && owner.ID == e.cfg.Self.ID:
	case ok:
		e.send(owner, m)
	case len(near) == 1:
		e.send(near[0], m)
	}
	m.Hops = 0
	for _, p := range r.group.Members {
		if p.ID != e.cfg.Self.ID && (!ok || p.ID != owner.ID) {
			e.send(p, m)
		}
	}
	rank := slices.IndexFunc(r.group.Members, func(p dht.Peer) bool { return p.ID == e.cfg.Self.ID })
	if e.now.Sub(r.chase.since) > time.Duration(20+10*rank)*e.cfg.Settle && !e.settled(r.group) {
		e.begin(r.group, plan{dissolve: r.group.Lineage > e.lineage})
	}
}
