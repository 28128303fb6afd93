package topics

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// feed is a node that is sent the messages of a topic: a child, a mirror, or the heir.
// It has no queue; it is a place in the window.
type feed struct {
	peer  dht.Peer
	role  Role
	acked Position // it has all to here
	sent  Position // it has been sent all to here
	began Position // where it began
	until Position // of an heir: the last it is to get
	due   time.Time
	tries int
	dups  int // acknowledgements of the same in a row
	less  int // by how much fewer than maxUnderWay may be under way
	// lagging: a mirror that publishers do not wait for.
	lagging bool
	heard   time.Time
	timed   Position // its Ack tells the round-trip time, since timedAt
	timedAt time.Time
	nodes   uint64
	seen    Position // the highest of a child's subtree
	try     uint64
}

// What is under way to one node is bounded: by messages and by bytes. An heir gets
// one at a time.
const (
	maxUnderWay      = 64
	maxBytesUnderWay = 256 << 10
)

// dupsMost acknowledgements of the same position in a row mean that what comes next
// was lost (RFC 5681 section 3.2); fewer, that it was overtaken.
const dupsMost = 3

// mirrorWait is how long publishers wait for a mirror that says nothing.
const mirrorWait = 4 * time.Second

// nearlyThere is how many messages a mirror may be behind to be waited for again.
const nearlyThere = 16

// childRenewals is after how many renewals without a word a child is forgotten.
const childRenewals = 3

func (t *topic) feed(id dht.ID, r Role) *feed {
	for _, f := range t.feeds {
		if f.peer.ID == id && f.role == r {
			return f
		}
	}
	return nil
}

func (t *topic) feedOf(r Role) *feed {
	for _, f := range t.feeds {
		if f.role == r {
			return f
		}
	}
	return nil
}

// children returns how many children the node has.
func (t *topic) children() (n int) {
	for _, f := range t.feeds {
		if f.role == Child {
			n++
		}
	}
	return n
}

// nodes returns how many nodes the subtree has.
func (t *topic) nodes() uint64 {
	n := uint64(1)
	for _, f := range t.feeds {
		if f.role == Child {
			n = min(n+f.nodes, maxNodes)
		}
	}
	return n
}

// place puts a child where it says it is, or, fresh, behind what there is.
func (f *feed) place(m Attach, newest Position) {
	f.began = m.At
	if m.Fresh {
		f.began = newest
	}
	f.acked, f.sent, f.tries, f.due, f.dups = f.began, f.began, 0, time.Time{}, 0
}

func (e *Engine) removeFeed(now time.Time, t *topic, f *feed) {
	i := slices.Index(t.feeds, f)
	if i < 0 {
		return
	}
	t.feeds = slices.Delete(t.feeds, i, i+1)
	switch {
	case f.role == Heir && t.place.dismiss && !t.place.seeking:
		t.place.dismiss = false
		e.dismiss(t)
	case f.role == Mirror && t.root.is:
		e.settled(now, t)
	}
}

// end returns how far a feed may be sent.
func (t *topic) end(f *feed) Position {
	switch f.role {
	case Mirror:
		return t.window.last
	case Heir:
		return f.until
	}
	return t.committed
}

// pumpAll sends all that has become possible. A feed may end by it.
func (e *Engine) pumpAll(now time.Time, t *topic) {
	for _, f := range slices.Clone(t.feeds) {
		e.pump(now, t, f)
	}
}

