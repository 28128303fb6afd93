package netlab

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Faults is what a cable does to the frames that travel it in one direction.
// The zero value is a perfect cable.
type Faults struct {
	// Loss is the probability, 0 to 1, that a frame vanishes.
	Loss float64
	// Delay is added to each frame's travel; zero is none.
	Delay time.Duration
	// Jitter is the largest random addition to Delay, evenly distributed; it
	// reorders frames sent closer together than itself.
	Jitter time.Duration
	// Duplicate is the probability that a frame arrives twice.
	Duplicate float64
	// Reorder is the probability that a frame is held back for [ReorderHold], so
	// that frames sent within that time overtake it.
	Reorder float64
}

// ReorderHold is how much later a frame arrives when [Faults].Reorder strikes.
const ReorderHold = 10 * time.Millisecond

// verdict is the fate of one frame.
type verdict struct {
	copies    int // 0 lost, 1, or 2 doubled
	delay     [2]time.Duration
	reordered bool
}

// dice decides the fates of the frames of one direction of a cable. The
// sequence of fates follows from the seed alone.
type dice struct {
	perfect atomic.Bool // no need to roll
	mu      sync.Mutex
	rng     *rand.Rand
	faults  Faults
}

func newDice(seed, stream uint64) *dice {
	d := &dice{rng: rand.New(rand.NewPCG(seed, stream))}
	d.perfect.Store(true)
	return d
}

func (d *dice) set(f Faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
	d.perfect.Store(f == Faults{})
}

// roll returns the fate of the next frame.
func (d *dice) roll() verdict {
	if d.perfect.Load() {
		return verdict{copies: 1}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.chance(d.faults.Loss) {
		return verdict{}
	}
	v := verdict{copies: 1}
	if d.chance(d.faults.Duplicate) {
		v.copies = 2
	}
	for i := range v.copies {
		v.delay[i] = d.faults.Delay
		if d.faults.Jitter > 0 {
			v.delay[i] += time.Duration(d.rng.Int64N(int64(d.faults.Jitter)))
		}
	}
	if d.chance(d.faults.Reorder) {
		v.reordered = true
		v.delay[0] += ReorderHold
	}
	return v
}

func (d *dice) chance(p float64) bool { return p > 0 && d.rng.Float64() < p }
