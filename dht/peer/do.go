package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/internal/link"
)

// Errors of records. A [RecordError] wraps one, and has the record that is there.
var (
	// ErrNotFound reports a name under which nothing is stored.
	ErrNotFound = errors.New("no such record")
	// ErrConflict reports a record that has another version than the one expected, or
	// a lease that another holds.
	ErrConflict = errors.New("the record is not as expected")
	// ErrTooLarge reports a name, value, holder or time over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrFull reports nodes that have no room for more.
	ErrFull = errors.New("no room for more records")
	// ErrNoMajority reports that too few of the nodes that keep a record answer. A
	// write may still happen.
	ErrNoMajority = errors.New("too few of the nodes that keep the record answer")
	// ErrUnknown reports a write that was repeated so late that nobody knows whether
	// it was done.
	ErrUnknown = errors.New("nobody knows any more whether the write was done")
	// ErrInvalid reports a request that makes no sense.
	ErrInvalid = errors.New("invalid request")
)

// RecordError is an answer other than success.
type RecordError struct {
	Name   string
	Record records.Record // that is there, with ErrConflict
	Text   string
	Err    error // one of the errors of records
}

// Error names the record and what is wrong.
func (e *RecordError) Error() string {
	s := fmt.Sprintf("%q: %v", e.Name, e.Err)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Unwrap returns Err.
func (e *RecordError) Unwrap() error { return e.Err }

// errorOf returns the error of an answer, nil when it is a success.
func errorOf(name string, r records.Response) error {
	err, ok := map[records.Status]error{
		records.NotFound: ErrNotFound, records.Conflict: ErrConflict, records.TooLarge: ErrTooLarge, records.Full: ErrFull,
		records.NoMajority: ErrNoMajority, records.Unknown: ErrUnknown, records.Invalid: ErrInvalid, records.Busy: ErrBusy,
		records.Elsewhere: ErrNoMajority,
	}[r.Status]
	if !ok {
		return nil
	}
	return &RecordError{Name: name, Record: r.Record, Text: r.Text, Err: err}
}

// Waits between attempts of a request.
const (
	retryFirst = 10 * time.Millisecond
	retryLast  = 500 * time.Millisecond
	askWait    = 3 * time.Second // for the answer of another node
	maxMoves   = 4               // nodes asked one after the other without a wait
)

// Do has a request done by the node that leads its record, wherever that is, and goes
// on until ctx ends when it is not clear who that is. A request without an ID gets one;
// whoever repeats a request gives the same ID, and it is done once. The answer has one
// of the statuses of [records.Status] that are final, or, when ctx has ended, the last
// one that was not, with ctx's cause.
func (n *Node) Do(ctx context.Context, q records.Request) (records.Response, error) {
	if q.ID == (records.RequestID{}) {
		q.ID = NewRequestID()
	}
	at, wait := n.self, retryFirst
	var last records.Response
	var failure error
	for moves := 0; ; moves++ {
		r, uncertain, err := n.doAt(ctx, at, q)
		if err == nil && isFinal(r.Status) {
			return r, nil
		}
		q.Again = q.Again || uncertain
		if err == nil {
			last, failure = r, nil
		} else {
			failure = err
		}
		next := n.whereNext(ctx, at, q, r, err)
		if next.ID == at.ID || moves >= maxMoves {
			if err := pause(ctx, &wait); err != nil {
				return last, errors.Join(err, failure)
			}
			moves = 0
		}
		at = next
	}
}

// pause waits, longer each time, or until ctx ends.
func pause(ctx context.Context, wait *time.Duration) error {
	t := time.NewTimer(*wait)
	defer t.Stop()
	*wait = min(2**wait, retryLast)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// isFinal reports whether another attempt would end no other way.
func isFinal(s records.Status) bool {
	switch s {
	case records.Elsewhere, records.NoMajority, records.Busy:
		return false
	}
	return true
}

// whereNext returns whom to ask after at has not done q.
func (n *Node) whereNext(ctx context.Context, at dht.Peer, q records.Request, r records.Response, err error) dht.Peer {
	switch {
	case err != nil && at.ID == n.self.ID:
		return at
	case err != nil:
		return n.self // knows best who is alive
	case r.Status != records.Elsewhere:
		// It led once, perhaps, and has not heard who does now: whoever owns the point should.
		if p, err := n.owner(ctx, records.Key(Space(), q.Name)); err == nil {
			return p
		}
		return at
	case r.Leader.Address.IsValid() && r.Leader.ID != at.ID:
		return r.Leader
	}
	f, err := n.owner(ctx, r.Point)
	if err != nil {
		return n.self
	}
	return f
}

// owner returns who owns a point: at once when all members are known.
func (n *Node) owner(ctx context.Context, point dht.ID) (p dht.Peer, err error) {
	known := false
	if err := n.call(ctx, func(l *loop) { p, known = l.ring.Owner(point) }); err != nil || known {
		return p, err
	}
	f, err := n.Lookup(ctx, point)
	return f.Owner, err
}

// doAt makes one attempt at one node. When it fails, uncertain says whether the request
// may have been done all the same.
func (n *Node) doAt(ctx context.Context, at dht.Peer, q records.Request) (r records.Response, uncertain bool, err error) {
	if at.ID == n.self.ID {
		return n.doHere(ctx, q)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askWait, errNoAnswer)
	defer cancel()
	c, err := n.links.connect(ctx, at)
	if err != nil {
		return r, false, err
	}
	m, err := c.Call(ctx, link.Message{Method: methodDoHere, Body: appendRequest(q)})
	if err != nil {
		return r, true, fromLink(err)
	}
	r, err = parseResponse(m.Body)
	return r, len(m.Header) > 0, err
}

// wanted is somebody who waits for the answer to a request.
type wanted struct {
	to    chan<- answered
	early bool // it came while the request was given to the engine
}

// answered is an answer of the engine. One that comes at once and is no success says
// that nothing was done.
type answered struct {
	r     records.Response
	early bool
}

// doHere gives a request to this node's engine.
func (n *Node) doHere(ctx context.Context, q records.Request) (r records.Response, uncertain bool, err error) {
	to := make(chan answered, 1)
	err = n.post(ctx, func(l *loop) { l.store.do(q, to) })
	if err != nil {
		return r, false, err
	}
	select {
	case a := <-to:
		return a.r, !a.early, nil
	case <-n.ended:
		return r, true, ErrEnded
	case <-ctx.Done():
	}
	_ = n.post(context.WithoutCancel(ctx), func(l *loop) {
		if w := l.store.waiting[q.ID]; w != nil && w.to == (chan<- answered)(to) {
			delete(l.store.waiting, q.ID)
		}
	})
	return r, true, context.Cause(ctx)
}

// do gives a request to the engine.
func (s *store) do(q records.Request, to chan<- answered) {
	if s.waiting[q.ID] != nil {
		r := records.Response{ID: q.ID, Status: records.Busy, Text: "the request is under way"}
		to <- answered{r: r} // has room
		return
	}
	w := &wanted{to: to, early: true}
	s.waiting[q.ID] = w
	s.engine.Do(time.Now(), q)
	s.events()
	w.early = false
}

// do is Do for callers who want the record or an error.
func (n *Node) do(ctx context.Context, q records.Request) (records.Record, error) {
	r, err := n.Do(ctx, q)
	return r.Record, doError(q.Name, r, err)
}

// doError is the error of an answer and of the attempts to get it.
func doError(name string, r records.Response, err error) error {
	if err == nil {
		return errorOf(name, r)
	}
	if why := errorOf(name, r); why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return fmt.Errorf("%q: %w", name, err)
}

// Get returns the record of a name; it is not older than anything that was answered
// before.
func (n *Node) Get(ctx context.Context, name string) (records.Record, error) {
	return n.do(ctx, records.Request{Op: records.Get, Name: name})
}

// Put stores a value of at most 64 KiB under a name, for ttl, or for ever when that is
// zero. It returns when a majority of the nodes that keep it have it on disk.
func (n *Node) Put(ctx context.Context, name string, value []byte, ttl time.Duration) (records.Record, error) {
	return put(name, value, ttl, func(q records.Request) (records.Record, error) { return n.do(ctx, q) })
}

// put stores a value. It reads the version before: should the write have to be repeated,
// the record can tell for longer whether it was done.
func put[R any](name string, value []byte, ttl time.Duration, do func(records.Request) (R, error)) (R, error) {
	q := records.Request{ID: NewRequestID(), Op: records.Put, Name: name, Value: value, TTL: ttl}
	now, err := do(records.Request{Op: records.Get, Name: name})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return now, err
	}
	q.Version = versionOf(now)
	return do(q)
}

// versionOf returns the version of a record of nodes or clients.
func versionOf(r any) uint64 {
	switch r := r.(type) {
	case records.Record:
		return r.Version
	case Record:
		return r.Version
	}
	return 0
}

// remove removes a record: the version that it has just read, so that a request that
// is repeated does not remove what others have written since.
func remove[R any](name string, version uint64, do func(records.Request) (R, error)) (R, error) {
	if version != 0 {
		return do(records.Request{Op: records.Delete, Name: name, Version: version})
	}
	for {
		now, err := do(records.Request{Op: records.Get, Name: name})
		if err != nil {
			return now, err
		}
		now, err = do(records.Request{Op: records.Delete, Name: name, Version: versionOf(now)})
		if !errors.Is(err, ErrConflict) {
			return now, err
		}
	}
}

// Swap stores a value if version is that of the record; 0 means that there must be
// none. Else the error is ErrConflict.
func (n *Node) Swap(ctx context.Context, name string, version uint64, value []byte) (records.Record, error) {
	return n.do(ctx, records.Request{Op: records.Swap, Name: name, Version: version, Value: value})
}

// Delete removes a record: with a version other than 0 only that one.
func (n *Node) Delete(ctx context.Context, name string, version uint64) (records.Record, error) {
	return remove(name, version, func(q records.Request) (records.Record, error) { return n.do(ctx, q) })
}

// Scan lists the records whose names begin with prefix, at most limit from the first
// name after after on, in the order of names. What changes meanwhile may be missing.
func (n *Node) Scan(ctx context.Context, prefix, after string, limit int) (list []records.Record, more bool, err error) {
	var living []dht.Peer
	if err := n.call(ctx, func(l *loop) { living = l.living() }); err != nil {
		return nil, false, err
	}
	q := records.Request{Op: records.Scan, Name: prefix, Value: []byte(after), Limit: limit}
	cut := "" // names beyond it were not all listed
	var silent []string
	for _, p := range withSelf(living, n.self) {
		q.ID = NewRequestID()
		r, _, err := n.doAt(ctx, p, q)
		if err != nil || r.Status != records.OK {
			silent = append(silent, fmt.Sprintf("%v: %v", p.Address, errors.Join(err, errorOf(prefix, r))))
			continue
		}
		list = append(list, r.Records...)
		if r.More && len(r.Records) > 0 {
			if last := r.Records[len(r.Records)-1].Name; !more || last < cut {
				more, cut = true, last
			}
		}
	}
	if len(silent) > 0 {
		return nil, false, fmt.Errorf("dht/peer: scan: %w: %s", ErrNoMajority, strings.Join(silent, "; "))
	}
	slices.SortFunc(list, func(a, b records.Record) int { return strings.Compare(a.Name, b.Name) })
	list = slices.CompactFunc(list, func(a, b records.Record) bool { return a.Name == b.Name })
	if more {
		list = slices.DeleteFunc(list, func(r records.Record) bool { return r.Name > cut })
	}
	if limit > 0 && len(list) > limit {
		list, more = list[:limit], true
	}
	return list, more, nil
}

// withSelf returns list with self in it once.
func withSelf(list []dht.Peer, self dht.Peer) []dht.Peer {
	list = slices.DeleteFunc(slices.Clone(list), func(p dht.Peer) bool { return p.ID == self.ID })
	return append(list, self)
}
