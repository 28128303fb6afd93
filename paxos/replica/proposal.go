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

// maxProposals bounds the proposals that wait for the loop; then who has one waits.
const maxProposals = 4096

// proposals wait for the loop, which takes all there are at once: under load that
// costs far less than a channel's send and receive for each.
type proposals struct {
	wake chan struct{} // has one when there are any

	mu   sync.Mutex
	list []proposal
	room chan struct{} // closed when they are taken
}

func newProposals() *proposals {
	return &proposals{wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// put adds a proposal, waiting for room.
func (q *proposals) put(ctx context.Context, ended <-chan struct{}, p proposal) error {
	for {
		q.mu.Lock()
		room := q.room
		if len(q.list) < maxProposals {
			q.list = append(q.list, p)
			first := len(q.list) == 1
			q.mu.Unlock()
			if first {
				q.wake <- struct{}{} // empty: take has it before list is
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

// take returns all after a wake, and keeps spare for those to come.
func (q *proposals) take(spare []proposal) []proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = spare[:0]
	if len(list) >= maxProposals {
		close(q.room)
		q.room = make(chan struct{})
	}
	return list
}
