package topics

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// place is where a node hangs in the tree of a topic.
type place struct {
	// parent sends the topic's messages; the zero Peer for none. It stays while a better
	// place is sought.
	parent  dht.Peer
	path    []dht.ID // from the root to the parent
	due     time.Time
	unheard int // renewals without an answer

	seeking   bool
	candidate dht.Peer // was asked for a place; the zero Peer while the root is sought
	moved     bool     // candidate was named by another node
	tries     int
	try       uint64
	held      uint64 // the try that parent knows
	total     uint64 // nodes of the tree, as far as known
	without   dht.ID
	told      Position // the highest of the subtree that the parent has been told

	// fill and fillTo are how far, and until where, the parent is sending again what this
	// node has not had; lacking is the floor below which the parent has nothing.
	fill, fillTo, lacking Position
	floor                 Position // the window's before

	// handOver: the root that is found is to be given what this node holds; dismiss:
	// when that is done, the children are to move up.
	handOver, dismiss bool
	refused           int // how often it did not take it
}

// refusedMost is how often a root is looked for that takes what is handed over.
const refusedMost = 12

func (p *place) filling() bool { return p.fillTo != Position{} }

func (p *place) attached() bool { return p.parent != dht.Peer{} }

// A parent or candidate that says nothing is asked again after askAgain, and given up
// after asksMost times.
const (
	askAgain = time.Second
	asksMost = 3
)

// seek looks for a place, from the root on. A parent that is left serves until then.
func (e *Engine) seek(now time.Time, t *topic) {
	p := &t.place
	e.stopFilling(t)
	p.seeking, p.candidate, p.moved = true, dht.Peer{}, false
	p.try = e.rand.Uint64() | 1
	e.waitPlace(now, t, resolveWait+askAgain)
	e.resolve(now, t.key, resolve{topic: t.name})
}

// stopFilling gives up on what the parent was to send again. A child that waits for it
// hears of the gap.
func (e *Engine) stopFilling(t *topic) {
	p := &t.place
	if !p.filling() {
		return
	}
	t.window.raise(p.floor)
	p.fill, p.fillTo = Position{}, Position{}
}

func (e *Engine) waitPlace(now time.Time, t *topic, d time.Duration) {
	t.place.due = now.Add(e.jitter(d))
	e.arm(now, t)
}

// lost begins to seek because the parent is gone.
func (e *Engine) lost(now time.Time, t *topic, why string) {
	t.place.parent, t.place.path = dht.Peer{}, nil
	e.count.ParentsLost++
	if t.subscribed {
		e.tell(Unattached{t.name, why})
	}
	if !t.place.seeking {
		t.place.tries = 0
		e.seek(now, t)
	}
}

// seekAgain tries later, with more patience each time.
func (e *Engine) seekAgain(now time.Time, t *topic) {
	p := &t.place
	p.candidate, p.moved = dht.Peer{}, false
	d := min(retrySoon<<min(p.tries, 16), retryMost)
	p.tries++
	e.waitPlace(now, t, d)
}

func (e *Engine) rootFound(now time.Time, name string, owner dht.Peer, err error) {
	t := e.trees.topics[name]
	if t == nil || !t.place.seeking || t.place.candidate != (dht.Peer{}) {
		return
	}
	switch {
	case err != nil:
		e.seekAgain(now, t)
	case owner.ID != e.cfg.Self.ID:
		if t.place.handOver {
			t.place.handOver = false
			e.handOver(now, t, owner, Position{}, t.window.last)
		}
		e.askPlace(now, t, owner, false)
	case e.owns(t.key):
		e.takeOver(now, t)
	default:
		e.seekAgain(now, t) // the driver's view and ours differ for a moment
	}
}

func (e *Engine) askPlace(now time.Time, t *topic, whom dht.Peer, moved bool) {
	if !t.subscribed && t.children() == 0 {
		t.place.seeking = false // only to hand over
		e.tidy(now, t)
		return
	}
	p := &t.place
	p.candidate, p.moved, p.unheard = whom, moved, 0
	e.sendAttach(t, whom, moved)
	e.waitPlace(now, t, askAgain)
}

