package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// circle is what this node sees of the ring: some nodes before it, itself, and nodes
// after it, without a gap as far as it knows.
type circle struct {
	list   []dht.Peer // clockwise
	self   int        // where this node is in it
	closed bool       // it is the whole ring
	since  time.Time  // it has been so
	peers  map[dht.ID]dht.Peer
}

// HandleView takes what the ring looks like from here. With full membership, Successors
// may be the whole ring. A view that is wrong or late costs time, never records.
func (e *Engine) HandleView(now time.Time, v dht.View) {
	e.enter(now)
	c := circle{self: 0, since: e.now, peers: e.view.peers}
	c.list = append(c.list, e.cfg.Self)
	seen := map[dht.ID]bool{e.cfg.Self.ID: true}
	for _, p := range v.Successors {
		if !seen[p.ID] {
			seen[p.ID] = true
			c.list = append(c.list, p)
		}
	}
	pred := v.Predecessor
	c.closed = pred.ID == c.list[len(c.list)-1].ID
	if !seen[pred.ID] && pred != (dht.Peer{}) {
		c.list = append([]dht.Peer{pred}, c.list...)
		c.self = 1
	}
	if c.closed == e.view.closed && slices.Equal(c.list, e.view.list) {
		return
	}
	c.remember()
	fresh := slices.DeleteFunc(c.near(4), func(p dht.Peer) bool { return e.view.alive(p) })
	e.view = c
	clear(e.survey.tries)
	for _, r := range e.replicas { // whom nobody heard may hear now
		r.chase.hurry(e.now, e.cfg.Settle)
	}
	e.greet(fresh...)
	e.founding.due = time.Time{}
	if e.founding.candidate != 0 {
		e.founding.begin(e)
	}
	e.survey.due = e.now
	e.drain()
}

// maxPeers bounds the addresses that are remembered.
const maxPeers = 16 << 10

func (c *circle) remember() {
	if c.peers == nil || len(c.peers) > maxPeers {
		c.peers = map[dht.ID]dht.Peer{}
	}
	for _, p := range c.list {
		c.peers[p.ID] = p
	}
}

// seen notes in which life and where a node is.
func (c *circle) seen(p dht.Peer) {
	if c.peers == nil {
		c.peers = map[dht.ID]dht.Peer{}
	}
	if q, ok := c.peers[p.ID]; (!ok && len(c.peers) < maxPeers) || ok && q.Incarnation <= p.Incarnation {
		c.peers[p.ID] = p
	}
}

// latest returns the newest life known of the node p.
func (c *circle) latest(p dht.Peer) dht.Peer {
	if q, ok := c.peers[p.ID]; ok && q.Incarnation >= p.Incarnation && q.Address.IsValid() {
		return q
	}
	return p
}

// alive reports whether the circle has p, in this life.
func (c *circle) alive(p dht.Peer) bool { return slices.ContainsFunc(c.list, p.Is) }

// contains reports whether the circle has the node id, in any life.
func (c *circle) contains(id dht.ID) bool {
	return slices.ContainsFunc(c.list, func(p dht.Peer) bool { return p.ID == id })
}

// owner returns the node that owns k, if the circle shows it.
func (c *circle) owner(k dht.ID) (dht.Peer, bool) {
	n := len(c.list)
	for i, p := range c.list {
		switch {
		case p.ID == k:
			return p, true
		case i > 0 && dht.Owns(c.list[i-1].ID, p.ID, k), i == 0 && c.closed && dht.Owns(c.list[n-1].ID, p.ID, k):
			return p, true
		}
	}
	return dht.Peer{}, false
}

// from returns up to n nodes clockwise from the node id on.
func (c *circle) from(id dht.ID, n int) (list []dht.Peer) {
	at := slices.IndexFunc(c.list, func(p dht.Peer) bool { return p.ID == id })
	if at < 0 {
		return nil
	}
	list = append(list, c.list[at:min(at+n, len(c.list))]...)
	if c.closed && len(list) < n {
		list = append(list, c.list[:min(at, n-len(list))]...)
	}
	return list
}

