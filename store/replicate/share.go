package replicate

import (
	"time"

	"github.com/aether-lan/aether/store"
)

const (
	// takerTimeout is how long what was given to a machine counts as given, after it last
	// asked: while it asks, others get it from there.
	takerTimeout = 3 * time.Second
	// maxTakers bounds the machines of which is known what they were given.
	maxTakers = 256
)

// Share is the giving side of a swarm: what a machine that has pieces remembers of those
// who ask for them, so that it gives each piece to one of them first and leaves it to
// them to hand it on. It is not safe for concurrent use.
type Share struct {
	pieces int
	given  int
	takers map[store.MachineID]*taker
}

// taker is a machine that asks.
type taker struct {
	given Pieces
	last  time.Time
}

// NewShare returns a Share of so many pieces.
func NewShare(pieces int) *Share {
	return &Share{pieces: pieces, takers: map[store.MachineID]*taker{}}
}

// Taken returns the pieces that were given to machines other than peer which still ask.
func (s *Share) Taken(now time.Time, peer store.MachineID) Pieces {
	all := NewPieces(s.pieces)
	for id, t := range s.takers {
		if now.Sub(t.last) >= takerTimeout {
			delete(s.takers, id)
		} else if id != peer {
			for i, b := range t.given {
				all[i] |= b
			}
		}
	}
	return all
}

// Given returns how many pieces were given away in all.
func (s *Share) Given() int { return s.given }

// Asks says that peer asked for something, whatever it was. With anew it has only just
// begun, and nothing that it was given before is on its way.
func (s *Share) Asks(now time.Time, peer store.MachineID, anew bool) {
	t := s.takers[peer]
	if t != nil && (anew || now.Sub(t.last) >= takerTimeout) {
		clear(t.given)
	}
	if t == nil {
		if len(s.takers) >= maxTakers {
			return // what it is given may be given to others, too
		}
		t = &taker{given: NewPieces(s.pieces)}
		s.takers[peer] = t
	}
	t.last = now
}

// Leaves says that peer has all and asks no more: what it was given may be given to
// others.
func (s *Share) Leaves(peer store.MachineID) { delete(s.takers, peer) }

// Choose returns the pieces to give to peer of those that it wants and that are in has:
// as many as come to limit bytes, at least one if there is one. With fresh it leaves out
// what was given to anybody who still asks, peer among them: that is on its way.
func (s *Share) Choose(now time.Time, peer store.MachineID, want, has Pieces, fresh bool, size func(int) int64, limit int64) (chosen []int) {
	s.Asks(now, peer, false)
	var taken, given Pieces
	t := s.takers[peer]
	if fresh {
		taken = s.Taken(now, peer)
		if t != nil {
			given = t.given
		}
	}
	var sum int64
	for i := range s.pieces {
		if !want.Has(i) || !has.Has(i) || taken.Has(i) || given.Has(i) {
			continue
		}
		if sum += size(i); len(chosen) > 0 && sum > limit {
			break
		}
		chosen = append(chosen, i)
		s.given++
		if t != nil {
			t.given.Set(i)
		}
	}
	return chosen
}
