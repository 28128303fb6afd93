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
