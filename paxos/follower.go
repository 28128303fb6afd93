package paxos

import (
	"slices"
	"time"
)

// follower is what the leader keeps of another member.
type follower struct {
	id        NodeID
	inc       Incarnation // as its messages say
	confirmed bool
	match     Slot // it holds all slots to here, durably, for good
	next      Slot // to send
	flight    []flight
	bytes     int    // in flight
	round     uint64 // the last that it confirmed
	due       bool   // a message, even an empty one
	probing   bool   // what it holds is not known: one empty message at a time
	heard     time.Time
	report    report
}

// report is what a follower told of itself, and what it was told.
type report struct {
	chosen, applied Slot
	told            Slot      // the watermark it was sent last
	offered         time.Time // the snapshot
	newInc          Incarnation
	newSince        time.Time // since when only newInc was heard
	newRound        uint64    // at newSince
	newProven       bool      // newInc answered a later round
	moved           time.Time // when match moved, or it was sent to after a rest
}

// flight is a batch that is not acknowledged.
type flight struct {
	first, last Slot
	bytes       int
	at          time.Time
}

func (l *leadership) follower(id NodeID) *follower {
	for _, f := range l.followers {
		if f.id == id {
			return f
		}
	}
	return nil
}

// reconcile makes followers of the present members.
func (l *leadership) reconcile(n *Node) {
	old := l.followers
	l.followers = nil
	for _, m := range n.members.Members {
		if m.ID == n.cfg.ID {
			continue
		}
		i := slices.IndexFunc(old, func(f *follower) bool { return f.id == m.ID })
		if i >= 0 && (m.Incarnation == 0 || old[i].inc == m.Incarnation) {
			l.followers = append(l.followers, old[i])
			continue
		}
		f := &follower{id: m.ID, inc: m.Incarnation, next: l.placed + 1, probing: true, due: true, heard: n.now}
		for _, p := range l.promises {
			if p.id == m.ID && (m.Incarnation == 0 || p.inc == m.Incarnation) {
				f.inc, f.confirmed, f.probing, f.next = p.inc, p.confirmed, false, p.Chosen+1
			}
		}
		l.followers = append(l.followers, f)
	}
}

// restart sends from next on.
func (f *follower) restart(next Slot) {
	f.next, f.flight, f.bytes, f.probing = next, nil, 0, false
}

// met notes that m.From is there, and by which disk.
func (l *leadership) met(n *Node, m Message) {
	f := l.follower(m.From)
	if f == nil {
		return
	}
	if v, _ := n.members.Find(m.From); v.Incarnation != 0 && m.Incarnation != v.Incarnation {
		return
	}
	if f.inc != m.Incarnation { // of a member whose incarnation is not bound
		if f.inc != 0 && (f.confirmed || !m.Confirmed) {
			return
		}
		f.inc, f.match = m.Incarnation, 0
	}
	f.confirmed, f.heard = m.Confirmed, n.now
	f.report.newInc, f.report.newProven = 0, false
}

// visitor notes that another disk than the member's answers, and answers what was
// sent lately: a message that was long under way proves nothing. admit does the rest.
func (l *leadership) visitor(n *Node, f *follower, m Message, a Accepted) {
	r := &f.report
	if r.newInc != m.Incarnation {
		r.newInc, r.newSince, r.newRound, r.newProven = m.Incarnation, n.now, l.rounds.count, false
	}
	r.newProven = r.newProven || a.Round > r.newRound
}

// acked takes in an acknowledgement.
func (f *follower) acked(n *Node, a Accepted) {
	f.round = max(f.round, min(a.Round, n.lead.rounds.count))
	f.report.chosen, f.report.applied = a.Chosen, max(a.Applied, f.report.applied)
	through := min(a.Through, n.lead.placed)
	if through > f.match {
		f.match, f.report.moved = through, n.now
	}
	landed := 0
	for landed < len(f.flight) && f.flight[landed].last <= through {
		f.bytes -= f.flight[landed].bytes
		landed++
	}
	f.flight = slices.Delete(f.flight, 0, landed)
	switch {
	case a.Want > 0 && len(f.flight) > 0 && f.flight[0].first == a.Want && n.now.Sub(f.flight[0].at) < n.cfg.Timing.Heartbeat:
		// On its way already: this answers what was sent after a batch that was lost.
	case a.Want > 0 && a.Want <= n.lead.placed+1:
		f.restart(a.Want)
	case f.probing || f.next <= through:
		f.restart(through + 1)
	}
}

