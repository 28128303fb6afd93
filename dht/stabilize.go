package dht

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// stabilizer drives the operations of [Ring]: one query of the head a period, and at
// once whenever something has changed.
type stabilizer struct {
	at       time.Time // of the next query of the head
	tellAt   time.Time // of the next Changed, zero when there is none to send
	told     time.Time // the last one
	toldHash uint64    // of the view that the predecessor has

	seen     View // the last that the head told
	seenOf   Peer
	seenHash uint64

	held     []View // views with names that have not answered yet
	notifier Peer   // who else took this node for its head
	view     View   // as last told in an event
	viewHash uint64
	ticks    uint64
	duties
}

// duties are what settle is to do.
type duties struct {
	look  bool // for nearer neighbours among the members
	retry bool // the views held
	again bool // query the head at once
}

const (
	minSuccessors = 8
	tellGap       = 50 * time.Millisecond // between two Changed
	modeGap       = time.Minute           // between leaving full membership and going back
)

// tick does what a period asks for.
func (n *Node) tick() {
	if n.clock.now.Before(n.stab.at) {
		return
	}
	n.stab.at = n.clock.now.Add(n.cfg.Period*9/10 + time.Duration(n.rng.Int64N(int64(n.cfg.Period/5)+1)))
	if n.doubt.answered && n.doubt.level > 0 {
		n.doubt.level--
	}
	n.doubt.answered = false
	n.measure()
	pred := n.book.get(n.ring.Predecessor().ID)
	if pred != nil && pred.ID != n.cfg.Self.ID && n.clock.now.Sub(pred.heard) > n.cfg.Period*3/2 {
		n.check(pred, pred.Peer, false) // it should have asked: are we still its head?
	}
	n.stab.look, n.stab.again = true, true
	n.lookAround()
}

// lookAround chooses a node to look the own place up through, above full membership:
// often at first, then now and then. Rings that lie in each other and do not know it
// find out this way.
func (n *Node) lookAround() {
	n.stab.ticks++
	often := n.stab.ticks < 16 && n.stab.ticks%2 == 0
	if n.book.full || !often && n.stab.ticks%8 != 0 {
		return
	}
	if some := n.others(1); len(some) > 0 {
		n.finding.foreign = some[0]
	}
}

// stabilize queries the head, or, where there is none, who has us for its head.
func (n *Node) stabilize() {
	if !n.stab.again {
		return
	}
	n.stab.again = false
	p := n.ring.Head()
	if p.ID == n.cfg.Self.ID {
		p = n.ring.Predecessor()
	}
	n.askView(p)
}

func (n *Node) askView(p Peer) {
	k := n.book.get(p.ID)
	if k == nil || p.ID == n.cfg.Self.ID || n.waits(k) {
		return
	}
	if c := n.ask(call{to: k.Peer, what: asksView}); c != nil {
		k.viewCall = c.token
	}
}

func (n *Node) handleQuery(from Peer, m Query) {
	if m.Accused > 0 {
		n.accused(from, m.Accused)
	}
	if m.Head {
		n.notified(from)
	}
	a := Answer{Token: m.Token, Counter: n.counter, Members: n.membersHash()}
	if m.View {
		n.noteView()
		if a.Whole = m.Seen != n.stab.viewHash; a.Whole {
			a.Predecessor, a.Successors = n.stab.view.Predecessor, n.stab.view.Successors
		}
		if from.Is(n.ring.Predecessor()) {
			n.stab.toldHash = n.stab.viewHash
		}
	}
	n.send(from, a)
	n.compare(from, m.Members)
}

// notified is Rectify: from has this node for its head.
func (n *Node) notified(from Peer) {
	ask, ok := n.ring.Notified(from)
	if !ok {
		if n.ring.Predecessor().Is(from) {
			n.keep(from)
		}
		return
	}
	k := n.book.get(ask.ID)
	if k == nil || !k.lives(ask) {
		n.ring.PredecessorDied(ask, from)
		n.keep(from)
		return
	}
	n.stab.notifier = from
	if n.clock.now.Sub(k.heard) > n.cfg.Period {
		n.check(k, k.Peer, false)
	}
}

