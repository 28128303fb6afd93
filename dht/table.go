package dht

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

// SetFinger sets finger i to the node that owns its start, as far as known: it lies
// there or behind.
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

// Space returns the circle.
func (t *Table) Space() Space { return t.space }

// Self returns the node whose table it is.
func (t *Table) Self() Peer { return t.ring.self }

// Predecessor returns the node before it, as the ring has it.
func (t *Table) Predecessor() Peer { return t.ring.pred }

// Successors returns how many successors are known.
func (t *Table) Successors() int { return len(t.ring.list) }

// Successor returns the i-th successor, 0 for the nearest.
func (t *Table) Successor(i int) Peer { return t.ring.list[i] }

// Finger returns finger i, zero where unknown.
func (t *Table) Finger(i int) Peer { return t.fingers[i-1] }

// Owner returns the node that owns key when this table can tell: see [OwnerBy].
func (t *Table) Owner(key ID) (Peer, bool) {
	owner, _, ok := OwnerBy(t, key)
	return owner, ok
}

// Next returns the nodes known that precede key, nearest to it first, at most n: see
// [NextBy]. It is empty only where this node is alone.
func (t *Table) Next(key ID, n int) []Peer { return NextBy(nil, t, key, n) }
