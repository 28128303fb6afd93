package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// gathered goes on with all records at hand.
func (e *Engine) gathered(c *change) {
	if c.plan.dissolve {
		e.stepTo(c, moved)
		e.moveRecords(c)
		return
	}
	groups := e.nextGroups(c)
	if len(groups) == 0 {
		e.fail(c)
		return
	}
	c.decision = Decision{Groups: groups}
	e.stepTo(c, installing)
	for _, g := range groups {
		for _, p := range g.Members {
			t := &target{peer: p, group: g}
			t.own = slices.ContainsFunc(c.promises, func(v promise) bool {
				return v.peer.ID == p.ID && v.m.Installed && v.m.Seq == c.from.seq
			})
			if e.broken == InstallOnLeader && p.ID != g.Leader.ID {
				continue
			}
			c.targets = append(c.targets, t)
		}
	}
	for _, t := range c.targets {
		e.install(c, t)
	}
}

// nextGroups returns the groups that are to follow, by the ring as it looks now.
func (e *Engine) nextGroups(c *change) []Group {
	g := c.group
	next := func(a Arc, leader dht.ID) (Group, bool) {
		n := Group{Lineage: g.Lineage, Epoch: g.Epoch + 1, Arc: a, Tag: c.ballot}
		n.Members = e.withAnswering(c, e.members(g, leader))
		if len(n.Members) > 0 {
			n.Leader = n.Members[0]
		}
		return n, len(n.Members) > 0
	}
	owner, ok := e.view.owner(g.Arc.To)
	if !ok {
		owner = e.cfg.Self // nobody else has changed it for long
	}
	last, ok := next(g.Arc, owner.ID)
	if !ok {
		return nil
	}
	if x, split := e.splitPoint(g.Arc); split && owner.ID == e.cfg.Self.ID {
		if first, ok := next(Arc{g.Arc.From, x}, x); ok {
			last.Arc.From = x
			return []Group{first, last}
		}
	}
	return []Group{last}
}

// withAnswering keeps the old members if one of them answered although the ring does
// not show it: then the view is late. A node that was cut off and comes back must not
// begin by taking everything for itself.
func (e *Engine) withAnswering(c *change, list []dht.Peer) []dht.Peer {
	list = slices.Clone(list)
	late := slices.ContainsFunc(c.promises, func(p promise) bool {
		return !p.m.Leaving && !e.view.contains(p.peer.ID)
	})
	for _, p := range c.group.Members {
		has := slices.ContainsFunc(list, func(q dht.Peer) bool { return q.ID == p.ID })
		if late && !has && len(list) > 0 && len(list) < e.cfg.Copies && !c.leaving(p.ID) {
			list = append(list, p)
		}
	}
	return list
}

func (c *change) leaving(id dht.ID) bool {
	return slices.ContainsFunc(c.promises, func(p promise) bool { return p.peer.ID == id && p.m.Leaving })
}

// install sends a target what it lacks next.
func (e *Engine) install(c *change, t *target) {
	m := Install{Of: c.ref, Group: t.group, Own: t.own, Seq: c.from.seq, Part: t.part}
	if t.own {
		m.Last = true
	} else {
		m.Entries, m.Last = c.from.shelf.piece(e.now, t.after, func(i *item) bool { return t.group.Arc.Contains(i.key) })
		if n := len(m.Entries); n > 0 {
			t.next = m.Entries[n-1].Name
		}
	}
	t.last, t.sent = m.Last, e.now
	e.send(t.peer, m)
}

// onInstalled counts what a target has.
func (e *Engine) onInstalled(from dht.Peer, m Installed) {
	for _, c := range e.changes {
		if c.step != installing {
			continue
		}
		for _, t := range c.targets {
			if t.peer.ID != from.ID || t.group.Ref() != m.Of || t.done || t.failed || m.Part != t.part {
				continue
			}
			switch {
			case m.Refused && t.own:
				t.own = false
				e.install(c, t)
			case m.Refused:
				t.failed = true
			case m.Last && t.last:
				t.done = true
			case !t.last:
				t.part, t.after = t.part+1, t.next
				e.install(c, t)
			}
			c.since = e.now
			e.checkInstalled(c)
			return
		}
	}
}

// checkInstalled proposes the groups when each has a majority with its records, its
// leader among them: at once if all have, else when the rest had some time.
func (e *Engine) checkInstalled(c *change) {
	all, enough := true, true
	for _, g := range c.decision.Groups {
		done, leader := 0, false
		for _, t := range c.targets {
			if t.group.Ref() != g.Ref() {
				continue
			}
			if t.done {
				done++
				leader = leader || t.peer.ID == g.Leader.ID
			} else {
				all = false
			}
		}
		enough = enough && leader && (done >= g.majority() || e.broken == InstallOnLeader)
	}
	if all || enough && (!e.now.Before(c.since.Add(2*e.cfg.Resend)) || e.broken == InstallOnLeader) {
		e.propose(c)
	}
}

// pushInstall hands records over again, proposes when it was waited long enough for the
// slow, and gives up when there is no majority or no leader.
func (e *Engine) pushInstall(c *change, age time.Duration) {
	if e.checkInstalled(c); c.step != installing {
		return
	}
	if age > 10*e.cfg.Resend {
		for _, t := range c.targets {
			if !t.done && t.peer.ID == t.group.Leader.ID {
				e.avoidFor(t.peer.ID, 50*e.cfg.Resend)
			}
		}
		e.fail(c)
		return
	}
	for _, t := range c.targets {
		if !t.done && !t.failed && !e.now.Before(t.sent.Add(e.cfg.Resend)) {
			e.install(c, t)
		}
	}
}
