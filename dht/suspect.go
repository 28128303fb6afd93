package dht

import (
	"cmp"
	"slices"
	"time"
)

// trial is what leads from silence to death, after SWIM (Das, Gupta, Motivala 2002):
// the peer is asked, then asked again, by others as well. An answer on any way, or
// any message of its own, ends it.
type trial struct {
	since   time.Time
	token   uint64 // of the question to the peer itself, zero when its time is over
	tries   int
	relays  int  // others who have not said yet what they found
	witness bool // somebody else has said that it is dead: it need not be asked twice
	counted bool // in book.asking
	teller  Peer // who named it, when this node did not have it for a member
}

// doubt is in the node itself, after Lifeguard (Dadgar, Phillips, Currey 2018): who
// runs late or hears nobody is likely to be what is wrong.
type doubt struct {
	level    int // time-outs are so many times longer
	answered bool
	heard    time.Time // anybody
	alone    bool      // nobody was heard when somebody ought to be
	back     time.Time // when that was over
}

const (
	maxDoubt  = 8
	relays    = 3 // asked about a suspect
	lookAhead = 4 // successors asked together with a suspect one
	maxTries  = 4 // before a node that hears nobody believes it
)

func (n *Node) timeout() time.Duration { return n.cfg.Timeout * time.Duration(1+n.doubt.level) }

func (n *Node) doubtMore(by int) { n.doubt.level = min(n.doubt.level+by, maxDoubt) }

// paused begins all waiting anew: the answers may have been there all the time.
func (n *Node) paused(time.Duration) {
	n.counters.Pauses++
	n.doubtMore(2)
	n.prolong()
	for _, k := range n.book.order {
		if k.ID != n.cfg.Self.ID {
			k.heard = n.clock.now
		}
	}
}

// check asks a peer whether it lives, unless that is being done.
func (n *Node) check(k *known, p Peer, witness bool) {
	if k.trial.running() {
		k.trial.witness = k.trial.witness || witness
		return
	}
	gap := 2 * n.cfg.Timeout
	if k.state != Unmet && !k.checked.IsZero() && n.clock.now.Sub(k.checked) < gap {
		return
	}
	n.begin(k, p, witness)
}

func (n *Node) begin(k *known, p Peer, witness bool) {
	k.checked = n.clock.now
	k.trial = trial{since: n.clock.now, witness: witness, counted: k.state == Unmet}
	if k.trial.counted {
		n.book.asking++
	}
	n.try(k, p)
}

func (t trial) running() bool { return !t.since.IsZero() }

func (n *Node) try(k *known, p Peer) {
	k.trial.tries++
	if c := n.ask(call{to: p, what: asksLife}); c != nil {
		k.trial.token = c.token
	} else {
		n.endTrial(k)
	}
}

func (n *Node) endTrial(k *known) {
	if k.trial.counted {
		n.book.asking--
		n.stab.retry = true
	}
	k.trial = trial{}
}

// missed takes note that a question was not answered in time.
func (n *Node) missed(k *known, c *call) {
	switch {
	case c.what == asksView && k.trial.running():
		return
	case c.what == asksView:
		k.trial = trial{since: c.sent, tries: 1}
	case k.trial.token != c.token:
		return
	}
	k.trial.token = 0
	switch k.state {
	case Alive:
		n.suspect(k)
	case Suspect:
		n.judge(k)
	case Unmet:
		n.unanswered(k, c.to)
	case Dead, Left:
		n.tellDead(k, c.to)
		n.endTrial(k)
		n.goAway(k)
	}
}

// tellDead answers who named a peer that does not answer: it may have missed the death.
func (n *Node) tellDead(k *known, p Peer) {
	if t := k.trial.teller; t != (Peer{}) {
		n.send(t, Rumors{[]Rumor{{p, Dead, k.counter}}})
	}
}

func (n *Node) unanswered(k *known, p Peer) {
	if k.trial.tries < 2 {
		n.try(k, p)
		return
	}
	n.tellDead(k, p)
	n.endTrial(k)
	if k.contact {
		n.goAway(k)
		return
	}
	n.ghost(k)
}

// suspect asks others about a member that did not answer, and those who come after
// it: the dead come in groups, and to find one after the other takes long.
func (n *Node) suspect(k *known) {
	k.state, k.since = Suspect, n.clock.now
	n.counters.Suspected++
	n.tell(MemberSuspected{k.Peer})
	if k.trial.witness {
		n.judge(k) // two have asked and had no answer
	} else {
		n.inquire(k)
	}
	list := n.ring.Successors()
	i := slices.IndexFunc(list, k.Peer.Is)
	if i < 0 {
		return
	}
	for _, p := range list[i+1 : min(len(list), i+1+lookAhead)] {
		if next := n.book.get(p.ID); next != nil && next.state == Alive && n.clock.now.Sub(next.heard) > n.timeout() {
			n.check(next, next.Peer, false)
		}
	}
}

func (n *Node) inquire(k *known) {
	k.trial.since = n.clock.now // whoever is heard from now on shows that this node is not cut off
	if n.try(k, k.Peer); !k.trial.running() {
		return
	}
	for _, p := range n.others(relays, k.ID) {
		if n.ask(call{to: p, what: asksOther, subject: k.Peer}) != nil {
			k.trial.relays++
		}
	}
}

// hears notes that somebody was heard.
func (d *doubt) hears(now time.Time) {
	if d.heard = now; d.alone {
		d.alone, d.back = false, now
	}
}

