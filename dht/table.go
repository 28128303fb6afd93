package dht

import "slices"

// Table is what a node routes by: its ring pointers and its fingers. Finger i is
// the node that owns self + 2^(i-1), 1 <= i <= m (Chord, section IV-D); fingers make
// lookups short, only the ring's pointers make them right.
type Table struct {
	space   Space
	ring    *Ring
	fingers []Peer // finger i at i-1; the zero Peer where it is not known
}

// NewTable returns the table of a node with no finger known.
func NewTable(s Space, r *Ring) *Table {
	return &Table{space: s, ring: r, fingers: make([]Peer, s.bits)}
}

// Fingers returns the fingers, finger i at i-1, zero where unknown. The caller must
// not change it.
func (t *Table) Fingers() []Peer { return t.fingers }

// SetFinger sets finger i to the node that owns its start.
func (t *Table) SetFinger(i int, p Peer) { t.fingers[i-1] = p }

// FingersTo returns which fingers a node at p that has just appeared takes over: the
// i for which p is the first node at or after the start, as far as this table knows.
func (t *Table) FingersTo(p ID) (changed []int) {
	self := t.ring.self.ID
	for i := 1; i <= t.space.bits; i++ {
		begin := t.space.FingerStart(self, i)
		now := t.fingers[i-1]
		if now == (Peer{}) || now.ID == p {
			continue
		}
		if p == begin || Between(begin, p, now.ID) && now.ID != begin {
			changed = append(changed, i)
		}
	}
	return changed
}

// Forget takes a dead node out of the fingers.
func (t *Table) Forget(p Peer) {
	for i := range t.fingers {
		if t.fingers[i].Is(p) {
			t.fingers[i] = Peer{}
		}
	}
}

// Owner returns the node that owns key when this table can tell: the node itself,
// or one of its successors, whose arcs lie side by side.
func (t *Table) Owner(key ID) (Peer, bool) {
	r := t.ring
	if !r.pred.Is(r.self) && Owns(r.pred.ID, r.self.ID, key) || r.Head().Is(r.self) {
		return r.self, true
	}
	before := r.self.ID
	for _, p := range r.list {
		if Owns(before, p.ID, key) {
			return p, true
		}
		before = p.ID
	}
	return Peer{}, false
}

// Next returns the nodes known that precede key, nearest to it first, at most n:
// the one to ask, and whom to ask when it is dead. It is empty only where this node
// is alone.
func (t *Table) Next(key ID, n int) []Peer {
	self := t.ring.self.ID
	var near []Peer
	add := func(p Peer) {
		if p == (Peer{}) || p.ID == self || p.ID != key && !Between(self, p.ID, key) || p.ID == key {
			return
		}
		for i, q := range near {
			if q.ID == p.ID {
				return
			}
			if Between(q.ID, p.ID, key) {
				near = slices.Insert(near, i, p)
				return
			}
		}
		near = append(near, p)
	}
	for _, p := range t.fingers {
		add(p)
	}
	for _, p := range t.ring.list {
		add(p)
	}
	return near[:min(n, len(near))]
}