// pump sends a node what it may have and has not been sent.
func (e *Engine) pump(now time.Time, t *topic, f *feed) {
	w := &t.window
	begin, next := w.after(f.acked), w.after(f.sent)
	if f.role != Heir {
		begin, next = max(begin, w.after(w.floor)), max(next, w.after(w.floor))
	}
	bytes := 0
	for _, x := range w.list[begin:next] {
		bytes += len(x.payload)
	}
	most := maxUnderWay - f.less
	if f.role == Heir {
		most = 1
	}
	end := t.end(f)
	if f.role == Child && t.place.filling() && !t.root.is {
		end = f.acked // what it lacks is on its way to us
	}
	for i := next; i < len(w.list) && i-begin < most && bytes < maxBytesUnderWay; i++ {
		x := w.list[i]
		if end.Before(x.at) {
			break
		}
		m := Forward{
			Topic: t.name, Role: f.role, At: x.at, After: w.before(i), ID: x.id, Payload: x.payload, Age: now.Sub(x.got),
		}
		if i == begin && f.acked.Before(m.After) {
			m.Missed = true
			e.count.ChildGaps++
		}
		if f.acked == f.sent && f.tries == 0 {
			f.timed, f.timedAt = x.at, now
		}
		if f.role == Child && t.root.blank && x.at.Epoch == t.root.epoch && f.began.Epoch < x.at.Epoch {
			if now.Before(t.root.hold) {
				break
			}
			t.root.blank = false // a child has passed the place that older messages would keep
		}
		f.sent = x.at
		bytes += len(x.payload)
		e.count.Forwarded++
		e.send(f.peer, m)
		if f.due.IsZero() {
			f.due = now.Add(retryFirst)
		}
	}
	if !f.acked.Before(f.sent) {
		f.due, f.tries = time.Time{}, 0
		if f.role == Heir {
			e.removeFeed(now, t, f) // there was nothing left
		}
	}
}

// handleAck moves a feed on.
func (e *Engine) handleAck(now time.Time, from dht.Peer, m Ack) {
	t := e.trees.topics[m.Topic]
	if t == nil {
		return
	}
	f := t.feed(from.ID, m.Role)
	if f == nil || f.try != m.Try && e.mutation != anyAck {
		e.count.Unasked++
		return
	}
	f.heard = now
	if f.role == Heir {
		t.place.refused = 0
	}
	switch {
	case t.end(f).Before(m.At):
		if f.role != Mirror || e.knownTooFar(t, m.At) {
			e.count.Unasked++ // more than there is
			return
		}
		// It holds what a root beside this one gave it: ours has to come after.
		f.acked, f.sent = Position{}, Position{}
		e.renumber(now, t, m.At.Epoch, true)
	case f.acked.Before(m.At):
		// It may have had more than it was sent: from its parent before, or much already
		// as the mirror of another root.
		f.acked, f.dups, f.less = m.At, 0, max(f.less-1, 0)
		e.clock(now, f)
		if f.sent.Before(m.At) {
			f.sent = m.At
		}
		f.due, f.tries = now.Add(retryFirst), 0
	case m.At == f.acked && f.sent != f.acked && f.role != Heir:
		if f.dups++; f.dups == dupsMost && e.mutation != sendOnce {
			f.sent = f.acked // something in between was lost
			f.slow()
		}
	}
	if f.lagging && t.window.after(t.window.last)-t.window.after(f.acked) <= nearlyThere {
		f.lagging = false // publishers wait for the rest
	}
	e.pump(now, t, f)
	if f.role == Mirror && t.root.is {
		e.settled(now, t)
	}
	e.tidy(now, t)
}

// clock learns the round-trip time from an Ack of what was sent to an idle node, once
// (RFC 6298 section 3: never from what was sent again).
func (e *Engine) clock(now time.Time, f *feed) {
	if f.timed != (Position{}) && !f.acked.Before(f.timed) && f.tries == 0 {
		rtt := now.Sub(f.timedAt)
		if old, known := e.rtt[f.peer.ID]; known {
			rtt = (7*old + rtt) / 8
		}
		e.Measured(f.peer.ID, rtt)
		f.timed = Position{}
	}
}

