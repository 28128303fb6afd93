package paxos

import (
	"fmt"
	"slices"
	"time"
)

// ReadID names a read; no two reads of a node have the same.
type ReadID uint64

// Read says what became of a read that was begun with Node.Read.
type Read struct {
	ID ReadID
	// Slot: the application may answer from its state once it has applied it.
	Slot Slot
	// Err is ErrNotLeader if the node lost the lead before: begin a new read elsewhere.
	Err error
}

// rounds are the leader's confirmations: each asks all followers whether they have
// promised anybody else, and serves all reads that came before it.
type rounds struct {
	count     uint64      // of the last that was begun
	began     []time.Time // of the last ones; the last is that of count
	confirmed uint64      // by a quorum
	last      uint64      // begun for reads
	pending   []pendingRead
	leaseFrom uint64    // rounds before it give no lease
	leaseAt   time.Time // when the round that gave the lease began
}

type pendingRead struct {
	id    ReadID
	slot  Slot
	round uint64
}

// Read begins a linearizable read (ReadIndex: Ongaro's thesis section 6.4). Reads
// says when it may be answered. A read that must be tried again gets another ID, and
// so another confirmation (etcd issue 20418). The errors are ErrNotLeader, ErrBusy
// and ErrStopped.
func (n *Node) Read(now time.Time) (ReadID, error) {
	n.advance(now)
	l := n.lead
	switch {
	case n.self.stopped:
		return 0, fmt.Errorf("paxos: read: %w", ErrStopped)
	case l == nil:
		return 0, fmt.Errorf("paxos: read: %w", ErrNotLeader)
	case len(l.rounds.pending) >= n.cfg.Limits.Reads:
		return 0, fmt.Errorf("paxos: read: %w", ErrBusy)
	}
	n.out.readID++
	p := pendingRead{n.out.readID, n.chosen, l.rounds.count + 1}
	if n.broken == ReuseRead {
		p.round--
	}
	l.rounds.pending = append(l.rounds.pending, p)
	return p.id, nil
}

// confirmReads begins a round for the reads that wait for one, when the one before
// is confirmed: reads gather meanwhile.
func (n *Node) confirmReads() {
	r := &n.lead.rounds
	if k := len(r.pending); k > 0 && r.pending[k-1].round > r.count && r.confirmed >= r.last {
		n.lead.startRound(n)
		r.last = r.count
	}
	n.confirmedReads()
}

// startRound begins a round.
func (l *leadership) startRound(n *Node) {
	r := &l.rounds
	r.count++
	r.began = append(r.began, n.now)
	if len(r.began) > maxRounds {
		r.began = slices.Delete(r.began, 0, len(r.began)-maxRounds)
	}
	for _, f := range l.followers {
		f.due = true
	}
}

// maxRounds bounds the rounds whose beginning is remembered.
const maxRounds = 128

// confirmedReads finds the last round that a quorum confirmed. It takes as many as
// a phase 2: whoever might lead in a higher ballot has a promise of one of them, and
// that one would not have confirmed.
func (n *Node) confirmedReads() {
	if n.lead == nil {
		return
	}
	r := &n.lead.rounds
	_, q := n.members.Quorums()
	var got []uint64
	if n.members.Counts(n.cfg.ID, n.self.inc, n.self.confirmed) {
		got = append(got, r.count)
	}
	for _, f := range n.lead.followers {
		if n.members.Counts(f.id, f.inc, f.confirmed) {
			got = append(got, f.round)
		}
	}
	if len(got) < q || !n.lead.settled {
		return
	}
	slices.Sort(got)
	if c := got[len(got)-q]; c > r.confirmed {
		r.confirmed = c
		if back := int(r.count - c); c >= r.leaseFrom && back < len(r.began) {
			r.leaseAt = r.began[len(r.began)-1-back]
		}
	}
	n.answerReads()
}

func (n *Node) answerReads() {
	r := &n.lead.rounds
	if n.chosen < n.lead.begin {
		return
	}
	r.pending = slices.DeleteFunc(r.pending, func(p pendingRead) bool {
		if p.round > r.confirmed || p.slot > n.chosen {
			return false
		}
		// What was chosen in ballots before is below begin.
		n.out.reads = append(n.out.reads, Read{ID: p.id, Slot: max(p.slot, n.lead.begin)})
		return true
	})
}

// failReads ends the reads of a leader that leads no more.
func (n *Node) failReads(err error) {
	if n.lead == nil {
		return
	}
	for _, p := range n.lead.rounds.pending {
		n.out.reads = append(n.out.reads, Read{ID: p.id, Err: err})
	}
	n.lead.rounds.pending = nil
}

// Reads returns the reads that may be answered, or that failed, once. The driver
// must call Outgoing before, so that reads begun since get their confirmation.
func (n *Node) Reads() []Read {
	r := n.out.reads
	n.out.reads = nil
	return r
}

// LeaseRead returns the slot after which a linearizable read may be answered at now
// without asking anybody; ok is false if there is no lease, and Read must be used.
// Only Timing.Lease gives leases, and clocks must not differ in speed by more than
// Timing.LeaseDrift. A lease is void after a pause. now must be taken after the
// answer was found, if the process may pause in between.
func (n *Node) LeaseRead(now time.Time) (slot Slot, ok bool) {
	n.advance(now)
	l, t := n.lead, n.cfg.Timing
	if t.Lease == 0 || l == nil || n.chosen < l.begin || l.rounds.leaseAt.IsZero() || l.transfer.to != 0 || !l.settled {
		return 0, false
	}
	if n.broken == LeaseOverPause {
		return n.chosen, true
	}
	until := l.rounds.leaseAt.Add(t.Lease * time.Duration(100-t.LeaseDrift) / 100)
	return n.chosen, now.Before(until)
}
