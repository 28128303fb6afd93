package paxos

import (
	"slices"
	"time"
)

// Hard is what an acceptor must not forget beside its entries.
type Hard struct {
	Incarnation Incarnation // 0: the disk was never used
	Confirmed   bool        // see hello.go
	Promised    Ballot      // nothing below it is accepted
	// Chosen is the watermark as known at the time: a hint that spares work.
	Chosen Slot
	// Bound are the incarnations first heard of the first members, ordered by ID.
	Bound []Binding
}

// Binding is the incarnation that a node goes by.
type Binding struct {
	ID          NodeID
	Incarnation Incarnation
}

// Record is what must be on disk, atomically, before Saved is called.
type Record struct {
	Hard Hard // replaces what was saved before
	// Entries replace those of their slots; they have no gaps.
	Entries []Entry
	// Forget is the slot to which entries may be deleted, now or later; deleting them
	// need not be durable. Nothing before it is asked of Storage again.
	Forget Slot
}

// State is what a disk gives back when a node starts. The zero State is that of a
// new disk, or of one that was wiped: nobody can tell, so it takes the confirmation
// of the others (see hello.go). A disk whose records are damaged, but for a torn end,
// must be treated as wiped: what it promised is not known.
type State struct {
	Hard Hard
	// Applied is the state that the application has, durably: its slot and the
	// membership after it. Chosen gives what comes after.
	Applied Snapshot
	// Snapshot is the newest that can be offered to others; its Slot may be 0: none.
	Snapshot Snapshot
	// Forgotten is the slot to which Storage has no entries.
	Forgotten Slot
	// Entries are the saved ones after Applied.Slot, all of them.
	Entries []Entry
}

// saver knows what is not on disk. Seqs count records.
type saver struct {
	hard   bool // Hard changed
	low    Slot // the first entry that changed, 0: none
	forget Slot // to be told, 0: nothing
	seq    uint64
	saved  uint64
	issued []issue
	held   []heldMessage
}

// issue is a record that the driver is saving.
type issue struct {
	seq uint64
	low Slot // the first of its entries, 0: none
	at  time.Time
}

// heldMessage waits until the record seq is saved.
type heldMessage struct {
	seq uint64
	m   Message
}

func (s *saver) dirty() bool { return s.hard || s.low != 0 }

func (s *saver) touch(slot Slot) {
	if s.low == 0 || slot < s.low {
		s.low = slot
	}
}

// need returns the record after which all that is known now is on disk.
func (s *saver) need() uint64 {
	if s.dirty() {
		return s.seq + 1
	}
	return s.seq
}

// Unsaved returns what must be saved and synced next, and its number, or 0 when
// there is nothing. The records are to be saved in the order of their numbers; more
// than one may be under way. A record may be of several phases of several ballots:
// one sync is enough for it. A sync that fails must end the process: what the disk
// holds is not known then, and must not be retried.
func (n *Node) Unsaved() (Record, uint64) {
	n.prepareOutput()
	s := &n.disk
	if !s.dirty() && s.forget == 0 {
		return Record{}, 0
	}
	r := Record{Hard: n.hard(), Forget: s.forget}
	if s.low != 0 {
		r.Entries = slices.Clone(n.log.between(s.low, n.log.last()))
	}
	s.seq++
	s.issued = append(s.issued, issue{seq: s.seq, low: s.low, at: n.now})
	s.hard, s.low, s.forget = false, 0, 0
	return r, s.seq
}

// hard returns the state of the acceptor as it is.
func (n *Node) hard() Hard {
	return Hard{Incarnation: n.self.inc, Confirmed: n.self.confirmed, Promised: n.acc.promised, Chosen: n.chosen, Bound: slices.Clone(n.self.bound)}
}

// Saved says that the records to number seq are on disk, synced. What waited for
// them is in Outgoing, Chosen and Reads.
func (n *Node) Saved(now time.Time, seq uint64) {
	n.advance(now)
	s := &n.disk
	if seq <= s.saved || seq > s.seq {
		return
	}
	s.saved = seq
	s.issued = slices.DeleteFunc(s.issued, func(i issue) bool { return i.seq <= seq })
	ready := 0
	for ready < len(s.held) && s.held[ready].seq <= seq {
		n.sent(s.held[ready].m)
		ready++
	}
	s.held = slices.Delete(s.held, 0, ready)
	n.onDurable()
}

// onDurable lets the node's own promise and acceptances count, like those of any
// acceptor: its disk works while the others' do.
func (n *Node) onDurable() {
	switch n.role {
	case Preparing:
		n.promiseSelf()
	case Leading:
		n.choose()
	}
}

// durable returns the slot to which what is in memory is also on disk.
func (n *Node) durable() Slot {
	through := n.log.last()
	if s := n.disk.low; s != 0 {
		through = min(through, s-1)
	}
	for _, i := range n.disk.issued {
		if i.low != 0 {
			through = min(through, i.low-1)
		}
	}
	return through
}

// hangs reports whether a record has been under way for longer than Timing.Disk.
func (n *Node) hangs(now time.Time) bool {
	return len(n.disk.issued) > 0 && now.Sub(n.disk.issued[0].at) > n.cfg.Timing.Disk
}

// maxHeld bounds the messages that wait for the disk.
const maxHeld = 1 << 12

// sendSaved sends to a node once all that is known now is on disk.
func (n *Node) sendSaved(to NodeID, b Body) {
	m := n.message(to, b)
	need := n.disk.need()
	if need <= n.disk.saved || n.broken == AckBeforeSave {
		n.sent(m)
		return
	}
	if len(n.disk.held) >= maxHeld { // the disk is slow; what is lost is asked for again
		n.out.dropped++
		return
	}
	n.disk.held = append(n.disk.held, heldMessage{need, m})
}