func (e *Engine) sendAttach(t *topic, whom dht.Peer, moved bool) {
	e.count.AttachesSent++
	at := t.committed
	if t.place.filling() {
		at = t.place.fill
	}
	e.send(whom, Attach{
		Topic: t.name, At: at, Fresh: t.committed == Position{}, Nodes: t.nodes(),
		Moved: moved, Try: t.place.try, Without: t.place.without, Seen: t.highest(),
	})
	t.place.told = t.highest()
}

// placeDue asks again, renews, or gives up.
func (e *Engine) placeDue(now time.Time, t *topic) {
	p := &t.place
	if t.root.is || p.due.IsZero() || p.due.After(now) {
		return
	}
	p.due = time.Time{}
	switch {
	case p.seeking && p.candidate == (dht.Peer{}):
		e.seek(now, t)
	case p.seeking:
		if p.unheard++; p.unheard >= asksMost {
			p.without = p.candidate.ID
			e.seekAgain(now, t)
			return
		}
		e.sendAttach(t, p.candidate, p.moved)
		e.waitPlace(now, t, askAgain)
	case p.attached():
		if p.unheard++; p.unheard > asksMost {
			p.without = p.parent.ID
			e.lost(now, t, "the parent does not answer")
			return
		}
		e.sendAttach(t, p.parent, true)
		e.waitPlace(now, t, askAgain)
	}
}

// handleAttach gives a child a place, or tells it where to ask.
func (e *Engine) handleAttach(now time.Time, from dht.Peer, m Attach) {
	t := e.trees.topics[m.Topic]
	if !m.Moved && e.owns(TopicID(e.cfg.Space, m.Topic)) {
		if t = e.topicFor(now, m.Topic); t != nil {
			e.takeOver(now, t)
		}
	}
	refuse := t == nil || !t.root.is && (!m.Moved || !t.place.attached()) ||
		from.ID == t.place.parent.ID || slices.Contains(t.place.path, from.ID) || len(t.place.path)+1 >= MaxPath
	if refuse {
		e.send(from, Redirect{Topic: m.Topic})
		return
	}
	f := t.feed(from.ID, Child)
	if f == nil && t.children() >= e.cfg.MaxChildren && e.mutation != manyChildren {
		e.redirect(t, from, m)
		return
	}
	reply := Attached{Topic: m.Topic}
	if m.Seen.Before(m.At) {
		m.Seen = m.At
	}
	if t.root.is {
		if e.knownTooFar(t, m.Seen) {
			e.count.Malformed++
			return
		}
		if !m.Fresh {
			reply.Wanted, reply.WantAfter = e.inherit(t, m.At)
		}
		if t.window.last.Before(m.Seen) && e.mutation != ignoreSeen {
			e.renumber(now, t, m.Seen.Epoch, true)
		}
	}
	if f == nil {
		f = &feed{peer: from, role: Child}
		t.feeds = append(t.feeds, f)
		e.count.Children++
	}
	if f.try != m.Try || !f.peer.Is(from) {
		f.place(m, t.committed)
	}
	if !t.root.is && !m.Fresh {
		e.fillFrom(now, t, m.At)
	}
	f.peer, f.heard, f.nodes, f.try, f.seen = from, now, min(max(m.Nodes, 1), maxNodes), m.Try, m.Seen
	reply.At, reply.Newest, reply.Total = f.began, t.committed, t.place.total
	if t.root.is {
		reply.Total = t.nodes()
	}
	reply.Path = append(slices.Clone(t.place.path), e.cfg.Self.ID)
	e.send(from, reply)
	e.pump(now, t, f)
	e.passOn(now, t)
	e.arm(now, t)
}

// maxNodes bounds what a child may say of its subtree.
const maxNodes = 1 << 32

// maxLeap bounds by how many epochs a child's position may be ahead of a root that
// has messages of its own: a liar must not use epochs up.
const maxLeap = 1 << 20

func (e *Engine) knownTooFar(t *topic, at Position) bool {
	return at.Epoch>>epochTag > t.root.epoch>>epochTag+maxLeap && len(t.window.list) > 0 || at.Epoch > maxEpoch-maxEpoch>>8
}

