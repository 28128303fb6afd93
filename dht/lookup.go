package dht

import (
	"slices"
	"time"
)

// purpose is who wants the outcome of a lookup.
type purpose int

const (
	forUser  purpose = 0
	forPlace purpose = -1 // of this node, in a ring it wants to join or has met; above zero: a finger
)

// lookup goes from node to node towards a key, always asking the nearest that is
// known to come before it, until one names the owner and that one confirms. Who does
// not answer is passed over for the next nearest.
type lookup struct {
	id      uint64
	key     ID
	purpose purpose
	began   time.Time
	near    []Peer // who precede the key, nearest first
	owners  []Peer // named: who does not answer is followed by the next
	before  Peer   // the owner's predecessor, as told
	asked   []ID
	outcome LookupDone
}

// finding is all about lookups.
type finding struct {
	byID     map[uint64]*lookup
	last     uint64
	placing  bool
	placeAt  time.Time
	places   int  // attempts in a row
	foreign  Peer // a node that may be of another ring
	fingerAt time.Time
	finger   int
	quiet    time.Duration // between two fingers; longer while nothing changes
}

// fallbacks is how many nodes are named beside an owner or a nearer node.
const fallbacks = 8

// Lookup finds the owner of a key. The outcome is a [LookupDone] event.
func (n *Node) Lookup(now time.Time, key ID) uint64 {
	n.enter(now)
	l := n.lookup(n.cfg.Space.reduce(key), forUser)
	switch {
	case n.left:
		n.finish(l, Peer{}, ErrLeft)
	case len(n.finding.byID) > maxLookups:
		n.finish(l, Peer{}, ErrBusy)
	default:
		n.start(l)
	}
	n.settle()
	return l.id
}

func (n *Node) lookup(key ID, why purpose) *lookup {
	n.finding.last++
	l := &lookup{id: n.finding.last, key: key, purpose: why, began: n.clock.now}
	n.finding.byID[l.id] = l
	return l
}

func (n *Node) start(l *lookup) {
	if n.joining() {
		n.later(l)
		return
	}
	if _, owners := n.locate(l.key, ID{}, false); len(owners) > 0 {
		if owners[0].ID == n.cfg.Self.ID {
			n.finish(l, n.cfg.Self, nil)
			return
		}
		l.owners = owners
	}
	l.near = n.table.Next(l.key, fallbacks)
	n.step(l)
}

// joining reports whether this node is alone, and has just asked the first contact.
func (n *Node) joining() bool {
	return len(n.book.order) == 1 && n.book.asking > 0
}

// later begins a lookup again after a while: when its owner is dead and nobody knows
// yet, there is nobody to ask.
func (n *Node) later(l *lookup) {
	l.asked, l.owners, l.near, l.outcome.Hops = nil, nil, nil, nil
	if n.clock.now.Sub(l.began) > lookupTime || n.ask(call{what: asksLater, lookup: l}) == nil {
		n.finish(l, Peer{}, ErrNoRoute)
	}
}

// Owner returns who owns a key, when this node can tell without asking: always, with
// full membership.
func (n *Node) Owner(key ID) (Peer, bool) {
	_, owners := n.locate(n.cfg.Space.reduce(key), ID{}, false)
	if len(owners) == 0 {
		return Peer{}, false
	}
	return owners[0], true
}

// locate returns the owner of a key with those who come after it, as far as this node
// knows, and the node before it. A node that looks for its own place is left out.
func (n *Node) locate(key, except ID, leaveOut bool) (before Peer, owners []Peer) {
	circle := n.circle()
	circle = slices.DeleteFunc(circle, func(p Peer) bool { return leaveOut && p.ID == except })
	if len(circle) == 0 {
		return
	}
	from := 0
	if n.book.full || len(circle) == 1 {
		from = -1
	}
	for i := from + 1; i < len(circle); i++ {
		before = circle[(i+len(circle)-1)%len(circle)]
		if Owns(before.ID, circle[i].ID, key) {
			for j := i; j < len(circle) && len(owners) < fallbacks; j++ {
				owners = append(owners, circle[j])
			}
			for j := 0; n.book.full && j < i && len(owners) < fallbacks; j++ {
				owners = append(owners, circle[j])
			}
			return before, owners
		}
	}
	return Peer{}, nil
}

