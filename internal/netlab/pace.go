package netlab

import (
	"sync"
	"time"
)

// rateQueue is how much a cable with a rate holds back before it drops: what it
// carries in that time.
const rateQueue = 100 * time.Millisecond

// pace is the rate of one direction of a cable.
type pace struct {
	mu   sync.Mutex
	rate int64     // bytes a second; zero: no limit
	free time.Time // when the frames before have passed
}

// pass returns how long a frame of n bytes takes; ok is false when too many wait.
func (p *pace) pass(now time.Time, n int) (delay time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return 0, true
	}
	if p.free.Before(now) {
		p.free = now
	}
	if p.free.Sub(now) > rateQueue {
		return 0, false
	}
	p.free = p.free.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	return p.free.Sub(now), true
}

func (p *pace) set(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate, p.free = max(0, rate), time.Time{}
}

// SetRate gives the cable a rate in each direction, in bytes a second; zero is none.
// Frames wait for those before them, and when what waits would take more than a tenth
// of a second are dropped, as by the buffer of a switch.
func (p *Port) SetRate(rate int64) {
	p.paces[0].set(rate)
	p.paces[1].set(rate)
}
