package drive

import (
	"runtime"
	"sync"
	"time"

	"github.com/aether-lan/aether/store/chunk"
)

// compression holds the time that compressing takes to a share of what the processors
// have: while writing is limited by them, compressing more would make it slower, and
// while it is not, the share is enough for everything. What was not used is kept for a
// burst, so that small files are compressed whenever they come.
type compression struct {
	mu     sync.Mutex
	last   time.Time
	credit time.Duration
}

const (
	// compressionShare: one part in so many of the processors' time.
	compressionShare = 20
	// compressionBurst is the most that is kept.
	compressionBurst = 20 * time.Millisecond
)

// ShareOfTime returns what holds compressing to its share, for the Keys of a Drive; see
// [chunk.Keys.LimitCompression].
func ShareOfTime() chunk.Spend { return new(compression).spend }

// spend implements chunk.Spend.
func (c *compression) spend() (done func(), ok bool) {
	began := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.IsZero() {
		c.credit = compressionBurst
	} else {
		c.credit += began.Sub(c.last) * time.Duration(min(runtime.GOMAXPROCS(0), runtime.NumCPU())) / compressionShare
		c.credit = min(c.credit, compressionBurst)
	}
	c.last = began
	if c.credit <= 0 {
		return nil, false
	}
	return func() {
		took := time.Since(began)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.credit -= took
	}, true
}