// circle returns the nodes that this one knows to follow one another: all of them, or
// from its predecessor to its last successor.
func (n *Node) circle() (list []Peer) {
	if n.book.full {
		for _, k := range n.book.order {
			list = append(list, k.Peer)
		}
		return list
	}
	if pred := n.ring.Predecessor(); pred.ID != n.cfg.Self.ID {
		list = append(list, pred)
	} else if n.ring.Head().ID != n.cfg.Self.ID {
		list = append(list, n.cfg.Self) // what lies before it belongs to it, or not
		return append(list, n.ring.Successors()...)
	}
	list = append(list, n.cfg.Self)
	for _, p := range n.ring.Successors() {
		if p.ID == list[0].ID {
			break
		}
		list = append(list, p)
	}
	return list
}

// step asks the next node.
func (n *Node) step(l *lookup) {
	for {
		var p Peer
		switch {
		case n.clock.now.Sub(l.began) > lookupTime || len(l.asked) >= maxAsked:
			n.finish(l, Peer{}, ErrTooLong)
			return
		case len(l.owners) > 0:
			p, l.owners = l.owners[0], l.owners[1:]
		case len(l.near) > 0:
			p, l.near = l.near[0], l.near[1:]
		case l.purpose != forUser:
			n.finish(l, Peer{}, ErrNoRoute)
			return
		default:
			n.later(l)
			return
		}
		if p.ID == n.cfg.Self.ID || slices.Contains(l.asked, p.ID) {
			continue
		}
		l.asked = append(l.asked, p.ID)
		if n.ask(call{to: p, what: asksKey, lookup: l}) == nil {
			n.finish(l, Peer{}, ErrBusy)
		}
		return
	}
}

func (n *Node) lookupMissed(c *call) {
	l := c.lookup
	l.outcome.Timeouts++
	if k := n.book.get(c.to.ID); k != nil && k.state == Alive {
		n.check(k, k.Peer, false)
	}
	if n.finding.byID[l.id] != nil {
		n.step(l)
	}
}

func (n *Node) handleFind(from Peer, m Find) {
	if !n.cfg.Space.Contains(m.Key) {
		n.refuse(from, NoPoint)
		return
	}
	a := Found{Token: m.Token}
	if a.Before, a.Owners = n.locate(m.Key, from.ID, m.Key == from.ID); len(a.Owners) == 0 {
		a.Next = n.table.Next(m.Key, fallbacks)
		a.Next = slices.DeleteFunc(a.Next, func(p Peer) bool {
			k := n.book.get(p.ID)
			return p.ID == from.ID || k != nil && !k.lives(p)
		})
	}
	n.send(from, a)
}

func (n *Node) handleFound(from Peer, m Found) {
	c := n.answered(from, m.Token, asksKey)
	if c == nil {
		return
	}
	l := c.lookup
	if n.finding.byID[l.id] == nil {
		return
	}
	if len(m.Owners) > 0 && m.Owners[0].ID == from.ID {
		if n.point(m.Before) {
			l.before = m.Before
		}
		n.finish(l, from, nil)
		return
	}
	l.outcome.Hops = append(l.outcome.Hops, from)
	if !n.nearer(l, from, m) {
		n.refuse(from, NoProgress)
	}
	n.step(l)
}

// nearer takes from an answer what leads on: an owner behind the key, as seen from
// who names it, and nodes between that one and the key. What does not is no progress.
func (n *Node) nearer(l *lookup, from Peer, m Found) (progress bool) {
	bad := func(p Peer) bool { return !n.point(p) }
	if len(m.Owners) > 0 && !slices.ContainsFunc(m.Owners, bad) && Owns(from.ID, m.Owners[0].ID, l.key) {
		l.owners, l.before = m.Owners, from
		if n.point(m.Before) {
			l.before = m.Before
		}
		return true
	}
	for _, p := range m.Next {
		if bad(p) || !Between(from.ID, p.ID, l.key) {
			continue
		}
		progress = true
		at := slices.IndexFunc(l.near, func(q Peer) bool { return q.ID == p.ID || Between(q.ID, p.ID, l.key) })
		switch {
		case at < 0:
			l.near = append(l.near, p)
		case l.near[at].ID != p.ID:
			l.near = slices.Insert(l.near, at, p)
		}
	}
	l.near = l.near[:min(len(l.near), 2*maxNext)]
	return progress
}

// finish ends a lookup.
func (n *Node) finish(l *lookup, owner Peer, err error) {
	delete(n.finding.byID, l.id)
	switch {
	case l.purpose == forPlace:
		n.placed(l, owner, err)
	case l.purpose > 0:
		n.fingerFound(int(l.purpose), owner, err)
	default:
		n.counters.LookupsDone++
		if err != nil {
			n.counters.LookupsFailed++
		}
		done := l.outcome
		done.ID, done.Key, done.Owner, done.Err, done.Took = l.id, l.key, owner, err, n.clock.now.Sub(l.began)
		n.tell(done)
	}
}
