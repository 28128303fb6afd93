package kv

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/aether-lan/aether/paxos"
)

// ErrLagging ends a watch whose reader is too slow, or that begins before what is
// remembered: read the map and watch from there.
var ErrLagging = errors.New("changes were missed")

// Event is a change of a key.
type Event struct {
	Key     []byte
	Value   []byte
	Version paxos.Slot
	Deleted bool
}

// remembered is how many changes a machine keeps for watches that begin late, at least,
// and half of what it keeps at most;
// queued is how many wait for the reader of one.
const (
	remembered = 4096
	queued     = 4096
)

// ears are a machine's watchers, and the last changes.
type ears struct {
	mu    sync.Mutex
	last  []Event
	since paxos.Slot // last has all changes after it
	all   map[*Watcher]struct{}
}

// Watcher gives the changes of keys with a prefix.
type Watcher struct {
	e      *ears
	prefix []byte
	mu     sync.Mutex
	queue  []Event
	err    error
	wake   chan struct{}
}

// Watch gives the changes after slot since of keys that begin with prefix, in order.
// The caller ends it with Close. The error is ErrLagging when since is too long ago.
func (m *Machine) Watch(prefix []byte, since paxos.Slot) (*Watcher, error) {
	e := &m.ears
	e.mu.Lock()
	defer e.mu.Unlock()
	if since < e.since {
		return nil, ErrLagging
	}
	w := &Watcher{e: e, prefix: bytes.Clone(prefix), wake: make(chan struct{}, 1)}
	for _, ev := range e.last {
		if ev.Version > since {
			w.add(ev)
		}
	}
	if e.all == nil {
		e.all = map[*Watcher]struct{}{}
	}
	e.all[w] = struct{}{}
	return w, nil
}

func (w *Watcher) add(ev Event) {
	if !bytes.HasPrefix(ev.Key, w.prefix) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= queued {
		w.err = ErrLagging
	}
	if w.err == nil {
		w.queue = append(w.queue, ev)
	}
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next waits for changes and returns all there are, in order. It fails with ctx's
// cause, and with ErrLagging when changes were missed.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	for {
		w.mu.Lock()
		list, err := w.queue, w.err
		w.queue = nil
		w.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	delete(w.e.all, w)
}

// tell hands out the changes of a batch.
func (e *ears) tell(events []Event, slot paxos.Slot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range events {
		for w := range e.all {
			w.add(ev)
		}
	}
	e.last = append(e.last, events...)
	if over := len(e.last) - remembered; over >= remembered { // seldom: they are copied
		e.since = e.last[over-1].Version
		n := copy(e.last, e.last[over:])
		clear(e.last[n:])
		e.last = e.last[:n]
	}
}

// reset ends all watches: the state has jumped to slot.
func (e *ears) reset(slot paxos.Slot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.since = nil, slot
	for w := range e.all {
		w.mu.Lock()
		w.err = ErrLagging
		w.signal()
		w.mu.Unlock()
	}
	clear(e.all)
}
