package dht

import "time"

// gossip spreads changes of membership while every node knows all: at once to a few
// by lot, and by comparing hashes wherever two nodes talk. What it says is a hint to
// ask the peer itself, never more.
type gossip struct {
	queue    []Rumor
	spreadAt time.Time // of the next Rumors, zero when there are none
	last     time.Time
	syncing  bool
	syncAt   time.Time // when members were compared last,
	mine     uint64    // and the hashes then
	theirs   uint64
}

const (
	fanOut    = 3
	spreadGap = 100 * time.Millisecond
	syncGap   = 200 * time.Millisecond // with neighbours; others less often
	maxQueue  = 2048
)

func (g *gossip) add(r Rumor) {
	if len(g.queue) < maxQueue {
		g.queue = append(g.queue, r)
	}
}

func (n *Node) spread() {
	g := &n.gossip
	g.spreadAt = time.Time{}
	if !n.book.full {
		g.queue = nil
	}
	if len(g.queue) == 0 {
		return
	}
	if at := g.last.Add(spreadGap); at.After(n.clock.now) {
		g.spreadAt = at
		return
	}
	g.last = n.clock.now
	some := g.queue[:min(len(g.queue), MaxRumors)]
	for _, p := range n.others(fanOut) {
		n.send(p, Rumors{some})
	}
	if g.queue = g.queue[len(some):]; len(g.queue) > 0 {
		g.spreadAt = n.clock.now.Add(spreadGap)
	} else {
		g.queue = nil
	}
}

func (n *Node) handleRumors(from Peer, m Rumors) {
	for _, r := range m.List {
		switch {
		case !n.point(r.Peer):
			n.refuse(from, NoPoint)
		case r.Peer.ID == n.cfg.Self.ID:
			n.aboutSelf(from, r)
		case r.State == Alive:
			n.rumoredAlive(from, r)
		default:
			n.rumoredDead(r)
		}
	}
}

// aboutSelf refutes the own death by a counter that outdoes the rumour.
func (n *Node) aboutSelf(from Peer, r Rumor) {
	if r.State == Alive || r.Peer.Incarnation != n.cfg.Self.Incarnation {
		return
	}
	n.accused(from, r.Counter+1)
	n.gossip.add(Rumor{n.cfg.Self, Alive, n.counter})
}

func (n *Node) rumoredAlive(from Peer, r Rumor) {
	k := n.book.get(r.Peer.ID)
	if k == nil {
		if n.relevant(r.Peer.ID) {
			n.meet(r.Peer, from)
		}
		return
	}
	if k.state == Dead || k.state == Left || k.state == Unmet || r.Peer.Incarnation > k.Incarnation {
		n.check(k, r.Peer, false)
		k.trial.teller = from
	}
}

func (n *Node) rumoredDead(r Rumor) {
	k := n.book.get(r.Peer.ID)
	if k == nil || k.state != Alive && k.state != Suspect || r.Peer.Incarnation != k.Incarnation {
		return
	}
	if r.Counter < k.counter && n.clock.now.Sub(k.heard) < ghostTime {
		return // it has refuted that since
	}
	fresh := !k.trial.running()
	n.check(k, k.Peer, true)
	if fresh && k.trial.running() {
		n.gossip.add(r) // it is only a hint, and those who hear of it ask themselves
	}
}

// compare looks whether a neighbour knows other members.
func (n *Node) compare(from Peer, theirs uint64) {
	g, mine := &n.gossip, n.membersHash()
	if theirs == 0 || mine == 0 || theirs == mine || g.syncing || n.book.asking > 0 || len(n.book.names) > 0 {
		return
	}
	k := n.book.get(from.ID)
	if k == nil || k.state != Alive {
		return
	}
	since := n.clock.now.Sub(g.syncAt)
	neighbor := from.Is(n.ring.Head()) || from.Is(n.ring.Predecessor())
	if !g.syncAt.IsZero() && (since < syncGap || !neighbor && since < 5*syncGap || since < ghostTime && g.mine == mine && g.theirs == theirs) {
		return
	}
	if n.ask(call{to: from, what: asksMembers}) != nil {
		g.syncing, g.syncAt, g.mine, g.theirs = true, n.clock.now, mine, theirs
	}
}

func (n *Node) handleSync(from Peer, m Sync) {
	a := Members{Token: m.Token}
	if n.book.full {
		var in [Parts][]Peer
		for _, k := range n.book.order {
			in[part(k.ID)] = append(in[part(k.ID)], k.Peer)
		}
		for i, h := range n.book.partHashes() {
			if h != m.Hashes[i] && len(a.List)+len(in[i]) <= MaxListed {
				a.Parts |= 1 << i
				a.List = append(a.List, in[i]...)
			}
		}
	}
	n.send(from, a)
}

func (n *Node) handleMembers(from Peer, m Members) {
	if n.answered(from, m.Token, asksMembers) == nil {
		return
	}
	n.gossip.syncing = false
	theirs := make(map[ID]bool, len(m.List))
	for _, p := range m.List {
		switch {
		case !n.point(p):
			n.refuse(from, NoPoint)
			continue
		case !n.book.full || m.Parts>>part(p.ID)&1 == 0:
			continue
		}
		theirs[p.ID] = true
		n.named(from, p)
	}
	n.tellMissing(from, m.Parts, theirs)
}

// named takes a member that a neighbour knows.
func (n *Node) named(from, p Peer) {
	k := n.book.get(p.ID)
	switch {
	case k == nil:
		n.meet(p, from)
	case k.ID == n.cfg.Self.ID:
	case k.state == Dead || k.state == Left || p.Incarnation > k.Incarnation:
		n.check(k, p, false)
		k.trial.teller = from
	}
}

// tellMissing tells a neighbour whom it does not know.
func (n *Node) tellMissing(to Peer, parts uint32, theirs map[ID]bool) {
	var list []Rumor
	for _, k := range n.book.order {
		if parts>>part(k.ID)&1 != 0 && !theirs[k.ID] && k.ID != to.ID {
			list = append(list, Rumor{k.Peer, Alive, k.counter})
		}
	}
	for len(list) > 0 {
		some := list[:min(len(list), MaxRumors)]
		n.send(to, Rumors{some})
		list = list[len(some):]
	}
}
