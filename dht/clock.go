package dht

import (
	"container/heap"
	"time"
)

// clock is the node's own time. It never compares instants but with earlier ones of
// its own, does not go back when the machine's clock does, and stands still while the
// node does not run: what others did not answer meanwhile, they had no chance to.
type clock struct {
	outside time.Time // the instant given last
	now     time.Time // of the node
	due     time.Time // when HandleTimeout is to be called, zero when not
}

// slack is how late a timer may come before the node thinks that it was paused.
const slack = 250 * time.Millisecond

// enter moves the clock to now and returns how long the node was paused.
func (c *clock) enter(now time.Time) (pause time.Duration) {
	if c.outside.IsZero() {
		c.outside, c.now = now, now
		return 0
	}
	step := max(now.Sub(c.outside), 0)
	c.outside = now
	if at := c.now.Add(step); !c.due.IsZero() && at.Sub(c.due) > slack {
		pause = at.Sub(c.due)
		step -= pause
	}
	c.now = c.now.Add(max(step, 0))
	return pause
}

// next returns when the driver is to call, in its own time.
func (c *clock) next() (time.Time, bool) {
	if c.due.IsZero() {
		return time.Time{}, false
	}
	return c.outside.Add(c.due.Sub(c.now)), true
}

// timer is the end of a question's time or, where call is zero, an attempt at a peer
// that was not reached.
type timer struct {
	at   time.Time
	call uint64
	id   ID
}

type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

func (t *timers) set(v timer) { heap.Push(t, v) }

// pop returns a timer that has come due.
func (t *timers) pop(now time.Time) (timer, bool) {
	if len(*t) == 0 || (*t)[0].at.After(now) {
		return timer{}, false
	}
	return heap.Pop(t).(timer), true
}