// inherit compares a child's position with what the root has had of earlier epochs.
// It reports what the child should hand over.
func (e *Engine) inherit(t *topic, at Position) (want bool, after Position) {
	r := &t.root
	if at.Epoch == r.epoch && at.Seq <= r.seq || !r.inherited.Before(at) {
		return false, Position{}
	}
	after, r.inherited = r.inherited, at
	return true, after
}

// highest returns the highest position that a node of the subtree has had.
func (t *topic) highest() Position {
	p := t.committed
	for _, f := range t.feeds {
		if f.role == Child && p.Before(f.seen) {
			p = f.seen
		}
	}
	return p
}

// passOn tells the parent at once when the subtree has come from under a root beside
// the tree's.
func (e *Engine) passOn(now time.Time, t *topic) {
	if p := &t.place; p.attached() && !p.seeking && p.told.Epoch < t.highest().Epoch {
		e.sendAttach(t, p.parent, true)
		e.waitPlace(now, t, askAgain)
	}
}

// redirect sends a newcomer to the child with the fewest nodes below it.
func (e *Engine) redirect(t *topic, from dht.Peer, m Attach) {
	var least *feed
	for _, f := range t.feeds {
		if f.role == Child && f.peer.ID != m.Without && (least == nil || f.nodes < least.nodes) {
			least = f
		}
	}
	if least == nil {
		e.send(from, Redirect{Topic: m.Topic})
		return
	}
	least.nodes += min(max(m.Nodes, 1), maxNodes) // so that the next one goes elsewhere
	e.count.Redirected++
	e.send(from, Redirect{Topic: m.Topic, To: least.peer})
}

func (e *Engine) handleAttached(now time.Time, from dht.Peer, m Attached) {
	t := e.trees.topics[m.Topic]
	if t == nil || t.root.is {
		e.send(from, Detach{Topic: m.Topic}) // it must not keep a place for us
		return
	}
	p := &t.place
	renewal := from.ID == p.parent.ID && !(p.seeking && from.ID == p.candidate.ID)
	if !renewal && !(p.seeking && from.ID == p.candidate.ID) {
		e.count.Unasked++
		if !p.seeking || p.candidate != (dht.Peer{}) {
			e.send(from, Detach{Topic: m.Topic})
		}
		return
	}
	if slices.Contains(m.Path, e.cfg.Self.ID) || len(m.Path) == 0 || m.Path[len(m.Path)-1] != from.ID {
		e.count.Loops++
		e.send(from, Detach{Topic: m.Topic})
		p.seeking = false
		e.lost(now, t, "the tree has a loop")
		return
	}
	p.path, p.unheard, p.total = m.Path, 0, min(m.Total, maxNodes)
	if !renewal {
		e.takePlace(now, t, from, m)
	}
	if m.Wanted && len(m.Path) == 1 {
		e.handOver(now, t, from, m.WantAfter, t.committed)
	}
	if !p.seeking {
		e.waitPlace(now, t, e.cfg.Renew)
		e.climb(now, t)
	}
}

// climb looks for a place nearer to the root for a leaf that hangs much deeper than the
// tree need be: subtrees that lost their parent have come to hang below others. Not all
// go at once.
func (e *Engine) climb(now time.Time, t *topic) {
	p := &t.place
	if t.children() > 0 || p.total == 0 || len(p.path) <= e.flat(p.total)+1 || e.rand.IntN(4) > 0 {
		return
	}
	e.count.Climbed++
	p.tries = 0
	e.seek(now, t)
}

// flat returns how deep a full tree of n nodes is.
func (e *Engine) flat(n uint64) (depth int) {
	for room, level := uint64(1), uint64(1); room < n; depth++ {
		level *= uint64(e.cfg.MaxChildren)
		room += level
	}
	return depth
}

// takePlace makes the candidate the parent.
func (e *Engine) takePlace(now time.Time, t *topic, from dht.Peer, m Attached) {
	p := &t.place
	if p.attached() && p.parent.ID != from.ID {
		e.send(p.parent, Detach{Topic: t.name})
	}
	p.parent, p.seeking, p.candidate, p.tries, p.without = from, false, dht.Peer{}, 0, dht.ID{}
	p.lacking, p.held = Position{}, p.try
	if (t.committed == Position{}) {
		t.committed = m.At
		t.window.old(t.window.after(m.At))
		if t.window.last.Before(m.At) {
			t.window.raise(m.At) // what a mirror may have from before does not reach to here
		}
		if t.window.last.Before(m.At) {
			t.window.last = m.At
		}
	}
	if t.subscribed {
		e.subscribedNow(t)
	}
	if p.dismiss && t.feedOf(Heir) == nil {
		p.dismiss = false
		e.dismiss(t)
	}
}

