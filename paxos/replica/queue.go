package replica

import (
	"context"
	"sync"
)

// proposal is a command for the node; to hears why it is not taken.
type proposal struct {
	value []byte
	to    chan<- outcome
}

// maxQueued bounds what waits in a queue; then who has more waits.
const maxQueued = 4096

// queue holds what clients want of the loop, which takes all there is at once: under
// load that costs far less than a channel's send and receive for each.
type queue[T any] struct {
	wake chan struct{} // has one when there is anything

	mu   sync.Mutex
	list []T
	room chan struct{} // closed when it is taken
}

func newQueue[T any]() *queue[T] {
	return &queue[T]{wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// put adds v, waiting for room.
func (q *queue[T]) put(ctx context.Context, ended <-chan struct{}, v T) error {
	for {
		q.mu.Lock()
		room := q.room
		if len(q.list) < maxQueued {
			q.list = append(q.list, v)
			first := len(q.list) == 1
			q.mu.Unlock()
			if first {
				q.wake <- struct{}{} // has room: it was taken from before list was
			}
			return nil
		}
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return ErrEnded
		}
	}
}

// take returns all, after a wake, and keeps spare for what comes.
func (q *queue[T]) take(spare []T) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = spare[:0]
	if len(list) >= maxQueued {
		close(q.room)
		q.room = make(chan struct{})
	}
	return list
}
