package topics

import (
	"slices"
	"time"
)

// entry is a message that is kept.
type entry struct {
	at      Position
	id      RequestID
	payload []byte
	got     time.Time
	news    bool // the own subscription has not had it
}

// window is what a node keeps of a topic: the last messages, in order, each ID once.
type window struct {
	list  []entry
	last  Position // the highest that was ever in it, or where it began
	floor Position // all to here is not kept any more, or never was
	bytes int
}

// after returns the index of the first entry behind p.
func (w *window) after(p Position) int {
	i, _ := slices.BinarySearchFunc(w.list, p, func(e entry, p Position) int {
		if p.Before(e.at) {
			return 1
		}
		return -1
	})
	return i
}

// before returns the position before the entry at index i.
func (w *window) before(i int) Position {
	if i == 0 || w.list[i-1].at.Before(w.floor) {
		return w.floor
	}
	return w.list[i-1].at
}

// raise gives up what is not behind p for all but the heir.
func (w *window) raise(p Position) {
	if w.floor.Before(p) {
		w.floor = p
	}
}

// find returns the index of the entry with the given ID, -1 for none. What is looked
// for is mostly near the end.
func (w *window) find(id RequestID) int {
	for i := len(w.list) - 1; i >= 0; i-- {
		if w.list[i].id == id {
			return i
		}
	}
	return -1
}

func (w *window) insert(e entry) {
	i := w.after(e.at)
	w.list = slices.Insert(w.list, i, e)
	w.bytes += len(e.payload)
	if w.last.Before(e.at) {
		w.last = e.at
	}
}

// remove takes entry i out; the floor stays.
func (w *window) remove(i int) {
	w.bytes -= len(w.list[i].payload)
	w.list = slices.Delete(w.list, i, i+1)
}

// drop gives up the oldest entry.
func (w *window) drop() {
	w.raise(w.list[0].at)
	w.bytes -= len(w.list[0].payload)
	w.list[0] = entry{}
	if w.list = w.list[1:]; len(w.list) == 0 {
		w.list = nil
	}
}

// old marks the first n entries as no news for the own subscription.
func (w *window) old(n int) {
	for i := range w.list[:n] {
		w.list[i].news = false
	}
}

// maxSeen is how many IDs of messages a node remembers of a topic.
const maxSeen = 1024

// seen remembers the IDs of the last messages.
type seen struct {
	ids   map[RequestID]bool
	order []RequestID // oldest first, from index next on, once it is full
	next  int
}

func (s *seen) has(id RequestID) bool { return s.ids[id] }

func (s *seen) add(id RequestID) {
	if s.ids == nil {
		s.ids = map[RequestID]bool{}
	}
	if s.ids[id] {
		return
	}
	s.ids[id] = true
	if len(s.order) < maxSeen {
		s.order = append(s.order, id)
		return
	}
	delete(s.ids, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % maxSeen
}

// remove forgets an ID that has not been delivered after all.
func (s *seen) remove(id RequestID) {
	delete(s.ids, id)
	if i := slices.Index(s.order, id); i >= 0 {
		s.order[i] = RequestID{}
	}
}
