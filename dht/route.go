package dht

import "slices"

// Pointers is what a node knows of the ring, as far as routing asks for it. [Table]
// keeps them; a simulation of a million nodes works them out when they are asked for,
// and so measures the rules of this file and not a copy of them.
type Pointers interface {
	// Space returns the circle.
	Space() Space
	// Self returns the node whose pointers they are.
	Self() Peer
	// Predecessor returns the node before it: itself when it is alone.
	Predecessor() Peer
	// Successors returns how many successors are known: one at least, which is the
	// node itself when it is alone.
	Successors() int
	// Successor returns the i-th successor, 0 for the nearest. They are in order.
	Successor(i int) Peer
	// Finger returns finger i, 1 <= i <= m, the zero Peer where it is not known. It
	// lies at [Space.FingerStart] or behind.
	Finger(i int) Peer
}

// OwnerBy returns the node that owns key when p can tell: the node itself, or one of
// its successors, whose arcs lie side by side. Its place among the successors comes
// with it, -1 for the node itself: the successors behind that place own the key
// after it has died.
func OwnerBy(p Pointers, key ID) (owner Peer, place int, ok bool) {
	self, pred, n := p.Self(), p.Predecessor(), p.Successors()
	switch {
	case !pred.Is(self) && Owns(pred.ID, self.ID, key) || p.Successor(0).Is(self):
		return self, -1, true
	case !Owns(self.ID, p.Successor(n-1).ID, key):
		return Peer{}, 0, false
	}
	before := self.ID
	for i := range n {
		owner = p.Successor(i)
		if Owns(before, owner.ID, key) {
			return owner, i, true
		}
		before = owner.ID
	}
	return Peer{}, 0, false
}

// NextBy returns the nodes known that precede key, nearest to it first, at most n
// of them, appended to near: the one to ask, and whom to ask when it is dead. Fingers
// and successors count alike: where the nearest before key is a successor, that saves
// the hops that fingers alone would take (Chord, section V-D: on average half log2
// of the list's length).
func NextBy(near []Peer, p Pointers, key ID, n int) []Peer {
	self := p.Self()
	r := nearest{list: near, begin: len(near), most: n, self: self.ID, key: key, last: self}
	far := p.Space().Bits()
	if d := p.Space().Distance(self.ID, key); d != (ID{}) {
		far = Log2(d) + 1 // the fingers behind it begin beyond key
	}
	for i, head := far, p.Successor(0).ID; i >= 1; i-- {
		f := p.Finger(i)
		r.add(f)
		if f.ID == head {
			break // so are all below it, in a table that is up to date
		}
	}
	for i := p.Successors() - 1; i >= 0; i-- {
		if q := p.Successor(i); Between(self.ID, q.ID, key) && !r.add(q) {
			break
		}
	}
	return r.list
}

// nearest gathers the nodes that precede key, in order.
type nearest struct {
	list        []Peer // from begin on
	begin, most int
	self, key   ID
	last        Peer // what was added last: fingers repeat themselves
}

// add reports false when it has enough that are nearer.
func (r *nearest) add(p Peer) bool {
	if p.Incarnation == 0 && p == (Peer{}) || p.Is(r.last) || !Between(r.self, p.ID, r.key) {
		return true
	}
	r.last = p
	at := len(r.list)
	for at > r.begin && Between(r.list[at-1].ID, p.ID, r.key) {
		at--
	}
	switch {
	case at > r.begin && r.list[at-1].ID == p.ID: // the later life counts
		if p.Incarnation > r.list[at-1].Incarnation {
			r.list[at-1] = p
		}
	case at-r.begin == r.most:
		return false
	case len(r.list)-r.begin == r.most:
		copy(r.list[at+1:], r.list[at:])
		r.list[at] = p
	default:
		r.list = slices.Insert(r.list, at, p)
	}
	return true
}