// feedDue sends again what was not acknowledged, and gives up who is gone.
func (e *Engine) feedDue(now time.Time, t *topic, f *feed) {
	if f.role == Child && now.Sub(f.heard) > childRenewals*e.cfg.Renew+askAgain {
		e.count.ChildrenLost++
		e.removeFeed(now, t, f)
		return
	}
	if f.due.IsZero() || f.due.After(now) {
		return
	}
	f.tries++
	if f.role == Heir && f.tries > 8 {
		e.heirLost(now, t, f)
		return
	}
	if f.dups = 0; e.mutation != sendOnce {
		f.sent = f.acked
		f.slow()
	}
	f.due = now.Add(e.jitter(min(retryFirst<<min(f.tries, 16), retryMost)))
	e.count.ForwardedAgain++
	e.pump(now, t, f)
}

// slow halves what may be under way (RFC 5681 section 3.1): on a network that loses or
// turns around much, sending all again and again gets nowhere.
func (f *feed) slow() { f.less = maxUnderWay - max((maxUnderWay-f.less)/2, 1) }

// setMirrors makes the next successors the mirrors.
func (e *Engine) setMirrors(now time.Time, t *topic) {
	var want []dht.Peer
	for _, p := range e.view.Successors {
		if p.ID != e.cfg.Self.ID && len(want) < e.cfg.Mirrors {
			want = append(want, p)
		}
	}
	t.feeds = slices.DeleteFunc(t.feeds, func(f *feed) bool {
		return f.role == Mirror && !slices.ContainsFunc(want, f.peer.Is)
	})
	for _, p := range want {
		if t.feed(p.ID, Mirror) == nil {
			f := &feed{peer: p, role: Mirror, heard: now}
			t.feeds = append(t.feeds, f)
			e.pump(now, t, f)
		}
	}
	e.settled(now, t)
	e.arm(now, t)
}

// mirrorsDue stops waiting for mirrors that keep publishers waiting.
func (e *Engine) mirrorsDue(now time.Time, t *topic) {
	if !t.root.is || len(t.root.waiting) == 0 || now.Sub(t.root.waiting[0].since) < mirrorWait {
		return
	}
	for _, f := range t.feeds {
		if f.role == Mirror && !f.lagging && f.acked.Before(t.root.waiting[0].at) {
			f.lagging = true
			e.count.MirrorsLagging++
		}
	}
	e.settled(now, t)
}

// handOver gives the root the messages behind after, to until, and what it was to be
// given before.
func (e *Engine) handOver(now time.Time, t *topic, to dht.Peer, after, until Position) {
	if f := t.feedOf(Heir); f != nil {
		if f.acked.Before(after) {
			after = f.acked
		}
		if until.Before(f.until) {
			until = f.until
		}
		t.feeds = slices.DeleteFunc(t.feeds, func(g *feed) bool { return g == f })
	}
	if to.ID == e.cfg.Self.ID || t.window.after(after) == len(t.window.list) {
		return
	}
	f := &feed{peer: to, role: Heir, acked: after, sent: after, until: until, heard: now}
	t.feeds = append(t.feeds, f)
	e.count.HandOvers++
	e.pump(now, t, f)
	e.arm(now, t)
}

// handleForward takes a message from the parent, from the root as its mirror, or, as
// the root, from who was it before.
func (e *Engine) handleForward(now time.Time, from dht.Peer, m Forward) {
	if m.At.Seq == 0 || !m.After.Before(m.At) || len(m.Payload) > MaxPayload {
		e.count.Malformed++
		return
	}
	switch m.Role {
	case Child:
		e.takeFromParent(now, from, m)
	case Mirror:
		e.takeAsMirror(now, from, m)
	case Heir:
		e.takeAsHeir(now, from, m)
	}
}

