package peer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
)

// change is what the watch of one leader tells.
type change struct {
	record records.Record
	moved  bool // another node leads the record now
}

// maxChanges bounds the changes that wait for a watch: more, and it begins again.
const maxChanges = 100_000

// watch is a watch of this node's engine.
type watch struct {
	mu   sync.Mutex
	list []change
	full bool
	wake chan struct{}
}

// add puts a change behind the others.
func (w *watch) add(c change) {
	w.mu.Lock()
	if w.full = w.full || len(w.list) >= maxChanges; !w.full {
		w.list = append(w.list, c)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, and whether something was lost.
func (w *watch) take() (list []change, full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, w.list = w.list, nil
	return list, w.full
}

// tell gives a change to a watch.
func (s *store) tell(id records.RequestID, c change) {
	if w := s.watches[id]; w != nil {
		w.add(c)
	}
}

// errMoved says that a watch must be begun again, elsewhere.
var errMoved = errors.New("another node leads the record")

// watchHere watches a record, or all with a prefix, at this node as long as it leads
// them. f gets the present record first, when it is one record, then each change.
func (n *Node) watchHere(ctx context.Context, name string, prefix bool, f func(change) error) error {
	q := records.Request{ID: NewRequestID(), Op: records.Watch, Name: name}
	if prefix {
		q.Limit = 1
	}
	w := &watch{wake: make(chan struct{}, 1)}
	if err := n.call(ctx, func(l *loop) { l.store.watches[q.ID] = w }); err != nil {
		return err
	}
	defer func() {
		_ = n.post(context.WithoutCancel(ctx), func(l *loop) {
			delete(l.store.watches, q.ID)
			l.store.engine.Do(time.Now(), records.Request{ID: q.ID, Op: records.Unwatch, Name: name})
		})
	}()
	r, _, err := n.doHere(ctx, q)
	switch {
	case err != nil:
		return err
	case r.Status == records.OK && !prefix:
		err = f(change{record: r.Record})
	case r.Status == records.NotFound && !prefix:
		err = f(change{record: records.Record{Name: name, Version: r.Record.Version, Deleted: true}})
	case r.Status != records.OK && r.Status != records.NotFound:
		return errMoved
	}
	for err == nil {
		select {
		case <-w.wake:
			list, full := w.take()
			for _, c := range list {
				if c.moved && !prefix || err != nil {
					break
				}
				err = f(c)
			}
			if err == nil && (full || !prefix && slices.ContainsFunc(list, func(c change) bool { return c.moved })) {
				return errMoved
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ended:
			return ErrEnded
		}
	}
	return err
}

// seen are the newest versions that a watch has told, so that it tells none twice.
type seen struct {
	mu       sync.Mutex
	versions map[string]uint64
}

// maxSeen bounds the names that a watch of a prefix remembers.
const maxSeen = 100_000

// fresh reports whether r was not told yet, and notes that it is.
func (s *seen) fresh(r records.Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Version <= s.versions[r.Name] {
		return false
	}
	if len(s.versions) >= maxSeen {
		clear(s.versions)
	}
	s.versions[r.Name] = r.Version
	return true
}

// Watch calls f with the changes of a record, from its present state on, which is the
// first: whatever happens to the nodes that keep it, f hears of the last version, and
// versions grow. It returns when ctx ends, or with f's error.
func (n *Node) Watch(ctx context.Context, name string, f func(records.Record) error) error {
	told := seen{versions: map[string]uint64{}}
	first := true
	tell := func(c change) error {
		if c.moved || !told.fresh(c.record) && !first {
			return nil
		}
		first = false
		return f(c.record)
	}
	wait := retryFirst
	for {
		q := records.Request{Op: records.Get, Name: name}
		at, err := n.leaderOf(ctx, q)
		if err == nil {
			err = n.watchAt(ctx, at, name, false, tell)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var own *ownError
		if errors.As(err, &own) {
			return own.err
		}
		if err := pause(ctx, &wait); err != nil {
			return err
		}
		if errors.Is(err, errMoved) {
			wait = retryFirst
		}
	}
}

// ownError is an error of the function that a watch calls.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }

// leaderOf returns the node that has just answered for a record.
func (n *Node) leaderOf(ctx context.Context, q records.Request) (dht.Peer, error) {
	at, wait := n.self, retryFirst
	for moves := 0; ; moves++ {
		q.ID = NewRequestID()
		r, _, err := n.doAt(ctx, at, q)
		if err == nil && isFinal(r.Status) {
			return at, nil
		}
		next := n.whereNext(ctx, at, q, r, err)
		if next.ID == at.ID || moves >= maxMoves {
			if err := pause(ctx, &wait); err != nil {
				return at, err
			}
			moves = 0
		}
		at = next
	}
}

// watchAt watches at one node, this one or another.
func (n *Node) watchAt(ctx context.Context, at dht.Peer, name string, prefix bool, f func(change) error) error {
	own := func(c change) error {
		if err := f(c); err != nil {
			return &ownError{err}
		}
		return nil
	}
	if at.ID == n.self.ID {
		return n.watchHere(ctx, name, prefix, own)
	}
	return n.watchThere(ctx, at, name, prefix, own)
}

// membersLook is how often a watch of a prefix looks for new nodes.
const membersLook = 2 * time.Second

// WatchPrefix calls f with all records whose names begin with prefix, and then with their
// changes, whoever leads them. It returns when ctx ends, or with f's error.
func (n *Node) WatchPrefix(ctx context.Context, prefix string, f func(records.Record) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	told := &seen{versions: map[string]uint64{}}
	var one sync.Mutex // f is called by one at a time
	tell := func(c change) error {
		r := c.record
		one.Lock()
		defer one.Unlock()
		if ctx.Err() != nil || c.moved || !told.fresh(r) { // the new leader tells what it leads
			return nil
		}
		if err := f(r); err != nil {
			stop(&ownError{err})
			return err
		}
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	watched := map[dht.ID]bool{}
	var mu sync.Mutex
	for {
		var living []dht.Peer
		_ = n.call(ctx, func(l *loop) { living = l.living() })
		mu.Lock()
		for _, p := range withSelf(living, n.self) {
			if watched[p.ID] {
				continue
			}
			watched[p.ID] = true
			wg.Go(func() {
				_ = n.watchAt(ctx, p, prefix, true, tell)
				mu.Lock()
				defer mu.Unlock()
				delete(watched, p.ID)
			})
		}
		mu.Unlock()
		select {
		case <-time.After(membersLook):
		case <-ctx.Done():
			var own *ownError
			if err := context.Cause(ctx); !errors.As(err, &own) {
				return err
			}
			return own.err
		}
	}
}
