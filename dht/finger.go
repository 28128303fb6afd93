package dht

import "time"

const (
	fingerFirst = 300 * time.Millisecond // between two fingers at first
	fingerLast  = 10 * time.Second       // and when nothing has changed for long
)

// findFingers looks up one finger after the other, ever more slowly while they stay
// the same. With full membership there are none.
func (n *Node) findFingers() {
	f := &n.finding
	if n.book.full || n.ring.Head().ID == n.cfg.Self.ID {
		f.fingerAt = time.Time{}
		if !n.book.full {
			f.fingerAt = n.clock.now.Add(n.cfg.Period)
		}
		return
	}
	if n.clock.now.Before(f.fingerAt) {
		return
	}
	f.quiet = max(f.quiet, fingerFirst)
	f.fingerAt = n.clock.now.Add(f.quiet)
	list := n.ring.Successors()
	last := list[len(list)-1].ID
	for range n.cfg.Space.bits {
		if f.finger++; f.finger > n.cfg.Space.bits {
			f.finger, f.quiet = 1, min(2*f.quiet, fingerLast)
		}
		begin := n.cfg.Space.FingerStart(n.cfg.Self.ID, f.finger)
		if !Owns(n.cfg.Self.ID, last, begin) {
			n.start(n.lookup(begin, purpose(f.finger)))
			return
		}
		n.table.SetFinger(f.finger, Peer{}) // the list has it
	}
}

// fingerFound sets a finger, and those after it that begin before the same node.
func (n *Node) fingerFound(i int, owner Peer, err error) {
	if err != nil || n.left || n.book.full {
		return
	}
	if n.table.fingers[i-1] != owner {
		n.finding.quiet = fingerFirst
	}
	for n.table.SetFinger(i, owner); i < n.cfg.Space.bits; i++ {
		begin := n.cfg.Space.FingerStart(n.cfg.Self.ID, i+1)
		if !Owns(n.cfg.Self.ID, owner.ID, begin) || owner.ID == n.cfg.Self.ID {
			break
		}
		n.table.SetFinger(i+1, owner)
		n.finding.finger = i + 1
	}
	if owner.ID != n.cfg.Self.ID {
		n.keep(owner)
	}
}