func (e *Engine) takeFromParent(now time.Time, from dht.Peer, m Forward) {
	t := e.trees.topics[m.Topic]
	if t == nil || t.root.is || from.ID != t.place.parent.ID {
		e.count.Unasked++
		if t == nil || t.root.is || !t.place.seeking {
			e.send(from, Detach{Topic: m.Topic})
		}
		return
	}
	t.place.unheard = 0
	at := t.committed
	switch {
	case t.place.filling():
		e.fill(now, t, m)
		at = t.place.fill
		if !t.place.filling() {
			at = t.committed
		}
	case !t.committed.Before(m.At): // had already
		e.count.Duplicates++
	case t.committed.Before(m.After) && !m.Missed && e.mutation != takeAnything:
		e.count.OutOfOrder++
	default:
		if t.committed.Before(m.After) && m.Missed {
			e.gap(t, m)
		}
		e.unkeep(t, m.At)
		e.keep(t, entry{at: m.At, id: m.ID, payload: m.Payload, got: now.Add(-m.Age)})
		if !t.window.floor.Before(m.At) {
			t.window.floor = t.committed // as a mirror it began later
		}
		e.commit(now, t, m.At)
		at = t.committed
	}
	e.send(from, Ack{Topic: t.name, Role: Child, At: at, Try: t.place.held})
	e.arm(now, t)
}

// fillFrom has the parent send again what came behind p: a child has come that has not
// had it, and this node, which came later, has not either.
func (e *Engine) fillFrom(now time.Time, t *topic, p Position) {
	l := &t.place
	if e.mutation == staySmall || !l.attached() || l.seeking || !p.Before(t.window.floor) || t.window.floor == l.lacking {
		return
	}
	l.fill, l.fillTo, l.floor, l.try = p, t.committed, t.window.floor, e.rand.Uint64()|1
	l.held = l.try
	t.window.floor = p
	e.count.Fills++
	e.sendAttach(t, l.parent, true)
	e.waitPlace(now, t, askAgain)
}

// fill takes a message that came before what this node began with.
func (e *Engine) fill(now time.Time, t *topic, m Forward) {
	l := &t.place
	switch {
	case !l.fill.Before(m.At):
		e.count.Duplicates++
		return
	case l.fill.Before(m.After) && !m.Missed:
		e.count.OutOfOrder++
		return
	case l.fill.Before(m.After): // the parent has no more
		t.window.floor = m.After
		if l.floor.Before(m.After) {
			t.window.floor = l.floor
		}
		l.lacking = t.window.floor
	}
	l.fill = m.At
	old := !l.fillTo.Before(m.At)
	if i := t.window.find(m.ID); !old || i < 0 {
		e.keep(t, entry{at: m.At, id: m.ID, payload: m.Payload, got: now.Add(-m.Age)})
		if old {
			t.window.old(t.window.find(m.ID) + 1)
		}
	}
	if !l.fill.Before(l.fillTo) {
		l.fill, l.fillTo = Position{}, Position{}
		if t.committed.Before(m.At) {
			e.commit(now, t, m.At)
		}
		e.pumpAll(now, t)
	}
}

// unkeep takes out what lies between what is settled and p: a root that has died has
// given it to its mirrors and to nobody else.
func (e *Engine) unkeep(t *topic, p Position) {
	for i := t.window.after(t.committed); i < len(t.window.list) && t.window.list[i].at.Before(p); {
		if t.window.list[i].news {
			t.seen.remove(t.window.list[i].id)
		}
		e.trees.bytes -= len(t.window.list[i].payload)
		t.window.remove(i)
	}
}

func (e *Engine) gap(t *topic, m Forward) {
	g := Gap{Topic: t.name, From: t.committed, To: m.At}
	if g.From.Epoch == g.To.Epoch {
		g.Missed = g.To.Seq - g.From.Seq - 1
	}
	t.window.raise(m.After) // our children have missed it too
	e.count.Gaps++
	if t.subscribed {
		e.tell(g)
	}
}

