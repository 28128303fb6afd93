package topics

import (
	"container/heap"
	"time"
)

// purpose says what a timer is of.
type purpose uint8

const (
	ofRequest  purpose = iota // a number of the outbox
	ofResolve                 // a token
	ofTopic                   // a name
	ofOffer                   // an anycast
	ofSessions                // the inbox
)

// timer is one entry of the heap. What it is of knows when it is due itself; an entry
// that is not due any more, or of something gone, does nothing.
type timer struct {
	at     time.Time
	seq    uint64 // of equal instants the one set first goes first
	of     purpose
	number uint64
	name   string
	id     RequestID
}

// timers is a heap of what will be due, earliest first.
type timers struct {
	list []timer
	seq  uint64
}

func (t *timers) Len() int { return len(t.list) }
func (t *timers) Less(i, j int) bool {
	if c := t.list[i].at.Compare(t.list[j].at); c != 0 {
		return c < 0
	}
	return t.list[i].seq < t.list[j].seq
}
func (t *timers) Swap(i, j int) { t.list[i], t.list[j] = t.list[j], t.list[i] }
func (t *timers) Push(x any)    { t.list = append(t.list, x.(timer)) }
func (t *timers) Pop() any {
	last := t.list[len(t.list)-1]
	t.list[len(t.list)-1] = timer{}
	t.list = t.list[:len(t.list)-1]
	return last
}

func (t *timers) set(e timer) {
	t.seq++
	e.seq = t.seq
	heap.Push(t, e)
}

// due takes the first entry that is due.
func (t *timers) due(now time.Time) (timer, bool) {
	if len(t.list) == 0 || t.list[0].at.After(now) {
		return timer{}, false
	}
	return heap.Pop(t).(timer), true
}
