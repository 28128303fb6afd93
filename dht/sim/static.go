package sim

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"github.com/aether-lan/aether/dht"
)

// MaxStaticNodes bounds the nodes of a [Static] ring.
const MaxStaticNodes = 1 << 24

// StaticConfig says what ring to make. The zero value is the paper's: 1,000 nodes.
type StaticConfig struct {
	Nodes int    // 1 to MaxStaticNodes; 0 means 1,000
	Bits  int    // m, the length of IDs; 0 means 160
	List  int    // successors that each node knows; 0 means 2 log2 Nodes
	Seed  uint64 // of the IDs, and of who dies and what is looked up
}

func (c StaticConfig) withDefaults() (StaticConfig, error) {
	c.Nodes = cmp.Or(c.Nodes, 1000)
	c.Bits = cmp.Or(c.Bits, dht.MaxBits)
	switch {
	case c.Nodes < 1 || c.Nodes > MaxStaticNodes:
		return c, fmt.Errorf("dht/sim: %d nodes: want 1 to %d", c.Nodes, MaxStaticNodes)
	case c.List < 0:
		return c, fmt.Errorf("dht/sim: a list of %d successors: want at least 1", c.List)
	case c.Bits < 64 && uint64(c.Nodes) > 1<<max(c.Bits, 0):
		return c, fmt.Errorf("dht/sim: %d nodes do not fit on a circle of 2^%d points", c.Nodes, c.Bits)
	}
	if c.List == 0 {
		c.List = ListFor(c.Nodes)
	}
	return c, nil
}

// ListFor returns how many successors each of n nodes needs so that none is cut off
// when half of them die at once: 2 log2 n, with high probability (Chord, theorem
// IV.5).
func ListFor(n int) int { return max(1, bits.Len(uint(max(n, 1)-1))*2) }

// Static is a ring that nobody joins and whose every pointer is right, until nodes
// die and nothing is repaired.
type Static struct {
	cfg   StaticConfig
	space dht.Space
	ids   []dht.ID // in order
	dead  []bool   // by place in ids
	alive int

	// bucket finds a point's owner at once: IDs whose first depth bits are at least b
	// begin at bucket[b].
	bucket []uint32
	depth  int
}

// NewStatic makes a ring of nodes whose IDs are drawn from the seed.
func NewStatic(cfg StaticConfig) (*Static, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	space, err := dht.NewSpace(cfg.Bits)
	if err != nil {
		return nil, fmt.Errorf("dht/sim: %w", err)
	}
	s := &Static{cfg: cfg, space: space, dead: make([]bool, cfg.Nodes), alive: cfg.Nodes}
	s.drawIDs()
	s.index()
	return s, nil
}

// Config returns what the ring was made of, defaults filled in.
func (s *Static) Config() StaticConfig { return s.cfg }

// Space returns the ring's circle.
func (s *Static) Space() dht.Space { return s.space }

// Alive returns how many nodes have not died.
func (s *Static) Alive() int { return s.alive }

// What is drawn from a seed, each from a stream of its own: the same lookups, say,
// whoever dies.
const (
	streamIDs = iota
	streamDeaths
	streamLoad
	streamLookups // and all behind it, one a batch
)

func (s *Static) stream(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.cfg.Seed, n)) }

func (s *Static) drawIDs() {
	rng := s.stream(streamIDs)
	if m := s.cfg.Bits; m < 26 && s.cfg.Nodes > 1<<m/2 {
		for _, point := range rng.Perm(1 << m)[:s.cfg.Nodes] { // a crowded circle
			s.ids = append(s.ids, s.space.Int(uint64(point)))
		}
		slices.SortFunc(s.ids, dht.ID.Compare)
		return
	}
	s.ids = make([]dht.ID, 0, s.cfg.Nodes)
	for len(s.ids) < s.cfg.Nodes {
		for range s.cfg.Nodes - len(s.ids) {
			s.ids = append(s.ids, drawID(s.space, rng))
		}
		slices.SortFunc(s.ids, dht.ID.Compare)
		s.ids = slices.Compact(s.ids)
	}
}