func (e *Engine) subscribedNow(t *topic) {
	parent := t.place.parent.ID
	if t.root.is {
		parent = e.cfg.Self.ID
	}
	e.tell(Subscribed{t.name, parent, len(t.place.path)})
}

func (e *Engine) handleRedirect(now time.Time, from dht.Peer, m Redirect) {
	t := e.trees.topics[m.Topic]
	if t == nil || t.root.is {
		return
	}
	p := &t.place
	if f := t.feedOf(Heir); f != nil && f.peer.ID == from.ID && m.To == (dht.Peer{}) && !p.seeking {
		e.heirLost(now, t, f)
		return
	}
	switch {
	case p.seeking && from.ID == p.candidate.ID:
		if m.To == (dht.Peer{}) || m.To.ID == e.cfg.Self.ID || p.tries > MaxPath {
			e.seekAgain(now, t)
			return
		}
		p.tries++ // a chain that does not end counts as failure
		e.askPlace(now, t, m.To, true)
	case p.attached() && from.ID == p.parent.ID:
		e.lost(now, t, "the parent has no place any more")
	default:
		e.count.Unasked++
	}
}

func (e *Engine) handleDetach(now time.Time, from dht.Peer, m Detach) {
	t := e.trees.topics[m.Topic]
	if t == nil {
		return
	}
	if f := t.feed(from.ID, Child); f != nil {
		e.removeFeed(now, t, f)
		e.tidy(now, t)
		return
	}
	p := &t.place
	if t.root.is || !p.attached() || from.ID != p.parent.ID {
		return
	}
	if !m.Move {
		e.lost(now, t, "the parent leaves")
	} else if !p.seeking {
		p.tries = 0
		e.seek(now, t)
	}
}

// leavePlace gives up the place in the tree.
func (e *Engine) leavePlace(t *topic) {
	e.stopFilling(t)
	if t.place.attached() {
		e.send(t.place.parent, Detach{Topic: t.name})
	}
	if t.place.seeking && t.place.candidate != (dht.Peer{}) {
		e.send(t.place.candidate, Detach{Topic: t.name})
	}
	t.place = place{}
}

// treesLost goes on without a node that is dead.
func (e *Engine) treesLost(now time.Time, dead dht.Peer) {
	for _, name := range e.sortedTopics() {
		t := e.trees.topics[name]
		for _, f := range slices.Clone(t.feeds) {
			switch {
			case !gone(f.peer, dead):
			case f.role == Heir:
				e.heirLost(now, t, f)
			default:
				e.removeFeed(now, t, f)
			}
		}
		p := &t.place
		if p.seeking && gone(p.candidate, dead) {
			p.without = dead.ID
			e.seekAgain(now, t)
		}
		if p.attached() && gone(p.parent, dead) {
			p.without = dead.ID
			e.lost(now, t, "the parent died")
		}
		e.tidy(now, t)
	}
}

// heirLost looks for the root again: what was taken for it is dead, is not the root, or
// takes nothing.
func (e *Engine) heirLost(now time.Time, t *topic, f *feed) {
	p := &t.place
	e.removeFeed(now, t, f)
	if p.refused++; p.refused > refusedMost {
		e.count.HandOversFailed++
		e.tidy(now, t)
		return
	}
	p.handOver = true
	if !p.seeking {
		p.seeking, p.tries = true, p.refused
		e.seekAgain(now, t)
	}
}

// leaveTrees says goodbye.
func (e *Engine) leaveTrees(now time.Time) {
	for _, name := range e.sortedTopics() {
		t := e.trees.topics[name]
		for _, f := range t.feeds {
			if f.role == Child {
				e.send(f.peer, Detach{Topic: t.name})
			}
		}
		t.feeds, t.subscribed = nil, false
		e.leavePlace(t)
		e.trees.bytes -= t.window.bytes
		delete(e.trees.topics, name)
	}
}
