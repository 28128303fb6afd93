package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// After a new generation has begun, what was written before is still sealed under the
// old ones. An order to rekey (rekeyorder.go) has it sealed anew, by all machines
// together: each does the files of whose holders it is the first among those that it is
// connected with, file by file, in the background. Each file is a change of its own, so
// whatever ends the work, it goes on where it was. The other holders of a file seal
// their own copy when they hear of it; nothing but the operation travels.

const (
	// rekeyBatch and rekeyBatchBytes bound the files that are sealed anew in one
	// change.
	rekeyBatch      = 64
	rekeyBatchBytes = 16 << 20
	// rekeyEvery is how often what is left is looked at, while something is; and
	// rekeyIdle while nothing is.
	rekeyEvery = 10 * time.Second
	rekeyIdle  = time.Hour
	// rekeyBurst is how many bytes are read at once where a rate is set.
	rekeyBurst = 256 << 10
	// maxResealed bounds the versions of which is remembered how they were sealed.
	maxResealed = 1 << 16
)

// Rekey is how far the sealing anew has come, as one machine sees it.
type Rekey struct {
	// Ordered says that it was ordered; Generation is the oldest generation that shall
	// be left.
	Ordered    bool   `json:"ordered"`
	Generation uint32 `json:"generation"`
	// Files and Bytes are left to do in the whole pool. Of them AwayFiles and
	// AwayBytes wait for machines that this one is not connected with.
	Files     int64 `json:"files"`
	Bytes     int64 `json:"bytes"`
	AwayFiles int64 `json:"away_files,omitempty"`
	AwayBytes int64 `json:"away_bytes,omitempty"`
	// Waiting are the names of the machines that hold those.
	Waiting []string `json:"waiting,omitempty"`
	// Done and DoneBytes are what this machine has sealed anew since it was opened,
	// Failed how many files it could not in the last pass, and Error why one of them.
	Done      int64 `json:"done"`
	DoneBytes int64 `json:"done_bytes"`
	Failed    int64 `json:"failed,omitempty"`
	// Copies is how many files it has sealed as another machine did, from its own copy.
	Copies int64  `json:"copies,omitempty"`
	Error  string `json:"error,omitempty"`
	// Limit is the most bytes a second that a machine may take, 0 for no limit; Rate
	// what this one does now.
	Limit int64 `json:"limit,omitempty"`
	Rate  int64 `json:"rate,omitempty"`
}

// rekeying is the work of one machine.
type rekeying struct {
	wanted chan struct{} // has one when there may be something to do

	mu       sync.Mutex
	now      Rekey
	began    time.Time                   // the pass under way; zero: none
	passed   int64                       // bytes done in it
	resealed map[store.Dot]store.Content // how versions that others sealed anew were sealed
}

// wantRekey has rekey look whether there is something to do.
func (m *Machine) wantRekey() {
	select {
	case m.rekeying.wanted <- struct{}{}:
	default:
	}
}

// rekey seals anew what is under older generations than the order says, until ctx ends.
func (m *Machine) rekey(ctx context.Context) error {
	for {
		next := rekeyIdle
		left, err := m.rekeyPass(ctx)
		if err != nil && ctx.Err() == nil {
			m.log.Warn("files are not sealed anew", "error", err)
			m.rekeying.stopped(err)
		}
		if err != nil || left {
			next = rekeyEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.rekeying.wanted:
		case <-time.After(next):
		}
	}
}

// rekeyPass looks at all files once and does those that are this machine's to do. It
// reports whether some are left, to it or to others.
func (m *Machine) rekeyPass(ctx context.Context) (left bool, err error) {
	if _, err := m.CountRekey(ctx); err != nil {
		return false, err
	}
	state := m.rekeying.state()
	if !state.Ordered || state.Files == 0 || !m.keys.Has(state.Generation) {
		return state.Files > 0, nil
	}
	m.rekeying.begin(time.Now())
	defer m.rekeying.finish()
	pace := pacer(state.Limit)
	var batch []tree.Entry
	var size int64
	var inner error
	flush := func() {
		if len(batch) > 0 && inner == nil {
			inner = m.reseal(ctx, batch, pace)
		}
		batch, size = batch[:0], 0
	}
	err = m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if outdated(e, state.Generation) && m.firstOf(e.Version.Holders, append(m.sources(nil), m.ID())) {
			batch = append(batch, e)
			size += e.Version.Content.Size
		}
		if len(batch) >= rekeyBatch || size >= rekeyBatchBytes {
			flush()
		}
		return inner == nil && ctx.Err() == nil
	})
	flush()
	if err = errors.Join(err, inner); err != nil {
		return true, err
	}
	count, err := m.CountRekey(ctx)
	if err == nil && count.Files == 0 {
		m.log.Info("all files are sealed under the newest keys", "files", count.Done, "bytes", count.DoneBytes)
		_, err = m.drive.Collect(ctx) // the chunks of older generations, as far as no history needs them
	}
	return count.Files > 0, err
}

// outdated reports whether a file has bytes that are sealed under an older generation.
func outdated(e tree.Entry, generation uint32) bool {
	return !e.Dir && e.Version.Content.Size > 0 && e.Version.Content.Oldest < generation
}

