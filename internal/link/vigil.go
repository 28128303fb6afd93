package link

import (
	"slices"
	"time"
)

// A Mesh of many machines would spend most of its idle traffic on keeping every
// connection alive. So each machine keeps only those to its neighbours on the ring
// of IDs, and asks all others when one of these doubts that somebody lives. It is
// SWIM (Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style
// Process Group Membership Protocol", 2002) with doubt of oneself first
// (Dadgar, Phillips and Currey, "Lifeguard: Local Health Awareness for More Accurate
// Failure Detection", 2018), and two differences: nobody believes in a death that it
// has not seen itself, and a doubt has everybody asked, so that machines whose
// neighbours died with them are noticed as soon as the others.

// vigilConfig says how patient a vigil is.
type vigilConfig struct {
	self PeerID
	// neighbours is how many are watched on each side of self on the ring of IDs.
	neighbours int
	// every is how long one that is watched may be silent before it is asked, and
	// seldom how long any other.
	every, seldom time.Duration
	// doubt is how long a question goes unanswered before others are told, and
	// patience how long before the peer counts as dead.
	doubt, patience time.Duration
}

// withinBound derives a vigil's patience from the time within which every death must be
// noticed by all: a neighbour asks, doubts and tells, and those who hear of it ask.
func withinBound(self PeerID, neighbours int, every, dead time.Duration) vigilConfig {
	doubt := (dead - every) / 5
	return vigilConfig{self: self, neighbours: neighbours, every: every, seldom: 20 * every, doubt: doubt, patience: dead - every - doubt}
}

// doubtMessage says that nothing was heard of About for a while. Told names the peers
// that its sender has told the same.
type doubtMessage struct {
	About PeerID
	Told  []PeerID
}

// maxTold bounds doubtMessage.Told.
const maxTold = 64

// note is what a vigil wants to be sent to Peer: a doubt, or a ping, which the other end
// answers at once.
type note struct {
	Peer  PeerID
	Doubt *doubtMessage
}

// silent is the event that a peer counts as dead.
type silent struct{ Peer PeerID }

// vigil decides whom to ask for signs of life, and who has died. It is an engine: the
// driver tells it what was heard (heard, busy) before each HandleTimeout.
type vigil struct {
	cfg    vigilConfig
	peers  map[PeerID]*vigilPeer
	ring   []PeerID  // the peers, in order
	rolled time.Time // when everybody was last asked
	passed int       // doubts of others passed on since then
	fresh  time.Time // when last anybody was heard
	acted  time.Time // when it last had a chance to do what is due
	out    []note
	events []silent
	counts vigilCounters
}

// vigilCounters count what a vigil did, since its beginning.
type vigilCounters struct{ pings, doubts, heardDoubts, dropped uint64 }

// vigilPeer is what is known of a connected peer.
type vigilPeer struct {
	heard   time.Time
	asked   time.Time // since when it owes an answer; zero: it does not
	check   time.Time // when to ask it unless it speaks before; zero: no need
	tell    time.Time // when to tell others that it is silent; zero: it owes nothing, or they know
	doubted time.Time // when others were last told, or told us
	shaky   bool      // it is in doubt, and others are watched in its place
	busy    bool      // calls are under way
	watched bool      // it is a neighbour
}

func newVigil(cfg vigilConfig) *vigil {
	return &vigil{cfg: cfg, peers: map[PeerID]*vigilPeer{}}
}

// late is by how much HandleTimeout may come late before the machine takes itself,
// and not the others, for having slept.
const late = time.Second

// second is by how much the higher of two IDs waits longer, so that one ping serves
// both, and by how much the lower waits when everybody is asked.
const second = 300 * time.Millisecond

// up says that there is a connection to id.
func (v *vigil) up(now time.Time, id PeerID) {
	if v.peers[id] == nil {
		at, _ := slices.BinarySearchFunc(v.ring, id, comparePeers)
		v.ring = slices.Insert(v.ring, at, id)
	}
	v.peers[id] = &vigilPeer{heard: now}
	v.fresh, v.acted = now, now
	v.choose()
}

// down says that the connection to id has ended.
func (v *vigil) down(id PeerID) {
	if v.peers[id] == nil {
		return
	}
	delete(v.peers, id)
	at, _ := slices.BinarySearchFunc(v.ring, id, comparePeers)
	v.ring = slices.Delete(v.ring, at, at+1)
	v.choose()
}

// heard says that bytes of id came last at the instant at, and whether calls to it are
// under way.
func (v *vigil) heard(at time.Time, id PeerID, busy bool) {
	p := v.peers[id]
	if p == nil {
		return
	}
	p.busy = busy
	if !at.After(p.heard) {
		return
	}
	p.heard = at
	if at.After(v.fresh) {
		v.fresh = at
	}
	if !p.asked.IsZero() && !at.Before(p.asked) {
		p.asked, p.tell = time.Time{}, time.Time{}
		if p.shaky {
			p.shaky = false
			v.choose()
			v.acted = at // who is watched from now on may be due since long
		}
	}
}

// choose decides who is watched: the nearest on each side that are not in doubt, and
// those in doubt between them.
func (v *vigil) choose() {
	for _, p := range v.peers {
		p.watched = false
	}
	here, _ := slices.BinarySearchFunc(v.ring, v.cfg.self, comparePeers)
	n := len(v.ring)
	for _, step := range []int{1, -1} {
		i := here
		if step > 0 {
			i-- // self is between here-1 and here
		}
		for found, looked := 0, 0; found < v.cfg.neighbours && looked < n; looked++ {
			i = (i + step + n) % n
			p := v.peers[v.ring[i]]
			p.watched = true
			if !p.shaky {
				found++
			}
		}
	}
}