// takeAsMirror keeps a message for the root. It is not passed on before the root
// sends it down the tree, or this node becomes the root.
func (e *Engine) takeAsMirror(now time.Time, from dht.Peer, m Forward) {
	if !e.mayRoot(from.ID, TopicID(e.cfg.Space, m.Topic)) {
		e.count.Unasked++ // who says so is not the root, or we are: the ring will tell
		return
	}
	t := e.topicFor(now, m.Topic)
	if t == nil || t.root.is {
		e.count.Busy++
		return
	}
	w := &t.window
	switch {
	case !w.last.Before(m.At):
		e.count.Duplicates++
	case w.last.Before(m.After) && !m.Missed:
		e.count.OutOfOrder++
	default:
		if w.last.Before(m.After) {
			w.raise(m.After)
		}
		e.keep(t, entry{at: m.At, id: m.ID, payload: m.Payload, got: now.Add(-m.Age)})
	}
	e.send(from, Ack{Topic: t.name, Role: Mirror, At: w.last})
	e.arm(now, t)
}

// uncommitted reports whether the message is here and waits for the mirrors.
func (t *topic) uncommitted(id RequestID) bool {
	i := t.window.find(id)
	return i >= 0 && t.committed.Before(t.window.list[i].at)
}

// mayRoot reports whether a node can be the owner of key, as far as this node's view
// reaches: it comes behind the key and before this node and its predecessor.
func (e *Engine) mayRoot(id, key dht.ID) bool {
	if e.owns(key) {
		return false
	}
	way := func(p dht.ID) dht.ID { return e.cfg.Space.Distance(key, p) }
	before := e.view.Predecessor.ID
	if way(before).Compare(way(e.cfg.Self.ID)) > 0 {
		before = e.cfg.Self.ID
	}
	return way(id).Compare(way(before)) <= 0
}

// A root that began with nothing lets children of the one before it wait for what that
// one hands over, so that they get it first: for holdFirst, then for holdMore after each
// message, at most holdMost.
const (
	holdFirst = 2 * time.Second
	holdMore  = time.Second
	holdMost  = 10 * time.Second
)

// takeAsHeir takes over, as the root, a message of who was it before.
func (e *Engine) takeAsHeir(now time.Time, from dht.Peer, m Forward) {
	t := e.trees.topics[m.Topic]
	if e.owns(TopicID(e.cfg.Space, m.Topic)) {
		if t = e.topicFor(now, m.Topic); t != nil {
			e.takeOver(now, t)
		}
	}
	if t == nil || !t.root.is || e.knownTooFar(t, m.At) {
		e.send(from, Redirect{Topic: m.Topic})
		return
	}
	r, got := &t.root, now.Add(-m.Age)
	switch {
	case t.uncommitted(m.ID):
		return // it is told when mirrors hold it
	case t.window.find(m.ID) >= 0 || t.seen.has(m.ID):
	case r.blank && got.Before(r.since):
		// It is from before this root began, with nothing, and keeps its place: those who
		// are to have it say that they are not so far.
		if r.hold = now.Add(holdMore); r.hold.After(r.since.Add(holdMost)) {
			r.hold = r.since.Add(holdMost)
		}
		if r.epoch <= m.At.Epoch {
			e.renumber(now, t, m.At.Epoch, false)
		}
		if r.inherited.Before(m.At) {
			r.inherited = m.At
		}
		e.keep(t, entry{at: m.At, id: m.ID, payload: m.Payload, got: got})
		t.window.old(t.window.find(m.ID) + 1)
		e.pumpAll(now, t)
	case e.congested(t):
		return // it comes again
	default:
		e.append(now, t, entry{id: m.ID, payload: m.Payload, got: got})
		t.root.waiting = append(t.root.waiting, publication{at: t.window.last, id: m.ID, since: now, giver: from, was: m.At})
		e.settled(now, t)
		e.arm(now, t)
		return
	}
	e.send(from, Ack{Topic: t.name, Role: Heir, At: m.At})
	e.arm(now, t)
}
