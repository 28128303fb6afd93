package dht

import "net/netip"

// Peer is a node as others know it.
type Peer struct {
	ID ID
	// Incarnation tells the lives of a node apart: it grows with each start. A
	// pointer to an earlier life is a pointer to a dead node.
	Incarnation uint64
	Address     netip.AddrPort
}

// Is reports whether p and q are the same life of the same node.
func (p Peer) Is(q Peer) bool { return p.ID == q.ID && p.Incarnation == q.Incarnation }

// View is what a node answers to a query of ring maintenance, all of one instant.
type View struct {
	Self        Peer
	Predecessor Peer
	Successors  []Peer // nearest first, at least one
}

// Ring holds one node's pointers on the circle and changes them by the rules of
// Zave, "Reasoning about identifier spaces: How to make Chord correct" (IEEE TSE
// 43(12), 2017). It asks nobody itself: who owns it queries other nodes and tells
// the outcome, one query a step.
//
//	Join                                  the member before us answered
//	HeadAnswered, HeadDied                StabilizeFromSuccessor
//	CandidateAnswered                     StabilizeFromPredecessor
//	Notified, PredecessorDied             Rectify
//
// Rules of the published protocol are missing because they are wrong: a newcomer
// takes over a whole list of successors and not only the first, no successor is
// adopted that has not answered, a predecessor is asked whether it lives before
// another replaces it, and none is forgotten. [Ring.HeadAnswered] puts the head's
// own list behind it, and nothing is ever added to a list that may have a gap.
// TestModel_FindsTheFaultsOfTheProtocolAsPublished puts such rules back.
type Ring struct {
	self, pred Peer
	list       []Peer
	length     int // of list, at most
}

// NewRing returns the ring of one node, whose list will grow to length successors.
// The list survives length-1 deaths in a row before it is repaired; 2 log2 N of
// them outlive the death of half the nodes at once (Chord, theorem IV.5).
func NewRing(self Peer, length int) *Ring {
	return &Ring{self: self, pred: self, list: []Peer{self}, length: max(length, 1)}
}

// Self returns the node itself.
func (r *Ring) Self() Peer { return r.self }

// Predecessor returns the node before this one, as far as known: the node itself
// when it is alone.
func (r *Ring) Predecessor() Peer { return r.pred }

// Head returns the first successor: the node itself when it is alone.
func (r *Ring) Head() Peer { return r.list[0] }

// Successors returns the list, nearest first. The caller must not change it.
func (r *Ring) Successors() []Peer { return r.list }

// View returns what the node answers to a query. Its list is a copy.
func (r *Ring) View() View {
	return View{r.self, r.pred, append([]Peer(nil), r.list...)}
}

// Join makes the node a member, from the answer of a member that is just before it:
// Between(v.Self, self, v.Successors[0]). It reports false and changes nothing when
// that member is not.
func (r *Ring) Join(v View) bool {
	if len(v.Successors) == 0 || v.Self.ID == r.self.ID || !Between(v.Self.ID, r.self.ID, v.Successors[0].ID) {
		return false
	}
	r.pred = v.Self
	// Not v.Self behind them, although a small ring would have come round to it: the
	// list may be short because a dead head was dropped, and nodes would be skipped.
	r.adopt(append([]Peer(nil), v.Successors...))
	return true
}

// HeadAnswered takes the answer of Head: its list behind it becomes ours. When its
// predecessor lies between, that candidate is to be queried next. When there is
// none, and after the candidate's outcome, Head is to be notified.
func (r *Ring) HeadAnswered(v View) (candidate Peer, ok bool) {
	if !v.Self.Is(r.Head()) {
		return Peer{}, false // it has changed meanwhile
	}
	r.adopt(append([]Peer{v.Self}, v.Successors...))
	return v.Predecessor, r.Candidate(v.Predecessor)
}

// Candidate reports whether p, if it lives, is a better head: between this node and
// its head. A node that is alone takes anybody.
func (r *Ring) Candidate(p Peer) bool {
	return p.ID != r.self.ID && Between(r.self.ID, p.ID, r.Head().ID)
}

// HeadDied drops the head. A list that has run out goes on with the predecessor,
// the only other node that a node of a small ring may know; and when that one is
// dead too, the node is alone.
func (r *Ring) HeadDied(head Peer) {
	if !head.Is(r.Head()) || head.Is(r.self) {
		return
	}
	switch {
	case len(r.list) > 1:
		r.list = r.list[1:]
	case head.Is(r.pred):
		r.pred, r.list = r.self, []Peer{r.self}
	default:
		r.list = []Peer{r.pred}
	}
}

// CandidateAnswered takes the answer of a candidate, which becomes the head with
// its own list behind it: the rest of ours may skip nodes that it knows.
func (r *Ring) CandidateAnswered(v View) {
	if r.Candidate(v.Self) {
		r.adopt(append([]Peer{v.Self}, v.Successors...))
	}
}

// Notified hears from a node that has this one for its head. A nearer predecessor
// is adopted at once; for any other the present one has to be asked whether it
// lives, and if not, PredecessorDied be called.
func (r *Ring) Notified(from Peer) (ask Peer, ok bool) {
	switch {
	case from.ID == r.self.ID || from.Is(r.pred):
		return Peer{}, false
	case from.ID == r.pred.ID && from.Incarnation < r.pred.Incarnation:
		return Peer{}, false // a message of an earlier life
	case from.ID == r.pred.ID || r.pred.Is(r.self) || Between(r.pred.ID, from.ID, r.self.ID):
		r.pred = from
		return Peer{}, false
	}
	return r.pred, true
}

// PredecessorDied replaces a dead predecessor by the one that has notified.
func (r *Ring) PredecessorDied(dead, from Peer) {
	if r.pred.Is(dead) && from.ID != r.self.ID {
		r.pred = from
	}
}

// adopt takes list for the successors: as many as it may hold, in order around the
// circle. What comes after the node itself, or out of order, is not taken: a ring
// smaller than the list has come round, or somebody lies.
func (r *Ring) adopt(list []Peer) {
	n := 0
	for n < len(list) && n < r.length && list[n].ID != r.self.ID {
		if n > 0 && !Between(list[n-1].ID, list[n].ID, r.self.ID) {
			break
		}
		n++
	}
	if n > 0 {
		r.list = list[:n]
	}
}

// SetLength changes how many successors the list may hold.
func (r *Ring) SetLength(length int) {
	r.length = max(length, 1)
	r.list = r.list[:min(len(r.list), r.length)]
}

// Drop takes a dead node out of the list, wherever it is: who is known to be dead
// outlives nobody, so that no gap comes of it.
func (r *Ring) Drop(dead Peer) {
	if dead.Is(r.Head()) {
		r.HeadDied(dead)
		return
	}
	for i, p := range r.list {
		if p.Is(dead) {
			r.list = append(append([]Peer(nil), r.list[:i]...), r.list[i+1:]...)
			return
		}
	}
}