// near returns up to n other nodes: the one before this one, and those after it.
func (c *circle) near(n int) (list []dht.Peer) {
	if len(c.list) == 0 {
		return nil
	}
	if c.self > 0 {
		list = append(list, c.list[c.self-1])
	} else if c.closed && len(c.list) > 1 {
		list = append(list, c.list[len(c.list)-1])
	}
	for _, p := range c.list[c.self+1:] {
		if len(list) < n && !slices.ContainsFunc(list, p.Is) {
			list = append(list, p)
		}
	}
	return list
}

// greet tells others what this node knows of lineages, and asks the same.
func (e *Engine) greet(list ...dht.Peer) {
	for _, p := range list {
		m := Arcs{Lineage: e.lineage, Candidate: e.founding.candidate, Ask: true}
		for _, r := range e.replicas {
			if r.phase == active && len(m.List) < 8 {
				m.List = append(m.List, Tiding{Group: r.group})
			}
		}
		e.send(p, m)
	}
}

// onArcs learns what another node knows, and answers if it asks.
func (e *Engine) onArcs(from dht.Peer, m Arcs) {
	e.hear(m.Lineage)
	e.founding.heard(e, from, m)
	if m.Leaving {
		e.leaves(from)
	}
	reply := Arcs{Lineage: e.lineage, Candidate: e.founding.candidate}
	for _, t := range m.List {
		if t.Staged {
			if e.find(t.Group.Ref(), past) != nil || e.find(t.Group.Ref(), active) != nil {
				reply.List = append(reply.List, Tiding{Group: t.Group})
				continue
			}
			reply.List = append(reply.List, e.tidings(t.Group).List...)
			continue
		}
		if t.Over {
			e.forgetOver(t.Group)
			continue
		}
		if t.Group.Has(e.cfg.Self.ID) {
			e.activate(t.Group)
		} else {
			e.learn(t)
		}
		if t.Established {
			e.learn(t)
		}
		if t.Sealed {
			e.sealedElsewhere(t.Group)
		}
		reply.List = append(reply.List, e.tidings(t.Group).List...)
		e.passOn(from, m, t)
	}
	if len(reply.List) > maxTidings {
		reply.List = reply.List[:maxTidings]
	}
	if m.Ask {
		e.send(from, reply)
	}
}

// leaves notes that a node wants to be a member no more.
func (e *Engine) leaves(p dht.Peer) {
	if e.survey.left == nil || len(e.survey.left) > maxArcs {
		e.survey.left = map[dht.ID]uint64{}
	}
	if e.survey.left[p.ID] < max(p.Incarnation, 1) {
		e.survey.left[p.ID] = max(p.Incarnation, 1)
		e.survey.due = e.now
	}
}

// sealedElsewhere ends the lead of a group that some member has sealed: it is about to
// be followed by another.
func (e *Engine) sealedElsewhere(g Group) {
	for _, l := range slices.Clone(e.leads) {
		if l.r.ref == g.Ref() {
			e.cede(l.r)
		}
	}
	e.survey.due = e.now
}

// maxHops bounds how far a group's tiding is passed on to who owns its arc.
const maxHops = 64

// passOn sends a tiding that is not in order towards the owner of its arc: the members
// of a group come after it on the circle.
func (e *Engine) passOn(from dht.Peer, m Arcs, t Tiding) {
	if m.Hops == 0 || m.Hops >= maxHops || e.overtakenKnown(t.Group) {
		return
	}
	to, ok := e.view.owner(t.Group.Arc.To)
	if !ok {
		if near := e.view.near(1); len(near) == 1 {
			to, ok = near[0], true
		}
	}
	if ok && to.ID != e.cfg.Self.ID && to.ID != from.ID {
		e.send(to, Arcs{Lineage: e.lineage, Hops: m.Hops + 1, List: []Tiding{t}})
	}
}
