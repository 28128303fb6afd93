package records

import (
	"container/heap"
	"time"
)

// dueItem says when to look at a record. It may be too early, or in vain.
type dueItem struct {
	at   time.Time
	name string
}

// dueHeap holds the earliest first; it is for container/heap.
type dueHeap []dueItem

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *dueHeap) Push(v any) { *h = append(*h, v.(dueItem)) }

// Pop is for container/heap.
func (h *dueHeap) Pop() any {
	old := *h
	v := old[len(old)-1]
	*h = old[:len(old)-1]
	return v
}

// schedule notes when the record will go: a deleted one after tombstone.
func (l *lead) schedule(i *item, tombstone time.Duration) {
	if i.rec.Deleted {
		heap.Push(&l.soon, dueItem{i.got.Add(tombstone), i.rec.Name})
	} else if at, ok := i.expires(); ok {
		heap.Push(&l.soon, dueItem{at, i.rec.Name})
	}
	// One that is written again and again leaves its earlier instants behind.
	if len(l.soon) > 2*len(l.r.shelf.items)+64 {
		l.reschedule(tombstone)
	}
}

func (l *lead) reschedule(tombstone time.Duration) {
	l.soon = l.soon[:0]
	for _, n := range l.r.shelf.sorted() {
		i := l.r.shelf.items[n]
		if at, ok := i.expires(); i.rec.Deleted {
			l.soon = append(l.soon, dueItem{i.got.Add(tombstone), n})
		} else if ok {
			l.soon = append(l.soon, dueItem{at, n})
		}
	}
	heap.Init(&l.soon)
}

// expireDue lets go what is over: a bounded number at a time, and only as fast as the
// other members follow.
func (e *Engine) expireDue(l *lead) {
	for n := 0; n < 256 && len(l.soon) > 0 && !e.now.Before(l.soon[0].at) && e.leading(l); n++ {
		if l.window.bytes > maxWindow/2 {
			l.soon[0].at = e.now.Add(e.cfg.Resend) // later; the order stays right enough
			heap.Fix(&l.soon, 0)
			continue
		}
		d := heap.Pop(&l.soon).(dueItem)
		i := l.r.shelf.items[d.name]
		switch {
		case i == nil:
		case i.rec.Deleted && !e.now.Before(i.got.Add(e.cfg.Tombstone)):
			e.forget(l, d.name)
		case !i.rec.Deleted:
			e.expired(l, i)
		}
	}
}
