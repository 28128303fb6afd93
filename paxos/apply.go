package paxos

import (
	"fmt"
	"slices"
	"time"
)

// Applied says that the application's state is that after slot. hash is a hash of
// it, which all nodes must have equal after equal slots; it matters only if slot is
// a multiple of Config.HashEvery, and 0 is none.
func (n *Node) Applied(now time.Time, slot Slot, hash uint64) {
	n.advance(now)
	n.app.applied = max(n.app.applied, slot)
	if hash == 0 || slot%n.cfg.HashEvery != 0 {
		return
	}
	if len(n.app.hashes) >= maxHashes {
		n.app.hashes = slices.Delete(n.app.hashes, 0, 1)
	}
	n.app.hashes = append(n.app.hashes, stateHash{slot, hash})
}

// maxHashes bounds the state hashes that are kept to be compared.
const maxHashes = 16

// compareHash stops a node whose state is not the leader's: it would answer wrong.
func (n *Node) compareHash(leader NodeID, a Accept) {
	for _, h := range n.app.hashes {
		if h.slot == a.HashSlot && h.hash != a.Hash && a.Hash != 0 {
			n.follow(leader)
			n.self.stopped, n.role = true, Stopped
			n.event(Event{Kind: EventDiverged, Peer: leader, Slot: h.slot})
			return
		}
	}
}

// Compact says that the application has the snapshot s, durably, and can give it to
// others, so that entries to slot through (at most s.Slot) may be forgotten. What is
// kept after through spares a follower that was away the snapshot.
func (n *Node) Compact(s Snapshot, through Slot) error {
	through = min(through, s.Slot)
	switch {
	case s.Slot > n.app.given:
		return fmt.Errorf("paxos: compact: snapshot of slot %v, but only %v are chosen", s.Slot, n.app.given)
	case s.Slot < n.app.snapshot.Slot:
		return fmt.Errorf("paxos: compact: snapshot of slot %v is older than that of %v", s.Slot, n.app.snapshot.Slot)
	}
	if err := s.Members.check(); err != nil {
		return fmt.Errorf("paxos: compact: %w", err)
	}
	n.app.snapshot = s
	n.forget(min(through, n.durable()))
	return nil
}

func (n *Node) forget(through Slot) {
	if through <= n.app.forgotten {
		return
	}
	n.app.forgotten, n.disk.forget = through, through
	n.log.drop(through)
}

// onOffer: the values that this node lacks were forgotten; it needs the snapshot.
func (n *Node) onOffer(m Message, o Offer) {
	if !n.trusts(m.From) || o.Snapshot.Slot <= n.chosen {
		return
	}
	if n.role == Leading {
		if n.lead.settled {
			return
		}
		n.follow(0) // what is chosen is not known here, and takes long to fetch
	}
	if o.Snapshot.Members.check() != nil || n.app.wanted.Slot >= o.Snapshot.Slot && n.app.from == m.From {
		return
	}
	n.app.wanted, n.app.from = o.Snapshot, m.From
	n.askFetch()
}

func (n *Node) askFetch() {
	n.event(Event{Kind: EventFetch, Peer: n.app.from, Snapshot: n.app.wanted})
	n.wait.fetch = n.now.Add(n.cfg.Timing.Election)
}

// wantAgain repeats EventFetch while it is not done.
func (n *Node) wantAgain(now time.Time) {
	if !due(n.wait.fetch, now) {
		return
	}
	if n.app.wanted.Slot <= n.chosen {
		n.app.wanted, n.wait.fetch = Snapshot{}, time.Time{}
		return
	}
	n.askFetch()
}

// Restored says that the snapshot s is the application's state now, durably. Chosen
// goes on after it. A snapshot of a slot that Chosen has returned already must not be
// taken for the state, and gives an error.
func (n *Node) Restored(now time.Time, s Snapshot) error {
	n.advance(now)
	if err := s.Members.check(); err != nil {
		return fmt.Errorf("paxos: restored: %w", err)
	}
	if s.Slot <= n.app.given {
		return fmt.Errorf("paxos: restored: slot %v was applied before", s.Slot)
	}
	if s.Slot <= n.chosen {
		n.app.members, n.app.given, n.app.applied, n.app.hashes = s.Members, s.Slot, s.Slot, nil
		return nil
	}
	n.log.drop(s.Slot)
	if s.Slot >= n.log.first {
		n.log.first = s.Slot + 1
	}
	n.disk.passed(s.Slot)
	n.chosen = s.Slot
	m := s.Members
	if n.broken == ConfigFromSnapshot {
		m = n.members
		m.Slot = s.Slot
	}
	n.app.members, n.app.given, n.app.applied, n.app.hashes = m, s.Slot, s.Slot, nil
	n.app.snapshot = s
	n.app.wanted, n.wait.fetch = Snapshot{}, time.Time{}
	n.app.forgotten, n.disk.forget = s.Slot, s.Slot
	n.disk.hard = true
	n.findAccepted()
	if m.Slot != n.members.Slot || n.broken == ConfigFromSnapshot {
		n.setMembers(m)
	}
	if _, ok := m.Find(n.cfg.ID); !ok && !n.self.removed {
		n.setRemoved()
	}
	if n.role == Preparing {
		n.tryLead()
	}
	return nil
}

// passed: entries to slot s need not be saved any more.
func (s *saver) passed(slot Slot) {
	if s.low != 0 && s.low <= slot {
		s.low = slot + 1
	}
	for i := range s.issued {
		if s.issued[i].low != 0 && s.issued[i].low <= slot {
			s.issued[i].low = slot + 1
		}
	}
}
