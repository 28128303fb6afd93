package topics

import (
	"time"

	"github.com/aether-lan/aether/dht"
)

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