// keep remembers a peer that has become a pointer of this node.
func (n *Node) keep(p Peer) {
	if n.book.get(p.ID) == nil {
		n.book.byID[p.ID] = &known{Peer: p} // beyond the bound of admit: there are few pointers
		n.heard(p)
	}
}

func (n *Node) handleAnswer(from Peer, m Answer) {
	c := n.answered(from, m.Token, asksLife, asksView, asksForPeer)
	if c == nil {
		return
	}
	k := n.book.get(from.ID)
	if k != nil {
		k.counter = max(k.counter, m.Counter)
	}
	switch {
	case c.what == asksForPeer:
		n.send(c.asker, Probed{c.reply, true})
	case c.what == asksView && m.Whole:
		v := View{from, m.Predecessor, m.Successors}
		if !n.inOrder(v) {
			n.refuse(from, OutOfOrder)
			return
		}
		if from.Is(n.ring.Head()) {
			n.stab.seen, n.stab.seenOf, n.stab.seenHash = v, from, hashView(v)
		}
		n.useView(v)
	case c.what == asksView && n.stab.seenOf.Is(from):
		n.useView(n.stab.seen)
	}
	n.compare(from, m.Members)
}

// inOrder reports whether a view can be true: every successor lies behind the one
// before it, and nobody comes after the node itself has come round.
func (n *Node) inOrder(v View) bool {
	if !n.point(v.Predecessor) || len(v.Successors) == 0 {
		return false
	}
	before := v.Self.ID
	for i, p := range v.Successors {
		last := i == len(v.Successors)-1
		if !n.point(p) || !Between(before, p.ID, v.Self.ID) && (!last || p.ID != v.Self.ID) {
			return false
		}
		before = p.ID
	}
	return true
}

// useView gives a view to the ring, when all names in it have answered: until then it
// is as if the answer were still on its way.
func (n *Node) useView(v View) {
	k := n.book.get(v.Self.ID)
	if k == nil || !k.lives(v.Self) && n.broken != TrustLists {
		return
	}
	var list []Peer
	wait := false
	for _, p := range v.Successors[:min(len(v.Successors), n.ring.length)] {
		usable, w := n.settled(p)
		wait = wait || w
		if usable {
			list = append(list, p)
		}
	}
	candidate := v.Predecessor
	if wait {
		n.hold(v)
		return
	}
	v.Successors = list
	old, alone := n.ring.Head(), n.ring.Head().ID == n.cfg.Self.ID
	switch {
	case alone && n.ring.Join(v):
	case alone && !v.Self.Is(n.ring.Predecessor()) && v.Self.ID != n.book.after(n.cfg.Self.ID).ID:
		return
	case v.Self.Is(old):
		n.ring.HeadAnswered(v)
	case n.broken != IgnoreCandidates || alone:
		n.ring.CandidateAnswered(v)
	}
	if n.ring.Candidate(candidate) {
		n.better(candidate)
	}
	if head := n.ring.Head(); !head.Is(old) {
		n.stab.again = true // the query tells it that it is our head
		if !n.book.full && !alone {
			// Of two rings that become one, the new head may not know the old one.
			n.send(head, Rumors{[]Rumor{{old, Alive, 0}}})
		}
	}
}

// better queries a candidate, or meets it first.
func (n *Node) better(p Peer) {
	if k := n.book.get(p.ID); k != nil && k.lives(p) && k.met {
		n.askView(p)
		return
	}
	n.settled(p)
}

func (n *Node) hold(v View) {
	n.stab.held = slices.DeleteFunc(n.stab.held, func(w View) bool { return w.Self.ID == v.Self.ID })
	if len(n.stab.held) >= maxHeld {
		n.stab.held = n.stab.held[1:]
		n.counters.Dropped++
	}
	n.stab.held = append(n.stab.held, v)
}

func (n *Node) useHeld() {
	if !n.stab.retry {
		return
	}
	n.stab.retry = false
	held := n.stab.held
	n.stab.held = nil
	for _, v := range held {
		n.useView(v)
	}
}