// retry sends again what was not acknowledged for two heartbeats, after asking with
// an empty message where to go on.
func (f *follower) retry(n *Node) {
	f.due = true
	if len(f.flight) > 0 && n.now.Sub(f.report.moved) > 2*n.cfg.Timing.Heartbeat && n.now.Sub(f.flight[0].at) > 2*n.cfg.Timing.Heartbeat {
		f.restart(f.match + 1)
		f.probing = true
	}
}

// flush sends to every follower what it may have now.
func (n *Node) flush() {
	l := n.lead
	if n.cfg.Multicast {
		n.multicast()
	}
	late, waits := due(l.tellAt, n.now), false
	for _, f := range l.followers {
		for n.sendBatch(f) {
		}
		untold := f.report.told < n.chosen && len(f.flight) == 0
		if f.due || untold && late {
			n.sendAccept(f.id, f.next, nil)
			f.due, f.report.told, untold = false, n.chosen, false
		}
		waits = waits || untold
	}
	switch {
	case !waits:
		l.tellAt = time.Time{}
	case l.tellAt.IsZero():
		l.tellAt = n.now.Add(n.cfg.Timing.Heartbeat / tellPart)
	}
}

// tellPart is the part of a heartbeat for which the news that something was chosen
// waits for a batch to go with: most often there is one, and it spares two messages for
// each follower.
const tellPart = 50

// mayBatch returns the entries that f shall have next, none if it must wait because
// enough is on its way to it.
func (n *Node) mayBatch(f *follower) []Entry {
	l, lim := n.lead, n.cfg.Limits
	if f.probing || f.next > l.placed || len(f.flight) >= lim.InFlight || len(f.flight) > 0 && f.bytes >= lim.InFlightBytes {
		return nil
	}
	list := n.read(f.next)
	if len(list) == 0 {
		n.offer(f.id)
		return nil
	}
	if i := int(l.placed - list[0].Slot + 1); i < len(list) {
		list = list[:i]
	}
	return list
}

// sendBatch sends one batch and reports whether there may be another.
func (n *Node) sendBatch(f *follower) bool {
	list := n.mayBatch(f)
	if len(list) == 0 {
		return false
	}
	n.sendAccept(f.id, f.next, list)
	f.took(n, list)
	return true
}

func (f *follower) took(n *Node, list []Entry) {
	b := flight{list[0].Slot, list[len(list)-1].Slot, batchBytes(list), n.now}
	if len(f.flight) == 0 {
		f.report.moved = n.now
	}
	f.flight = append(f.flight, b)
	f.bytes += b.bytes
	f.next = b.last + 1
	f.due, f.report.told = false, n.chosen
}

// multicast sends one message to everyone as long as all followers that listen are
// at the same slot.
func (n *Node) multicast() {
	for {
		var at []*follower
		for _, f := range n.lead.followers {
			if !f.probing && n.now.Sub(f.heard) <= n.cfg.Timing.Election {
				at = append(at, f)
			}
		}
		if len(at) < 2 || slices.ContainsFunc(at, func(f *follower) bool { return f.next != at[0].next }) {
			return
		}
		var list []Entry
		for _, f := range at {
			if list = n.mayBatch(f); len(list) == 0 {
				return
			}
		}
		n.sendAccept(Everyone, at[0].next, list)
		for _, f := range at {
			f.took(n, list)
		}
	}
}

// sendAccept is phase 2a. It leaves before this node's own disk has the values: if
// they are lost here, so is the ballot's use, for a restart takes a higher one.
func (n *Node) sendAccept(to NodeID, first Slot, list []Entry) {
	a := Accept{Ballot: n.acc.promised, First: first, Entries: slices.Clone(list), Chosen: n.chosen, Round: n.lead.rounds.count, Lease: n.cfg.Timing.Lease}
	if k := len(n.app.hashes); k > 0 {
		a.HashSlot, a.Hash = n.app.hashes[k-1].slot, n.app.hashes[k-1].hash
	}
	n.send(to, a)
}

// offer tells a node that is behind what is remembered about the snapshot.
func (n *Node) offer(to NodeID) {
	if n.app.snapshot.Slot == 0 {
		return
	}
	if n.lead != nil {
		if f := n.lead.follower(to); f != nil {
			if n.now.Sub(f.report.offered) < n.cfg.Timing.Election/2 {
				return
			}
			f.report.offered = n.now
		}
	}
	n.send(to, Offer{n.app.snapshot})
}