// pacer returns what waits so that no more than limit bytes a second are taken, nil for
// no limit.
func pacer(limit int64) func(context.Context, int) error {
	if limit <= 0 {
		return nil
	}
	l := rate.NewLimiter(rate.Limit(limit), rekeyBurst)
	return l.WaitN
}

// reseal does one batch.
func (m *Machine) reseal(ctx context.Context, batch []tree.Entry, pace func(context.Context, int) error) error {
	failed, err := m.drive.Reseal(ctx, batch, pace)
	if err != nil {
		return err
	}
	m.rekeying.mu.Lock()
	defer m.rekeying.mu.Unlock()
	r := &m.rekeying.now
	for _, e := range batch {
		if why := failed[e.ID]; why != nil {
			r.Failed++
			r.Error = fmt.Sprintf("%s: %v", e.Path, why)
			m.log.Debug("a file is not sealed anew", "path", e.Path, "error", why)
			continue
		}
		r.Done++
		r.DoneBytes += e.Version.Content.Size
		r.Files = max(0, r.Files-1)
		r.Bytes = max(0, r.Bytes-e.Version.Content.Size)
		m.rekeying.passed += e.Version.Content.Size
	}
	return nil
}

// CountRekey looks at all files and returns what is left to do. Without an order it is
// what an order now would have to do.
func (m *Machine) CountRekey(ctx context.Context) (Rekey, error) {
	var order rekeyOrder
	if err := m.core.call(ctx, func() { order = m.core.heardOf.rekey }); err != nil {
		return Rekey{}, err
	}
	generation, ordered := order.Generation, order.Generation > 0
	if !ordered {
		generation = m.newestGeneration()
	}
	here := append(m.sources(nil), m.ID())
	connected := map[store.MachineID]bool{}
	for _, id := range here {
		connected[id] = true
	}
	var c Rekey
	waiting := map[store.MachineID]bool{}
	err := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if outdated(e, generation) {
			c.Files++
			c.Bytes += e.Version.Content.Size
			if !anyOf(e.Version.Holders, connected) {
				c.AwayFiles++
				c.AwayBytes += e.Version.Content.Size
				for _, h := range e.Version.Holders {
					waiting[h] = true
				}
			}
		}
		return ctx.Err() == nil
	})
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return Rekey{}, fmt.Errorf("node: rekey: %w", err)
	}
	var names []string
	for _, id := range sortedMachines(waiting) {
		names = append(names, m.NameOf(id))
	}
	m.rekeying.mu.Lock()
	defer m.rekeying.mu.Unlock()
	r := &m.rekeying.now
	r.Ordered, r.Generation, r.Limit = ordered, generation, order.Rate
	r.Files, r.Bytes, r.AwayFiles, r.AwayBytes = c.Files, c.Bytes, c.AwayFiles, c.AwayBytes
	r.Waiting = names
	return m.rekeying.snapshot(time.Now()), nil
}

func anyOf(ids []store.MachineID, in map[store.MachineID]bool) bool {
	for _, id := range ids {
		if in[id] {
			return true
		}
	}
	return false
}

func sortedMachines(set map[store.MachineID]bool) []store.MachineID {
	v := store.Vector{}
	for id := range set {
		v[id] = 1
	}
	return v.Machines()
}

func (r *rekeying) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.passed, r.now.Failed, r.now.Error = now, 0, 0, ""
}

// stopped notes why a pass did not come to its end.
func (r *rekeying) stopped(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Error = err.Error()
}

func (r *rekeying) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = time.Time{}
}

// state returns what was last counted, and done since.
func (r *rekeying) state() Rekey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot(time.Now())
}

// snapshot is state; the caller holds the lock.
func (r *rekeying) snapshot(now time.Time) Rekey {
	s := r.now
	if took := now.Sub(r.began); !r.began.IsZero() && took > 0 {
		s.Rate = int64(float64(r.passed) / took.Seconds())
	}
	return s
}

// lookAtKeys takes note of a version that has appeared: whether it has to be sealed
// anew, or has been and can be here too, from what is here. The caller is the core.
func (c *core) lookAtKeys(ev tree.Event) {
	if ev.Content.Size > 0 && ev.Content.Oldest < c.heardOf.rekey.Generation {
		c.m.wantRekey()
	}
	r := &c.m.rekeying
	if ev.From == (store.Content{}) || ev.Dot.Machine == c.m.ID() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resealed == nil {
		r.resealed = map[store.Dot]store.Content{}
	}
	if len(r.resealed) < maxResealed { // of more the chunks are fetched
		r.resealed[ev.Dot] = ev.From
	}
}

// resealHere seals anew what another machine has sealed anew, as far as the bytes are
// here, so that they need not be fetched. What does not succeed is fetched.
func (m *Machine) resealHere(ctx context.Context, versions []replicate.Assignment) {
	for _, a := range versions {
		r := &m.rekeying
		r.mu.Lock()
		from, ok := r.resealed[a.Dot]
		delete(r.resealed, a.Dot)
		r.mu.Unlock()
		if !ok {
			continue
		}
		if err := m.drive.ResealHere(ctx, from, a.Content); err != nil {
			m.log.Debug("a version is fetched as another machine has sealed it anew", "version", a.Dot.String(), "error", err)
			continue
		}
		r.mu.Lock()
		r.now.Copies++
		r.mu.Unlock()
	}
}