// aim looks for nearer neighbours among the members that have answered: where two
// rings meet, everybody finds its place among all. A nearer successor is a candidate
// like any other. A nearer predecessor has to be told of this node.
func (n *Node) aim() {
	defer n.stabilize()
	if !n.stab.look || n.finding.placing {
		return
	}
	n.stab.look = false
	self := n.cfg.Self.ID
	if n.ring.Head().ID != self {
		if next := n.book.after(self); next.ID != self && n.ring.Candidate(next.Peer) {
			n.askView(next.Peer)
		}
	}
	before, pred := n.book.before(self), n.ring.Predecessor()
	if k := n.book.get(pred.ID); k == nil || !k.lives(pred) || Between(pred.ID, before.ID, self) {
		if before.ID != self && before.ID != pred.ID {
			n.check(before, before.Peer, false)
		}
	}
}

// noteView tells of a view that has changed.
func (n *Node) noteView() (changed bool) {
	v := &n.stab.view
	if v.Predecessor == n.ring.pred && slices.Equal(v.Successors, n.ring.list) {
		return false
	}
	*v = n.ring.View()
	n.stab.viewHash = hashView(*v)
	n.tell(ViewChanged{n.ring.View()})
	return true
}

// tellView tells the predecessor, and who was it before, that they should ask again.
func (n *Node) tellView() {
	old := n.stab.view.Predecessor
	n.noteView()
	pred := n.ring.Predecessor()
	if k := n.book.get(old.ID); !old.Is(pred) && k != nil && k.lives(old) {
		n.send(old, Changed{n.stab.viewHash})
	}
	n.stab.tellAt = time.Time{}
	if n.stab.toldHash == n.stab.viewHash || pred.ID == n.cfg.Self.ID {
		return
	}
	if at := n.stab.told.Add(tellGap); at.After(n.clock.now) {
		n.stab.tellAt = at
		return
	}
	n.stab.told, n.stab.toldHash = n.clock.now, n.stab.viewHash
	n.send(pred, Changed{n.stab.viewHash})
}

func (n *Node) handleChanged(from Peer, m Changed) {
	if from.Is(n.ring.Head()) && m.Hash != n.stab.seenHash {
		n.stab.again = true
	}
}

// size returns how many nodes the ring has: counted when all are known, else from how
// close together the successors lie.
func (n *Node) size() int {
	list := n.ring.Successors()
	if n.book.full || len(list) < n.ring.length {
		return len(n.book.order)
	}
	way := n.cfg.Space.Distance(n.cfg.Self.ID, list[len(list)-1].ID)
	hi, mid, lo := way.words()
	part := math.Ldexp(float64(hi), 128) + math.Ldexp(float64(mid), 64) + float64(lo)
	return int(min(float64(len(list))*math.Ldexp(1, n.cfg.Space.bits)/max(part, 1), 1<<40))
}

// measure fits the node to the size of the ring.
func (n *Node) measure() {
	if n.cfg.Successors == 0 {
		want := min(max(2*bits.Len(uint(n.size()-1)), minSuccessors), MaxSuccessors)
		if want > n.ring.length {
			n.ring.SetLength(want)
		}
	}
	if n.book.full {
		n.tooMany()
	} else if n.size() < n.cfg.MaxMembers*4/5 && n.clock.now.Sub(n.book.modeAt) > modeGap {
		n.book.full, n.book.modeAt = true, n.clock.now
	}
	if !n.book.full {
		n.trim()
	}
}

// tooMany ends full membership when it has become too large.
func (n *Node) tooMany() {
	if n.book.full && len(n.book.order) > n.cfg.MaxMembers {
		n.book.full, n.book.modeAt, n.book.names = false, n.clock.now, nil
	}
}

// trim forgets the living that are no pointers of this node: nobody would notice
// their death.
func (n *Node) trim() {
	var gone []*known
	for _, k := range n.book.order {
		finger := slices.ContainsFunc(n.table.fingers, k.Peer.Is)
		if k.ID != n.cfg.Self.ID && !k.contact && !finger && !n.near(k.ID) {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		n.endTrial(k)
		n.book.forget(k)
	}
}
