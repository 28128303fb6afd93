package chat

import (
	"math/bits"
	"slices"
	"time"
)

// author keeps the messages of one member.
type author struct {
	id   MemberID
	name string // that its last message bore
	// next is the sequence to deliver next. What is before it was delivered, lost
	// or is older than what we ask for.
	next uint64
	// high is the highest sequence of which anything was heard.
	high uint64
	// past is the highest sequence that counts as said before we came.
	past uint64
	// begun says that something was delivered, or that nothing is asked for.
	begun bool
	held  map[uint64]*record
	parts map[uint64]*assembly
	lost  []span
	ask   ask
	touch time.Time // when anything was last heard
	// listed is when our hellos spoke of an author who is not here.
	listed listing
}

// record is a complete message.
type record struct {
	bytes []byte
	stamp uint64
	// repaired is when it was last repeated, by us or in our hearing.
	repaired time.Time
}

// pieces returns how many pieces carry the message.
func (r *record) pieces() int { return pieceCount(len(r.bytes)) }

func pieceCount(n int) int { return (n + pieceSize - 1) / pieceSize }

// piece returns one piece of the message.
func (r *record) piece(id MemberID, sequence uint64, index int) *piece {
	end := min((index+1)*pieceSize, len(r.bytes))
	return &piece{author: id, sequence: sequence, index: uint8(index), count: uint8(r.pieces()), bytes: r.bytes[index*pieceSize : end]}
}

// assembly is a message of which pieces are missing.
type assembly struct {
	count  int
	have   uint64 // a bit for each piece
	pieces [][]byte
	size   int
	touch  time.Time
}

// allOf returns a mask of count bits.
func allOf(count int) uint64 { return 1<<(count-1)<<1 - 1 }

// add adds a piece and reports whether it was new.
func (a *assembly) add(p *piece) bool {
	bit := uint64(1) << p.index
	if a.have&bit != 0 {
		return false
	}
	a.have |= bit
	a.pieces[p.index] = slices.Clone(p.bytes)
	a.size += len(p.bytes)
	return true
}

func (a *assembly) complete() bool { return bits.OnesCount64(a.have) == a.count }

func (a *assembly) join() []byte { return slices.Concat(a.pieces...) }

// span is the sequences from first to last that were given up. It is sought again
// once somebody comes who has them.
type span struct {
	first, last uint64
	sought      bool
}

func (s span) has(sequence uint64) bool { return s.first <= sequence && sequence <= s.last }

// maxLost bounds the spans that are remembered as lost, so that they are taken
// when they come after all.
const maxLost = 16

// lose gives up everything before to.
func (a *author) lose(to uint64) span {
	s := span{first: a.next, last: to - 1}
	a.lost = append(a.lost, s)
	if len(a.lost) > maxLost {
		a.lost = a.lost[1:]
	}
	a.next = to
	return s
}

// wasLost reports whether a sequence was given up.
func (a *author) wasLost(sequence uint64) bool {
	return slices.ContainsFunc(a.lost, func(s span) bool { return s.has(sequence) })
}

// wanted reports whether a piece of sequence is of use.
func (a *author) wanted(sequence uint64) bool {
	if a.held[sequence] != nil || sequence >= a.next+maxGap {
		return false
	}
	return sequence >= a.next || a.wasLost(sequence)
}

// low returns the lowest sequence that is held, and highest the highest; zero when
// there is none.
func (a *author) low() (low uint64) {
	for s := range a.held {
		if low == 0 || s < low {
			low = s
		}
	}
	return low
}

func (a *author) highest() (high uint64) {
	for s := range a.held {
		high = max(high, s)
	}
	return high
}

// missing returns the sequences up to limit of them that are to be asked for,
// given that messages up to high exist.
func (a *author) missing(high uint64, limit int) (list []uint64) {
	for s := a.next; s <= min(high, a.next+maxGap-1) && len(list) < limit; s++ {
		if a.held[s] == nil {
			list = append(list, s)
		}
	}
	for _, l := range a.lost {
		for s := l.first; l.sought && s <= l.last && len(list) < limit; s++ {
			if a.held[s] == nil {
				list = append(list, s)
			}
		}
	}
	return list
}

// seek looks for lost messages again when a claim has some of them.
func (a *author) seek(c claim) {
	for i, l := range a.lost {
		if c.low <= l.last && l.first <= c.high {
			a.lost[i].sought = true
		}
	}
}

// rest ends the search for lost messages.
func (a *author) rest() {
	for i := range a.lost {
		a.lost[i].sought = false
	}
}

// lacks returns the pieces of a message that are missing: a bit for each, all when
// none has come.
func (a *author) lacks(sequence uint64) uint64 {
	if p := a.parts[sequence]; p != nil {
		return allOf(p.count) &^ p.have
	}
	return ^uint64(0)
}
