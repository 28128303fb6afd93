package mdns

import (
	"context"
	"fmt"
	"iter"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// queue holds what waits for a reader. Whoever pushes never waits.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	limit int
	over  bool
	wake  chan struct{}
}

func newQueue[T any](limit int) *queue[T] {
	return &queue[T]{limit: limit, wake: make(chan struct{}, 1)}
}

func (q *queue[T]) push(x T) {
	q.mu.Lock()
	if len(q.items) < q.limit {
		q.items = append(q.items, x)
	} else {
		q.over = true
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue[T]) take() (items []T, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, nil
	return items, q.over
}

// drain yields what comes until ctx ends (silently), the Node ends (net.ErrClosed)
// or the reader was too slow (ErrSlowReader).
func (q *queue[T]) drain(ctx context.Context, ended <-chan struct{}, yield func(T, error) bool) {
	var zero T
	for {
		items, over := q.take()
		for _, x := range items {
			if ctx.Err() != nil || !yield(x, nil) {
				return
			}
		}
		if over {
			yield(zero, ErrSlowReader)
			return
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		case <-ended:
			if ctx.Err() == nil { // else both ended at once, as they do when one context ends both
				yield(zero, fmt.Errorf("mdns: node: %w", net.ErrClosed))
			}
			return
		}
	}
}

// watcher is one running Watch.
type watcher struct {
	questions []Question
	denials   bool // NSEC records of the names asked for are told too
	q         *queue[Change]
}

func (w *watcher) tell(c Change) {
	if slices.ContainsFunc(w.questions, func(q Question) bool {
		return c.Record.answers(q) || w.denials && c.Record.answers(Question{q.Name, dns.TypeNSEC})
	}) {
		w.q.push(c)
	}
}

// Watch asks q on all interfaces for as long as the loop over it runs: first come
// the records that are known, then each change, until ctx ends. The same record
// may come once for each interface, and this machine's own records come too,
// marked Local. A loop that cannot go on ends with an error: [ErrSlowReader],
// net.ErrClosed when the Node ends, [ErrName] for a question that is none.
func (n *Node) Watch(ctx context.Context, q Question) iter.Seq2[Change, error] {
	return n.WatchAll(ctx, q)
}

// WatchAll is like Watch for several questions at once, which then travel in one packet.
func (n *Node) WatchAll(ctx context.Context, questions ...Question) iter.Seq2[Change, error] {
	return n.watch(ctx, false, questions)
}

func (n *Node) watch(ctx context.Context, denials bool, questions []Question) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &watcher{denials: denials, q: newQueue[Change](n.cfg.Queue)}
		var failed error
		err := n.call(ctx, func(now time.Time) { failed = n.startWatch(now, w, questions) })
		defer func() {
			_ = n.call(context.Background(), func(time.Time) { n.stopWatch(w) })
		}()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = failed
		}
		if err != nil {
			yield(Change{}, fmt.Errorf("mdns: watch: %w", err))
			return
		}
		w.q.drain(ctx, n.ended, yield)
	}
}

func (n *Node) startWatch(now time.Time, w *watcher, questions []Question) error {
	for _, q := range questions {
		known, err := n.host.Ask(now, q)
		if err != nil {
			return err
		}
		q.Name, _ = canonicalName(q.Name)
		w.questions = append(w.questions, q)
		for _, c := range known {
			w.q.push(c)
		}
	}
	n.ears.watchers = append(n.ears.watchers, w)
	return nil
}

func (n *Node) stopWatch(w *watcher) {
	n.ears.watchers = forget(n.ears.watchers, w)
	for _, q := range w.questions {
		n.host.Unask(q)
	}
}

// Reconfirm tells that r, which came in a [Change], proved to be of no use: a host
// that does not respond at its address, a service that does not at its port. Its
// owner is then asked for it, and when nobody answers within [ReconfirmWindow] the
// record goes, which Watch tells as Remove with the reason [Unconfirmed] (RFC 6762
// section 10.4). Reconfirm does not wait for that. A record that is not held any
// longer is no error; one that cannot be is [ErrName], an ended Node net.ErrClosed.
func (n *Node) Reconfirm(ctx context.Context, r Record) error {
	var failed error
	err := n.call(ctx, func(now time.Time) { _, failed = n.host.Reconfirm(now, r) })
	if err != nil {
		return fmt.Errorf("mdns: reconfirm: %w", err)
	}
	return failed
}

// Monitor yields every record in every response that is heard, asked for or not,
// until ctx ends. It asks nothing itself.
func (n *Node) Monitor(ctx context.Context) iter.Seq2[Heard, error] {
	return listen(ctx, n, func() *[]*queue[Heard] { return &n.ears.monitors })
}

// Events yields probes, claims, renames, conflicts and goodbyes of what this Node
// publishes, on each interface, until ctx ends.
func (n *Node) Events(ctx context.Context) iter.Seq2[Event, error] {
	return listen(ctx, n, func() *[]*queue[Event] { return &n.ears.events })
}

// listen registers a queue in a list of the loop's and drains it.
func listen[T any](ctx context.Context, n *Node, list func() *[]*queue[T]) iter.Seq2[T, error] {
	q := newQueue[T](n.cfg.Queue)
	return func(yield func(T, error) bool) {
		err := n.call(ctx, func(time.Time) { *list() = append(*list(), q) })
		defer func() {
			_ = n.call(context.Background(), func(time.Time) { *list() = forget(*list(), q) })
		}()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			var zero T
			yield(zero, fmt.Errorf("mdns: listen: %w", err))
			return
		}
		q.drain(ctx, n.ended, yield)
	}
}