// judge declares a suspect dead when everybody asked has had their time. A node that
// has heard nobody at all since doubts itself first and asks again.
func (n *Node) judge(k *known) {
	if k.state != Suspect || k.trial.token != 0 || k.trial.relays > 0 {
		return
	}
	silent := n.doubt.heard.Before(k.trial.since) && len(n.book.order) > 2
	switch {
	case n.broken == NeverDoubt:
	case silent && k.trial.tries < maxTries:
		n.doubt.alone = true
		n.doubtMore(1)
		n.inquire(k)
		return
	case !silent && k.trial.since.Before(n.doubt.back): // the question was lost with all others
		n.inquire(k)
		return
	}
	n.died(k, Dead)
}

// died takes a member out of everything.
func (n *Node) died(k *known, state State) {
	n.endTrial(k)
	n.book.fall(k, state)
	k.since = n.clock.now
	n.counters.Died++
	n.tell(MemberDied{k.Peer, state == Left})
	n.gossip.add(Rumor{k.Peer, state, k.counter})
	n.forgetPointers(k.Peer)
	if state == Dead || k.contact {
		n.goAway(k)
	}
	n.bury()
}

// bury forgets who has been dead longest when there are too many.
func (n *Node) bury() {
	for n.book.dead > n.cfg.MaxMembers {
		var oldest *known
		for _, k := range n.book.byID { // the oldest is the same in any order
			if k.contact || k.state != Dead && k.state != Left {
				continue
			}
			if oldest == nil || cmp.Or(k.since.Compare(oldest.since), k.ID.Compare(oldest.ID)) < 0 {
				oldest = k
			}
		}
		if oldest == nil {
			return
		}
		n.book.forget(oldest)
	}
}

// forgetPointers takes a life that is over out of the ring and the fingers.
func (n *Node) forgetPointers(p Peer) {
	if n.broken == KeepDeadHead {
		return
	}
	n.ring.Drop(p)
	for range MaxSuccessors {
		head := n.ring.Head()
		k := n.book.get(head.ID)
		if k == nil || head.ID == n.cfg.Self.ID || k.lives(head) {
			break
		}
		n.ring.HeadDied(head)
	}
	n.table.Forget(p)
	if k := n.book.get(n.stab.notifier.ID); k != nil && k.lives(n.stab.notifier) {
		n.ring.PredecessorDied(p, n.stab.notifier)
	}
	n.stab.look, n.stab.again = true, true
}

// lives reports whether that life of the peer is not known to be over.
func (k *known) lives(p Peer) bool {
	return k.state != Dead && k.state != Left && k.Incarnation == p.Incarnation
}

// goAway sets when a peer that is not reached is dialled again: ever later, but for
// ever.
func (n *Node) goAway(k *known) {
	if n.broken == ForgetDead {
		return
	}
	longest := max(n.cfg.Redial, time.Duration(n.book.dead)*time.Second)
	k.away.wait = min(max(2*k.away.wait, 2*time.Second), longest)
	wait := k.away.wait*4/5 + time.Duration(n.rng.Int64N(int64(k.away.wait*2/5)+1))
	k.away.at = n.clock.now.Add(wait)
	n.calls.timers.set(timer{at: k.away.at, id: k.ID})
}

func (n *Node) redial(t timer) {
	k := n.book.get(t.id)
	if k == nil || !k.away.at.Equal(t.at) || k.state == Alive || k.state == Suspect || k.trial.running() {
		return
	}
	n.begin(k, k.Peer, false)
}

// handleProbe asks a peer for another.
func (n *Node) handleProbe(from Peer, m Probe) {
	if m.Subject.ID == n.cfg.Self.ID {
		n.send(from, Probed{m.Token, true})
		return
	}
	if !n.point(m.Subject) {
		n.refuse(from, NoPoint)
		return
	}
	if n.ask(call{to: m.Subject, what: asksForPeer, asker: from, reply: m.Token}) == nil {
		n.refuse(from, TooMany)
	}
}

func (n *Node) handleProbed(from Peer, m Probed) {
	c := n.answered(from, m.Token, asksOther)
	if c == nil {
		return
	}
	k := n.book.get(c.subject.ID)
	switch {
	case k == nil || k.state != Suspect || !k.trial.running():
	case m.Alive:
		n.endTrial(k)
		k.state, k.since = Alive, n.clock.now
	default:
		n.relayDone(k)
	}
}

func (n *Node) relayDone(k *known) {
	if k.trial.relays > 0 {
		k.trial.relays--
		n.judge(k)
	}
}

// Unreachable takes the transport's word that nothing can be sent to p. The questions
// to it are over at once; it is dead when it cannot be reached again, and nobody else
// reaches it.
func (n *Node) Unreachable(now time.Time, p Peer) {
	n.enter(now)
	k := n.book.get(p.ID)
	if n.left || k != nil && k.met && p.Incarnation != k.Incarnation {
		n.settle()
		return
	}
	var over []*call
	for _, c := range n.calls.open {
		if c.to.ID == p.ID && c.what != asksLater {
			over = append(over, c)
		}
	}
	slices.SortFunc(over, func(a, b *call) int { return cmp.Or(a.sent.Compare(b.sent), cmp.Compare(a.token, b.token)) })
	for _, c := range over {
		n.expire(c)
	}
	if len(over) == 0 && k != nil && k.state == Alive && !k.trial.running() {
		n.begin(k, k.Peer, false)
	}
	n.settle()
}

// accused refutes the own death. Nobody can have heard a higher counter than the own.
func (n *Node) accused(from Peer, accused uint64) {
	switch {
	case accused == n.counter+1:
		n.counter++
	case accused > n.counter+1:
		n.refuse(from, FalseAccused)
	}
}
