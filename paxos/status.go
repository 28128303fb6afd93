package paxos

import (
	"fmt"
	"time"
)

// Status describes a node for people and monitors.
type Status struct {
	ID          NodeID
	Incarnation Incarnation
	Role        Role
	Leader      NodeID // 0: none is known
	Ballot      Ballot // promised
	Slots       Slots
	Members     Membership
	Peers       []PeerStatus // of a leader; ordered by ID
	Load        Load
	// Lease is how long the leader's lease lasts from now; 0: none.
	Lease time.Duration
	// Stuck says why this node can make no progress; "" if it can.
	Stuck string
}

// Slots are a node's watermarks: what it holds, what it knows to be chosen, what the
// application has applied, the newest snapshot and what is forgotten.
type Slots struct{ Accepted, Durable, Chosen, Applied, Snapshot, Forgotten Slot }

// Load is what waits in a node.
type Load struct {
	Waiting  int    // values without a slot
	Unchosen int    // bytes proposed and not chosen
	Reads    int    // that wait for a quorum
	Saving   int    // records under way to the disk
	Held     int    // messages that wait for the disk
	Log      int    // bytes of entries in memory
	Dropped  uint64 // messages and events dropped since the start
}

// PeerStatus is what a leader knows of another member.
type PeerStatus struct {
	ID      NodeID
	Live    bool          // heard within an election time
	Silent  time.Duration // since it was heard
	Counts  bool          // it votes, by the disk that counts
	Match   Slot          // it holds all slots to here
	Lag     Slot          // slots that the leader holds and it does not
	Chosen  Slot
	Applied Slot
	Flight  int // batches not acknowledged
}

// Status returns how the node stands at now.
func (n *Node) Status(now time.Time) Status {
	s := Status{
		ID: n.cfg.ID, Incarnation: n.self.inc, Role: n.role, Leader: n.leader(now), Ballot: n.acc.promised, Members: n.members,
		Slots: Slots{Accepted: n.log.last(), Durable: n.durable(), Chosen: n.chosen, Applied: n.app.applied, Snapshot: n.app.snapshot.Slot, Forgotten: n.app.forgotten},
		Load:  Load{Saving: len(n.disk.issued), Held: len(n.disk.held), Log: n.log.bytes, Dropped: n.out.dropped},
		Stuck: n.stuck(now),
	}
	l := n.lead
	if l == nil {
		return s
	}
	s.Load.Waiting, s.Load.Unchosen, s.Load.Reads = len(l.queue.values), l.queue.unchosen+l.queue.bytes, len(l.rounds.pending)
	if _, ok := n.LeaseRead(now); ok {
		s.Lease = l.rounds.leaseAt.Add(n.cfg.Timing.Lease * time.Duration(100-n.cfg.Timing.LeaseDrift) / 100).Sub(now)
	}
	for _, f := range l.followers {
		silent := now.Sub(f.heard)
		s.Peers = append(s.Peers, PeerStatus{
			ID: f.id, Live: silent <= n.cfg.Timing.Election, Silent: silent, Counts: n.members.Counts(f.id, f.inc, f.confirmed),
			Match: f.match, Lag: l.placed - min(f.match, l.placed), Chosen: f.report.chosen, Applied: f.report.applied, Flight: len(f.flight),
		})
	}
	return s
}

// leader returns who leads as far as is known at now, or 0.
func (n *Node) leader(now time.Time) NodeID {
	if n.role == Leading || n.acc.leader != n.cfg.ID && now.Sub(n.acc.heard) < 2*n.cfg.Timing.Election {
		return n.acc.leader
	}
	return 0
}

// stuck returns why nothing can be chosen with this node's help.
func (n *Node) stuck(now time.Time) string {
	if n.role == Leading {
		return n.stuckLeading(now)
	}
	if n.hangs(now) {
		return "own disk does not answer"
	}
	if n.acc.leader != 0 && now.Sub(n.acc.heard) < n.cfg.Timing.Election {
		return ""
	}
	if why := n.mayLead(); why != "" {
		return why
	}
	p, a := n.members.Quorums()
	switch n.role {
	case Polling:
		return fmt.Sprintf("no leader: %d of %d needed voters would promise", len(n.try.granted), max(p, a))
	case Preparing:
		if n.try.behind != 0 {
			return fmt.Sprintf("no leader yet: slots to %v are being fetched from node %v", n.try.to, n.try.behind)
		}
		return fmt.Sprintf("no leader yet: %d of %d needed voters have promised", len(n.try.promises), p)
	}
	return "no leader is heard"
}

func (n *Node) stuckLeading(now time.Time) string {
	_, q := n.members.Quorums()
	live := n.lead.live(n.members, n, now)
	switch {
	case n.hangs(now):
		return "own disk does not answer"
	case live < q:
		return fmt.Sprintf("%d of %d needed voters answer", live, q)
	case !n.lead.settled:
		return "the members after a change have not promised yet"
	case n.chosen < n.lead.begin:
		return "the values of the leader before are being chosen"
	}
	return ""
}
