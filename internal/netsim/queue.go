package netsim

// arrival is one entry of the event queue: a packet that reaches a node or a
// whole segment, a node's timeout, or a function to call.
type arrival[P, E any] struct {
	at  int64  // nanoseconds since the start
	seq uint64 // order among equal instants

	from *Node[P, E]
	to   *Node[P, E] // nil: everybody on seg but from
	seg  *Segment[P, E]
	p    *P     // nil: a timeout of to, or call
	call func() // not nil: just this
}

func (a *arrival[P, E]) before(b *arrival[P, E]) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// queue is a binary heap of arrivals, earliest first. container/heap would box
// every entry.
type queue[P, E any] []arrival[P, E]

func (q *queue[P, E]) push(a arrival[P, E]) {
	h := append(*q, a)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*q = h
}

func (q *queue[P, E]) pop() arrival[P, E] {
	h := *q
	top := h[0]
	n := len(h) - 1
	h[0] = h[n]
	h[n] = arrival[P, E]{} // let the packet go
	h = h[:n]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < n; c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*q = h
	return top
}