// maxPassed bounds the doubts of others that are passed on in a while, so that one
// machine's doubts cannot make many busy.
const maxPassed = 8

// HandlePacket takes a doubt of another machine: whoever is doubted is asked at once, and
// so is everybody else; those that its sender did not tell are told.
func (v *vigil) HandlePacket(now time.Time, n note) {
	if n.Doubt == nil {
		return // a ping was answered where it came, and counts as heard
	}
	v.counts.heardDoubts++
	v.acted = now
	about, p := n.Doubt.About, v.peers[n.Doubt.About]
	if p == nil || now.Sub(p.heard) <= second || !p.doubted.IsZero() && now.Sub(p.doubted) < v.cfg.every {
		v.counts.dropped++
		return
	}
	p.doubted = now
	v.ask(now, about, p)
	p.tell, p.shaky = time.Time{}, true
	v.rollCall(now)
	if v.passed < maxPassed {
		v.passed++
		v.spread(about, append(slices.Clone(n.Doubt.Told), n.Peer))
	}
	v.choose()
}

// ask pings a peer that is not already asked.
func (v *vigil) ask(now time.Time, id PeerID, p *vigilPeer) {
	p.check = time.Time{}
	if !p.asked.IsZero() {
		return
	}
	p.asked, p.tell = now, now.Add(v.cfg.doubt)
	v.counts.pings++
	v.out = append(v.out, note{Peer: id})
}

// spread tells all peers but the told ones that about is in doubt.
func (v *vigil) spread(about PeerID, told []PeerID) {
	var to []PeerID
	for _, id := range v.ring {
		if id != about && !slices.Contains(told, id) {
			to = append(to, id)
		}
	}
	all := append(slices.Clone(told), to...)
	slices.SortFunc(all, comparePeers)
	all = slices.Compact(all)
	for _, id := range to {
		v.counts.doubts++
		m := &doubtMessage{About: about}
		for _, t := range all {
			if t != id && len(m.Told) < maxTold {
				m.Told = append(m.Told, t)
			}
		}
		v.out = append(v.out, note{Peer: id, Doubt: m})
	}
}

// rollCall asks everybody who was not heard just now, at most once in a while. Of two
// peers the lower ID asks, and the other only if it hears nothing.
func (v *vigil) rollCall(now time.Time) {
	if !v.rolled.IsZero() && now.Sub(v.rolled) < v.cfg.every {
		return
	}
	v.rolled, v.passed = now, 0
	for _, id := range v.ring {
		p := v.peers[id]
		switch {
		case now.Sub(p.heard) <= second || !p.asked.IsZero():
		case comparePeers(v.cfg.self, id) < 0:
			v.ask(now, id, p)
		default:
			p.check = now.Add(second)
		}
	}
}

// HandleTimeout asks, doubts and gives up. When it comes late this machine has slept, and
// whoever was asked before has that time in addition.
func (v *vigil) HandleTimeout(now time.Time) {
	slept := time.Duration(0)
	if due, ok := v.NextTimeout(); ok {
		if v.acted.After(due) {
			due = v.acted
		}
		if now.Sub(due) > late {
			slept = now.Sub(due)
		}
	}
	v.acted = now
	for _, id := range slices.Clone(v.ring) {
		p := v.peers[id]
		if !p.asked.IsZero() {
			p.asked = p.asked.Add(slept)
			if !p.tell.IsZero() {
				p.tell = p.tell.Add(slept)
			}
		}
		v.look(now, id, p)
	}
}

// look does what is due for one peer.
func (v *vigil) look(now time.Time, id PeerID, p *vigilPeer) {
	switch {
	case p.asked.IsZero() && now.Before(v.askAt(id, p)):
	case p.asked.IsZero() && !p.check.IsZero() && now.Sub(p.heard) <= 2*second:
		p.check = time.Time{} // it has spoken since everybody was asked
	case p.asked.IsZero():
		v.ask(now, id, p)
	case now.Sub(p.asked) >= v.cfg.patience:
		v.events = append(v.events, silent{id})
		p.asked = now // so that it is said once
	case !p.tell.IsZero() && !now.Before(p.tell):
		v.suspect(now, id, p)
	}
}

// suspect tells others that a peer is silent, once one of them was heard since it was
// asked: else it may be that nobody hears this machine.
func (v *vigil) suspect(now time.Time, id PeerID, p *vigilPeer) {
	v.rollCall(now)
	if !p.shaky {
		p.shaky = true
		v.choose()
	}
	if !v.fresh.After(p.asked) {
		p.tell = now.Add(second)
		return
	}
	p.tell, p.doubted = time.Time{}, now
	v.spread(id, nil)
}

// askAt is when a peer that owes nothing is to be asked.
func (v *vigil) askAt(id PeerID, p *vigilPeer) time.Time {
	every := v.cfg.seldom
	if p.watched || p.busy {
		every = v.cfg.every
	}
	if comparePeers(v.cfg.self, id) < 0 {
		every -= second
	}
	at := p.heard.Add(every)
	if !p.check.IsZero() && p.check.Before(at) {
		at = p.check
	}
	return at
}

// NextTimeout returns when HandleTimeout is due.
func (v *vigil) NextTimeout() (time.Time, bool) {
	var next time.Time
	for id, p := range v.peers {
		at := v.askAt(id, p)
		if !p.asked.IsZero() {
			at = p.asked.Add(v.cfg.patience)
			if !p.tell.IsZero() && p.tell.Before(at) {
				at = p.tell
			}
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, !next.IsZero()
}

// Outgoing returns what is to be sent and forgets it.
func (v *vigil) Outgoing() []note {
	out := v.out
	v.out = nil
	return out
}

// Events returns who counts as dead and forgets it.
func (v *vigil) Events() []silent {
	ev := v.events
	v.events = nil
	return ev
}
