package topics

import (
	"maps"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// trees are the topics that this node has a part in.
type trees struct {
	topics map[string]*topic
	bytes  int // of all windows
}

// topic is a node's part in a topic.
type topic struct {
	name       string
	key        dht.ID
	subscribed bool
	since      time.Time // when it was; what is older is no news
	window     window
	seen       seen
	// committed is how far the topic's order is settled here: to there the own
	// subscription has had everything, and children may.
	committed Position
	root      root
	place     place
	feeds     []*feed // children, mirrors and an heir
	armed     time.Time
	quiet     time.Time // when it last had a part
}

// root is what the root of a topic has beside.
type root struct {
	is    bool
	epoch uint64
	seq   uint64
	// inherited is the highest position of earlier epochs that is held, or was asked
	// for.
	inherited Position
	since     time.Time
	blank     bool          // it had nothing then
	hold      time.Time     // until when it lets older children wait, if it had nothing
	waiting   []publication // for their copies, in order
	// alone: it began with nothing at a node that knew no other.
	alone bool
}

// publication is a message that its publisher waits for.
type publication struct {
	at    Position
	id    RequestID
	since time.Time
	// giver handed it over, as the message of was; the zero Peer: it was published.
	giver dht.Peer
	was   Position
}

// epochTag is how many bits of an epoch are left to chance, so that two roots that
// take over at the same time do not give the same positions.
const epochTag = 24

// nextEpoch returns an epoch after p's.
func (e *Engine) nextEpoch(p uint64) uint64 {
	return (p>>epochTag+1)<<epochTag | e.rand.Uint64N(1<<epochTag)
}

// topicFor returns the topic, or begins with it; nil when there is no room.
func (e *Engine) topicFor(now time.Time, name string) *topic {
	if t := e.trees.topics[name]; t != nil {
		t.quiet = now
		return t
	}
	if name == "" || len(name) > MaxName || len(e.trees.topics) >= e.cfg.Limits.Topics {
		return nil
	}
	t := &topic{name: name, key: TopicID(e.cfg.Space, name), quiet: now}
	e.trees.topics[name] = t
	return t
}

func (e *Engine) sortedTopics() []string { return slices.Sorted(maps.Keys(e.trees.topics)) }

// Subscribe has the messages of a topic delivered to this node from now on: from the
// event [Subscribed] on, to be exact. It fails with ErrName or ErrBusy.
func (e *Engine) Subscribe(now time.Time, name string) error {
	if name == "" || len(name) > MaxName {
		return ErrName
	}
	t := e.topicFor(now, name)
	if t == nil {
		return ErrBusy
	}
	if t.subscribed {
		return nil
	}
	t.subscribed, t.since = true, now
	t.window.old(t.window.after(t.committed))
	switch {
	case t.root.is || t.place.attached():
		e.subscribedNow(t)
	case e.owns(t.key):
		e.takeOver(now, t)
	case !t.place.seeking:
		e.seek(now, t)
	}
	e.arm(now, t)
	e.settle(now)
	return nil
}

// Unsubscribe ends a subscription. The node goes on serving its children until they
// have found another parent.
func (e *Engine) Unsubscribe(now time.Time, name string) {
	t := e.trees.topics[name]
	if t == nil || !t.subscribed {
		return
	}
	t.subscribed = false
	if !t.root.is {
		e.dismiss(t)
	}
	e.tidy(now, t)
	e.settle(now)
}

// dismiss asks the children to look for another parent.
func (e *Engine) dismiss(t *topic) {
	for _, f := range t.feeds {
		if f.role == Child {
			e.send(f.peer, Detach{Topic: t.name, Move: true})
		}
	}
}

// tidy ends what a topic does not need: a place in the tree without subscription and
// children, and the topic when nothing of it is kept.
func (e *Engine) tidy(now time.Time, t *topic) {
	if e.trees.topics[t.name] != t {
		return
	}
	t.place.handOver = t.place.handOver && len(t.window.list) > 0
	needed := slices.ContainsFunc(t.feeds, func(f *feed) bool { return f.role != Mirror })
	if t.subscribed || needed || len(t.root.waiting) > 0 || t.place.handOver {
		t.quiet = now
		e.arm(now, t)
		return
	}
	if !t.root.is {
		e.leavePlace(t)
	}
	// A root keeps its epoch a while: a child may be on its way.
	if len(t.window.list) == 0 && (!t.root.is || now.Sub(t.quiet) >= e.cfg.Keep) {
		delete(e.trees.topics, t.name)
		return
	}
	e.arm(now, t)
}

// keep puts a message into the window, as the newest or wherever it belongs, in place
// of what has its ID. News is what the own subscription has not had.
func (e *Engine) keep(t *topic, x entry) {
	known, i := t.seen.has(x.id), -1
	x.news = (!known || e.mutation == forgetSeen) && !x.got.Before(t.since)
	if known {
		i = t.window.find(x.id)
	}
	if i >= 0 {
		x.news = t.window.list[i].news || e.mutation == forgetSeen
		e.trees.bytes -= len(t.window.list[i].payload)
		t.window.remove(i)
	}
	t.seen.add(x.id)
	t.window.insert(x)
	e.trees.bytes += len(x.payload)
	l := e.cfg.Limits
	for w := &t.window; len(w.list) > 1 &&
		(len(w.list) > l.Window || w.bytes > l.WindowBytes || e.trees.bytes > l.TopicBytes); {
		if w.list[0].id == x.id {
			break
		}
		e.drop(t)
	}
}

func (e *Engine) drop(t *topic) {
	e.trees.bytes -= len(t.window.list[0].payload)
	if t.window.list[0].news && t.subscribed && !t.committed.Before(t.window.list[0].at) {
		e.count.Missed++
	}
	t.window.drop()
}

// commit settles the order to p: what comes before is delivered and sent on.
func (e *Engine) commit(now time.Time, t *topic, p Position) {
	if !t.committed.Before(p) {
		return
	}
	for i := t.window.after(t.committed); i < len(t.window.list); i++ {
		x := &t.window.list[i]
		if p.Before(x.at) {
			break
		}
		if x.news && t.subscribed {
			e.count.Delivered++
			e.tell(Delivered{t.name, x.id, x.at, x.payload})
		}
		x.news = false
	}
	t.committed = p
	e.pumpAll(now, t)
}

// takeOver makes this node, which owns the topic's ID, its root. What it holds, as a
// mirror or as a child, was the root's before it, and counts.
func (e *Engine) takeOver(now time.Time, t *topic) {
	if t.root.is {
		return
	}
	unfinished := t.place.handOver || t.feedOf(Heir) != nil
	e.leavePlace(t)
	last := t.window.last
	if last.Before(t.committed) {
		last = t.committed
	}
	blank := last == Position{}
	t.root = root{
		is: true, epoch: e.nextEpoch(last.Epoch), inherited: last, since: now, hold: now.Add(holdFirst),
		blank: blank, alone: blank && e.view.Predecessor.ID == e.cfg.Self.ID,
	}
	e.count.TakenOver++
	t.feeds = slices.DeleteFunc(t.feeds, func(f *feed) bool { return f.role != Child })
	if (t.committed == Position{}) {
		t.window.old(len(t.window.list)) // a mirror's, from before any subscription
	}
	e.commit(now, t, Position{t.root.epoch, 0})
	t.window.last = Position{t.root.epoch, 0}
	e.setMirrors(now, t)
	if unfinished {
		// The root that was being given messages died: those that have had others instead
		// get them from here.
		e.renumber(now, t, t.root.epoch, true)
	}
	if t.subscribed {
		e.subscribedNow(t)
	}
	e.arm(now, t)
}

// renumber raises the root's epoch above one that it did not know, of a root beside
// which it grew up: what it has given out gets new positions, so that those who come
// from there are sent it too. Those who have had it know it by its ID.
// All is false when only what this root has published itself is concerned.
func (e *Engine) renumber(now time.Time, t *topic, foreign uint64, all bool) {
	e.count.Renumbered++
	r := &t.root
	own := r.epoch
	settled := t.window.after(t.committed)
	r.epoch, r.seq = e.nextEpoch(max(foreign, own)), 0
	t.committed = Position{r.epoch, 0}
	for i := range t.window.list {
		x := &t.window.list[i]
		if all || x.at.Epoch == own {
			r.seq++
			old := x.at
			x.at = Position{r.epoch, r.seq}
			r.moved(old, x.at)
		}
		if i < settled && t.committed.Before(x.at) {
			t.committed = x.at
		}
	}
	t.window.last = Position{r.epoch, r.seq}
	e.settled(now, t)
	e.pumpAll(now, t)
}

// moved gives a publication that waits its message's new position.
func (r *root) moved(from, to Position) {
	for i := range r.waiting {
		if r.waiting[i].at == from {
			r.waiting[i].at = to
		}
	}
}

// demote makes a root one that is none any more: another node owns the topic's ID.
// It hands over what it holds and becomes that one's child, with those below it.
func (e *Engine) demote(now time.Time, t *topic) {
	for _, p := range t.root.waiting {
		if p.giver == (dht.Peer{}) {
			e.unhandle(p.id)
		}
	}
	fresh := t.root.alone && t.root.seq == 0 && len(t.window.list) == 0
	t.root = root{}
	e.count.Demoted++
	t.feeds = slices.DeleteFunc(t.feeds, func(f *feed) bool { return f.role != Child })
	if fresh {
		t.committed, t.window.last, t.window.floor = Position{}, Position{}, Position{}
	}
	if t.subscribed {
		e.tell(Unattached{t.name, "another node has become the root"})
	}
	t.place.handOver = len(t.window.list) > 0 && e.mutation != keepToItself
	t.place.dismiss = true
	e.seek(now, t)
	e.tidy(now, t)
}

// publish gives a message its position.
func (e *Engine) publish(now time.Time, name string, id RequestID, payload []byte) {
	t := e.topicFor(now, name)
	if t == nil || e.congested(t) {
		e.count.Busy++
		e.unhandleAs(id, Busy)
		return
	}
	e.takeOver(now, t)
	if i := t.window.find(id); i >= 0 { // an earlier root had it
		at := t.window.list[i].at
		if !t.committed.Before(at) {
			e.reply(id, Reply{At: at, Copies: t.copies(at)})
			return
		}
		t.root.waiting = append(t.root.waiting, publication{at: at, id: id, since: now})
		e.settled(now, t)
		return
	}
	if t.seen.has(id) {
		e.reply(id, Reply{Copies: 1}) // longer ago than the window reaches
		return
	}
	e.append(now, t, entry{id: id, payload: payload, got: now})
	t.root.waiting = append(t.root.waiting, publication{at: t.window.last, id: id, since: now})
	e.settled(now, t)
	e.arm(now, t)
}

// congested reports whether half of the window waits for copies: the publisher is to
// come again, so that nothing is dropped that has not been sent on.
func (e *Engine) congested(t *topic) bool {
	bytes := 0
	for i := t.window.after(t.committed); i < len(t.window.list); i++ {
		bytes += len(t.window.list[i].payload)
	}
	l := e.cfg.Limits
	return len(t.root.waiting) >= max(l.Window/2, 1) || bytes > l.WindowBytes/2
}

// append gives a message the root's next position.
func (e *Engine) append(now time.Time, t *topic, x entry) {
	t.root.seq++
	x.at = Position{t.root.epoch, t.root.seq}
	e.keep(t, x)
	e.pumpAll(now, t)
}

// copies returns how many nodes hold the message at p: root and mirrors.
func (t *topic) copies(p Position) uint64 {
	n := uint64(1)
	for _, f := range t.feeds {
		if f.role == Mirror && !f.acked.Before(p) {
			n++
		}
	}
	return n
}

// settled commits what all mirrors hold that keep up, and answers its publishers.
func (e *Engine) settled(now time.Time, t *topic) {
	to := t.window.last
	for _, f := range t.feeds {
		if f.role == Mirror && !f.lagging && f.acked.Before(to) && e.mutation != commitAlone {
			to = f.acked
		}
	}
	e.commit(now, t, to)
	n := 0
	for _, p := range t.root.waiting {
		if t.committed.Before(p.at) {
			break
		}
		if n++; p.giver != (dht.Peer{}) {
			e.send(p.giver, Ack{Topic: t.name, Role: Heir, At: p.was})
			continue
		}
		e.reply(p.id, Reply{At: p.at, Copies: t.copies(p.at)})
	}
	t.root.waiting = slices.Delete(t.root.waiting, 0, n)
}

// viewChanged makes this node the root of what it owns, and of nothing else.
func (e *Engine) viewChanged(now time.Time) {
	for _, name := range e.sortedTopics() {
		t := e.trees.topics[name]
		switch owns := e.owns(t.key); {
		case t.root.is && !owns:
			e.demote(now, t)
		case t.root.is:
			e.setMirrors(now, t)
		case owns:
			e.takeOver(now, t)
		}
	}
}

// arm sets when the topic is looked after next.
func (e *Engine) arm(now time.Time, t *topic) {
	if e.trees.topics[t.name] != t {
		return
	}
	next := t.quiet.Add(e.cfg.Keep)
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	if !t.root.is {
		sooner(t.place.due)
	}
	for _, f := range t.feeds {
		sooner(f.due)
		if f.role == Child {
			sooner(f.heard.Add(childRenewals*e.cfg.Renew + askAgain + 1))
		}
	}
	if t.root.blank && t.root.hold.After(now) {
		sooner(t.root.hold)
	}
	if len(t.root.waiting) > 0 {
		sooner(t.root.waiting[0].since.Add(mirrorWait))
	}
	if len(t.window.list) > 0 {
		sooner(t.window.list[0].got.Add(e.cfg.Keep))
	}
	if !next.After(now) {
		next = now.Add(time.Millisecond)
	}
	if t.armed.IsZero() || next.Before(t.armed) || !t.armed.After(now) {
		t.armed = next
		e.timers.set(timer{at: next, of: ofTopic, name: t.name})
	}
}

// topicDue does what is due in a topic.
func (e *Engine) topicDue(now time.Time, name string) {
	t := e.trees.topics[name]
	if t == nil || t.armed.After(now) {
		return
	}
	t.armed = time.Time{}
	for len(t.window.list) > 0 && now.Sub(t.window.list[0].got) >= e.cfg.Keep && !t.committed.Before(t.window.list[0].at) {
		e.drop(t)
	}
	e.placeDue(now, t)
	e.mirrorsDue(now, t)
	if t.root.is {
		e.pumpAll(now, t)
	}
	for _, f := range slices.Clone(t.feeds) {
		e.feedDue(now, t, f)
	}
	e.tidy(now, t)
}
