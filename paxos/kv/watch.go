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

// Bounds of changes that a machine keeps for watches that begin late, and of those that
// wait for the reader of one.
const (
	remembered      = 4096     // at least, and half of what is kept at most
	rememberedBytes = 16 << 20 // of keys and values, at most, whatever remembered says
	queued          = 4096
	queuedBytes     = 16 << 20
)

// ears are a machine's watchers, and the last changes.
type ears struct {
	mu    sync.Mutex
	last  []Event
	bytes int        // of last
	since paxos.Slot // last has all changes after it
	all   map[*Watcher]struct{}
}

func (e Event) bytes() int { return len(e.Key) + len(e.Value) }

// Watcher gives the changes of keys with a prefix.
type Watcher struct {
	e      *ears
	prefix []byte
	mu     sync.Mutex
	queue  []Event
	bytes  int // of queue
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
	if len(w.queue) >= queued || len(w.queue) > 0 && w.bytes+ev.bytes() > queuedBytes {
		w.err = ErrLagging
	}
	if w.err == nil {
		w.queue, w.bytes = append(w.queue, ev), w.bytes+ev.bytes()
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
		w.queue, w.bytes = nil, 0
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
	for _, ev := range events {
		e.last, e.bytes = append(e.last, ev), e.bytes+ev.bytes()
	}
	if len(e.last) >= 2*remembered || e.bytes > rememberedBytes {
		e.forget()
	}
}

// forget drops the oldest changes, half of what may be kept or more: they are copied.
func (e *ears) forget() {
	over := 0
	for over < len(e.last) && (len(e.last)-over > remembered || e.bytes > rememberedBytes/2) {
		e.bytes -= e.last[over].bytes()
		e.since = e.last[over].Version
		over++
	}
	for over < len(e.last) && e.last[over].Version == e.since { // of one slot all or none
		e.bytes -= e.last[over].bytes()
		over++
	}
	n := copy(e.last, e.last[over:])
	clear(e.last[n:])
	e.last = e.last[:n]
}

// reset ends all watches: the state has jumped to slot.
func (e *ears) reset(slot paxos.Slot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.bytes, e.since = nil, 0, slot
	for w := range e.all {
		w.mu.Lock()
		w.err = ErrLagging
		w.signal()
		w.mu.Unlock()
	}
	clear(e.all)
}