func drawID(space dht.Space, rng *rand.Rand) dht.ID {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], rng.Uint64())
	binary.BigEndian.PutUint64(b[16:], rng.Uint64())
	return space.Hash(b[:])
}

// index fills the buckets, about one node to each.
func (s *Static) index() {
	s.depth = min(bits.Len(uint(len(s.ids))), s.cfg.Bits)
	s.bucket = make([]uint32, 1<<s.depth+1)
	b := 0
	for i, id := range s.ids {
		for ; b <= s.first(id); b++ {
			s.bucket[b] = uint32(i)
		}
	}
	for ; b < len(s.bucket); b++ {
		s.bucket[b] = uint32(len(s.ids))
	}
}

// first returns the first depth bits of an ID.
func (s *Static) first(id dht.ID) int { return int(s.top(id) >> (64 - s.depth)) }

// top returns the first 64 bits of an ID, zeros behind it where it has fewer.
func (s *Static) top(id dht.ID) uint64 {
	skip := dht.MaxBits - s.cfg.Bits
	var w [9]byte
	copy(w[:], id[skip/8:])
	return binary.BigEndian.Uint64(w[:8])<<(skip%8) | uint64(w[8])>>(8-skip%8)
}

// succ returns the place of the first node at or behind a point, dead or alive.
func (s *Static) succ(point dht.ID) int {
	i := int(s.bucket[s.first(point)])
	for i < len(s.ids) && s.ids[i].Compare(point) < 0 {
		i++
	}
	return i % len(s.ids)
}

// owner returns the place of the node that owns a point: the first that lives.
func (s *Static) owner(point dht.ID) int {
	i := s.succ(point)
	for s.dead[i] {
		i = (i + 1) % len(s.ids)
	}
	return i
}

// Kill lets a share of all nodes die at once, 0 to 1, but one at least lives on.
// Nobody is told, no pointer changes.
func (s *Static) Kill(share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("dht/sim: share %v: want 0 to 1", share)
	}
	clear(s.dead)
	doomed := min(int(share*float64(len(s.ids))), len(s.ids)-1)
	for _, i := range s.stream(streamDeaths).Perm(len(s.ids))[:doomed] {
		s.dead[i] = true
	}
	s.alive = len(s.ids) - doomed
	return nil
}

// CutOff returns the share of the circle whose owners no lookup can find before
// something is repaired: all successors of the node before them are dead.
func (s *Static) CutOff() float64 {
	cut, n := 0.0, len(s.ids)
	for i := range s.ids {
		if s.dead[i] {
			continue
		}
		next := (i + 1) % n
		behind := 1
		for s.dead[next] {
			next, behind = (next+1)%n, behind+1
		}
		if behind > s.cfg.List && s.alive > 1 {
			cut += math.Ldexp(float64(s.top(s.space.Distance(s.ids[i], s.ids[next]))), -64)
		}
	}
	return cut
}

// peer returns the node at a place. Its incarnation tells the place.
func (s *Static) peer(i int) dht.Peer { return dht.Peer{ID: s.ids[i], Incarnation: uint64(i) + 1} }

func placeOf(p dht.Peer) int { return int(p.Incarnation) - 1 }

// pointers are the pointers of one node, worked out when asked for.
type pointers struct {
	*Static
	at   int
	near int // 2^near is not farther than the successor, so fingers up to it are the same
}

func (p *pointers) move(to int) {
	p.at = to
	p.near = dht.Log2(p.space.Distance(p.ids[to], p.ids[(to+1)%len(p.ids)]))
}

// Self and those behind it are [dht.Pointers].
func (p *pointers) Self() dht.Peer { return p.peer(p.at) }

func (p *pointers) Predecessor() dht.Peer { return p.peer((p.at + len(p.ids) - 1) % len(p.ids)) }

func (p *pointers) Successors() int { return max(1, min(p.cfg.List, len(p.ids)-1)) }

func (p *pointers) Successor(i int) dht.Peer { return p.peer((p.at + 1 + i) % len(p.ids)) }

func (p *pointers) Finger(i int) dht.Peer {
	if i-1 <= p.near {
		return p.peer((p.at + 1) % len(p.ids))
	}
	return p.peer(p.succ(p.space.FingerStart(p.ids[p.at], i)))
}
