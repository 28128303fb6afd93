package main

import "sync"

// queue holds what one goroutine takes all at once, as paxos/replica's loop does with
// its clients' requests.
type queue[T any] struct {
	wake chan struct{} // has one when there is anything

	mu   sync.Mutex
	list []T
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(v T) {
	q.mu.Lock()
	q.list = append(q.list, v)
	first := len(q.list) == 1
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = nil
	return list
}
