package dnssd

import "slices"

// outbox holds events for a reader that may be slow, and joins those about the same
// thing, so that it stays as small as the difference between what the reader has
// heard and what is.
type outbox[K comparable, E any] struct {
	order []K
	// held are at most two events a key: a Remove and an Add after it.
	held map[K][]E
	key  func(E) K
	op   func(*E) *Op
}

func newOutbox[K comparable, E any](key func(E) K, op func(*E) *Op) *outbox[K, E] {
	return &outbox[K, E]{held: make(map[K][]E), key: key, op: op}
}

// push adds ev behind what waits.
func (o *outbox[K, E]) push(ev E) {
	k := o.key(ev)
	list, waiting := o.held[k]
	if !waiting {
		o.order = append(o.order, k)
	}
	if len(list) == 0 {
		o.held[k] = append(list, ev)
		return
	}
	last := &list[len(list)-1]
	was, is := *o.op(last), *o.op(&ev)
	switch {
	case was == Remove: // it is back
		list = append(list, ev)
	case was == Add && is == Remove: // the reader never knew
		list = list[:len(list)-1]
	default: // the newer state, as the older operation unless it is gone
		*last = ev
		if is == Update {
			*o.op(last) = was
		}
	}
	o.held[k] = list
	if len(list) == 0 {
		delete(o.held, k)
		o.order = slices.DeleteFunc(o.order, func(x K) bool { return x == k })
	}
}

// take returns all events, in the order in which their keys came first.
func (o *outbox[K, E]) take() []E {
	var all []E
	for _, k := range o.order {
		all = append(all, o.held[k]...)
	}
	o.order = nil
	clear(o.held)
	return all
}
