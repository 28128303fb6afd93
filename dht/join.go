package dht

import (
	"maps"
	"slices"
	"time"
)

// Meet remembers contacts for ever and joins the ring that they are in, or merges it
// with the own. Those that are not reached are dialled again and again. An
// incarnation of zero means that it is not known.
func (n *Node) Meet(now time.Time, contacts ...Peer) {
	n.enter(now)
	for _, p := range contacts {
		if !n.point(p) || p.ID == n.cfg.Self.ID {
			n.refuse(p, NoPoint)
			continue
		}
		k := n.book.get(p.ID)
		if k == nil {
			if k = n.admit(p); k == nil {
				n.counters.Dropped++
				continue
			}
		}
		k.contact = true
		if k.state != Alive && k.state != Suspect && !k.trial.running() {
			k.Address = p.Address
			n.begin(k, p, false)
		}
	}
	n.settle()
}

// place looks up where in the ring this node belongs: when it is alone and somebody
// has answered, or when it has met a node that may be of another ring.
func (n *Node) place() {
	f := &n.finding
	if f.placing {
		return
	}
	alone := n.ring.Head().ID == n.cfg.Self.ID && n.ring.Predecessor().ID == n.cfg.Self.ID
	through := f.foreign
	f.foreign = Peer{}
	switch {
	case alone && !n.clock.now.Before(f.placeAt):
		some := n.others(1)
		if len(some) == 0 {
			return
		}
		through = some[0]
		if f.places++; f.places > 2 {
			n.askView(n.book.after(n.cfg.Self.ID).Peer)
		}
	case alone || through.ID == (ID{}):
		return
	}
	f.placeAt, f.placing = n.clock.now.Add(n.cfg.Timeout), true
	l := n.lookup(n.cfg.Self.ID, forPlace)
	l.near = []Peer{through}
	n.step(l)
}

// placed has found the neighbours. Alone, this node joins at the one before it; else
// the one after it is a candidate, and the one before it is made to know of it.
func (n *Node) placed(l *lookup, owner Peer, err error) {
	n.finding.placing = false
	n.stab.look = true
	if err != nil {
		return
	}
	alone := n.ring.Head().ID == n.cfg.Self.ID
	for _, p := range []Peer{l.before, owner} {
		if p.ID == n.cfg.Self.ID || p == (Peer{}) {
			continue
		}
		k := n.book.get(p.ID)
		switch {
		case k == nil || k.state == Unmet:
			n.meet(p, Peer{})
		case alone:
			n.askView(p)
			return
		case n.ring.Candidate(p):
			n.askView(p)
		default:
			n.check(k, k.Peer, false)
		}
	}
}

// Leave tells the neighbours that this node goes and whom they have instead. After it
// the node does nothing more but to say so again.
func (n *Node) Leave(now time.Time) {
	n.enter(now)
	if !n.left {
		m := n.farewell()
		n.send(n.ring.Predecessor(), m)
		sent := []ID{n.ring.Predecessor().ID}
		for _, p := range n.ring.Successors() {
			if p.ID != sent[0] {
				n.send(p, m)
				sent = append(sent, p.ID)
			}
		}
		for _, p := range n.others(fanOut, sent...) {
			n.send(p, m)
		}
		for _, id := range slices.Sorted(maps.Keys(n.finding.byID)) {
			n.finish(n.finding.byID[id], Peer{}, ErrLeft)
		}
	}
	n.left = true
	n.settle()
}

func (n *Node) farewell() Farewell {
	v := n.ring.View()
	return Farewell{v.Predecessor, v.Successors}
}

func (n *Node) handleFarewell(from Peer, m Farewell) {
	k := n.book.get(from.ID)
	if k == nil || !k.lives(from) {
		return
	}
	n.died(k, Left)
	for _, p := range append([]Peer{m.Predecessor}, m.Successors...) {
		if n.point(p) && n.relevant(p.ID) && n.book.get(p.ID) == nil {
			n.meet(p, Peer{})
		}
	}
}
