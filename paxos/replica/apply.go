package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/log"
)

// task is one thing for the applier to do: apply entries, answer reads when their slot
// was applied, or fetch a snapshot.
type task struct {
	entries []paxos.Entry
	read    paxos.Slot
	answer  []chan<- outcome
	fetch   paxos.Snapshot
	from    paxos.NodeID
	install *log.Incoming // of fetch, complete
	// snapshot: make one now.
	snapshot bool
}

// outcome is the answer to a command or read.
type outcome struct {
	result kv.Result
	err    error
}

// tell hands an outcome to all readers.
func (t task) tell(o outcome) {
	for _, to := range t.answer {
		tell(to, o)
	}
}

// tell hands an outcome to who waits for the first one.
func tell(to chan<- outcome, o outcome) {
	select {
	case to <- o:
	default:
	}
}

// ticket names a command that somebody waits for.
type ticket struct {
	client kv.Client
	number uint64
	op     kv.Op
}

// pending are the commands that somebody waits for.
type pending struct {
	mu      sync.Mutex
	waiting map[ticket]chan<- outcome
}

// add registers who waits; a later one replaces an earlier, which is told.
func (p *pending) add(t ticket, to chan<- outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.waiting[t]; old != nil {
		tell(old, outcome{err: ErrUncertain})
	}
	p.waiting[t] = to
}

// remove forgets who waits, if it is still to.
func (p *pending) remove(t ticket, to chan<- outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting[t] == to {
		delete(p.waiting, t)
	}
}

// done tells those who wait for any of list.
func (p *pending) done(list []kv.Applied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range list {
		if len(p.waiting) == 0 {
			return
		}
		a := &list[i]
		t := ticket{a.Client, a.Number, a.Op}
		if to := p.waiting[t]; to != nil {
			delete(p.waiting, t)
			tell(to, outcome{result: a.Result})
		}
	}
}

func (p *pending) failAll(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, to := range p.waiting {
		delete(p.waiting, t)
		tell(to, outcome{err: err})
	}
}

// applier is the goroutine that has the state.
type applier struct {
	r        *Replica
	fail     func(error)
	reads    []task // that wait for their slot
	wg       sync.WaitGroup
	fetching bool
	fetched  chan task
	snapped  chan error
	snapping bool
	last     paxos.Slot // of the last snapshot
	behind   behind
}

// behind is what was applied and is not flushed: what a node that is killed has to
// apply again when it starts.
type behind struct {
	entries, bytes int
	flushing       bool
	flushed        chan error
}

// Bounds of what is not flushed. When there is flushLate times as much, applying waits.
const (
	flushEntries = 1 << 14
	flushBytes   = 8 << 20
	flushLate    = 4
)

func (r *Replica) runApplier(ctx context.Context, fail func(error)) {
	a := &applier{r: r, fail: fail, fetched: make(chan task, 1), snapped: make(chan error, 1), last: r.disk.State().Snapshot.Slot}
	a.behind.flushed = make(chan error, 1)
	defer a.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			a.refuseReads()
			return
		case t := <-r.apply:
			a.do(ctx, t)
		case t := <-a.fetched:
			a.fetching = false
			if t.install != nil {
				a.install(ctx, t)
			}
		case err := <-a.behind.flushed:
			a.behind.flushing = false
			a.failed(err)
		case err := <-a.snapped:
			a.snapping = false
			if err != nil && ctx.Err() == nil {
				r.cfg.Logger.Error("snapshot", "error", err)
			}
		}
	}
}

func (a *applier) do(ctx context.Context, t task) {
	switch {
	case t.entries != nil:
		a.entries(ctx, t.entries)
	case t.answer != nil:
		a.reads = append(a.reads, t)
	case t.fetch.Slot > 0 && !a.fetching:
		a.fetching = true
		a.wg.Go(func() { a.fetch(ctx, t) })
	}
	a.answerReads()
	a.snapshot(ctx, t.snapshot)
}

// entries applies what was chosen, and tells who waits.
func (a *applier) entries(ctx context.Context, list []paxos.Entry) {
	done, _ := a.r.buffer.Applied()
	for len(list) > 0 && list[0].Slot <= done { // a snapshot had them
		list = list[1:]
	}
	if len(list) == 0 {
		return
	}
	results, err := a.r.state.Apply(list)
	if err == nil {
		err = a.flush(list)
	}
	if a.failed(err) {
		return
	}
	a.r.applied.Store(uint64(list[len(list)-1].Slot))
	a.r.pending.done(results)
	a.r.later(ctx, func(l *loop) {
		now := time.Now()
		for i, s := range results {
			if s.Slot%hashEvery == 0 || i == len(results)-1 {
				l.node.Applied(now, s.Slot, s.Hash)
			}
		}
	})
}

// failed stops the node when its disk has failed.
func (a *applier) failed(err error) bool {
	if err != nil {
		a.fail(stopped(err))
	}
	return err != nil
}

// flush stores the state when enough was applied, beside the applying unless that is
// far ahead.
func (a *applier) flush(list []paxos.Entry) error {
	b := &a.behind
	b.entries += len(list)
	for _, e := range list {
		b.bytes += len(e.Value)
	}
	switch {
	case b.entries < flushEntries && b.bytes < flushBytes:
		return nil
	case b.flushing && b.entries < flushLate*flushEntries && b.bytes < flushLate*flushBytes:
		return nil
	case b.flushing:
		b.entries, b.bytes = 0, 0
		return a.r.buffer.Flush()
	}
	b.entries, b.bytes, b.flushing = 0, 0, true
	a.wg.Go(func() { b.flushed <- a.r.buffer.Flush() })
	return nil
}

func (a *applier) answerReads() {
	done := paxos.Slot(a.r.applied.Load())
	kept := a.reads[:0]
	for _, t := range a.reads {
		if t.read > done {
			kept = append(kept, t)
			continue
		}
		t.tell(outcome{})
	}
	clear(a.reads[len(kept):])
	a.reads = kept
}

func (a *applier) refuseReads() {
	for _, t := range a.reads {
		t.tell(outcome{err: ErrEnded})
	}
	a.reads = nil
}

// later has the loop call f.
func (r *Replica) later(ctx context.Context, f func(*loop)) {
	select {
	case r.in.calls <- f:
	case <-ctx.Done():
	}
}

// snapshot makes a snapshot when it is time, beside the applying.
func (a *applier) snapshot(ctx context.Context, now bool) {
	if a.snapping || !now && paxos.Slot(a.r.applied.Load()) < a.last+a.r.cfg.SnapshotEvery {
		return
	}
	a.snapping, a.last = true, paxos.Slot(a.r.applied.Load())
	a.wg.Go(func() {
		_, err := a.r.makeSnapshot(ctx)
		a.snapped <- err
	})
}

// makeSnapshot writes a snapshot and lets the log be forgotten behind it.
func (r *Replica) makeSnapshot(ctx context.Context) (paxos.Snapshot, error) {
	r.snapping.Lock()
	defer r.snapping.Unlock()
	if err := r.buffer.Flush(); err != nil {
		return paxos.Snapshot{}, err
	}
	s, err := r.disk.Snapshot()
	if err != nil {
		return s, err
	}
	r.cfg.Logger.Info("snapshot", "slot", uint64(s.Slot), "bytes", s.Size)
	done := make(chan error, 1)
	r.later(ctx, func(l *loop) { done <- l.node.Compact(s, s.Slot-min(s.Slot, r.cfg.Keep)) })
	select {
	case err := <-done:
		return s, err
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

// fetch brings a snapshot from another node, piece by piece; what was there of an
// earlier try is not brought again.
func (a *applier) fetch(ctx context.Context, t task) {
	in, err := a.r.disk.Receive(t.fetch)
	for err == nil && in.Have() < int64(t.fetch.Size) {
		err = a.piece(ctx, t, in)
	}
	if err != nil {
		a.r.cfg.Logger.Warn("fetching a snapshot", "slot", uint64(t.fetch.Slot), "from", uint64(t.from), "error", err)
		if in != nil {
			_ = in.Close()
		}
		in = nil
	}
	t.install = in
	a.fetched <- t
}

// errEmpty says that a node sent less of a snapshot than there should be.
var errEmpty = errors.New("a piece of a snapshot is missing")

func (a *applier) piece(ctx context.Context, t task, in *log.Incoming) error {
	ctx, cancel := context.WithTimeout(ctx, pieceWait)
	defer cancel()
	_, b, err := a.r.mesh.Call(ctx, t.from, methodPiece, pieceHeader(t.fetch.Slot, uint64(in.Have())), nil)
	if err == nil && len(b) == 0 {
		err = errEmpty
	}
	if err == nil {
		b = b[:min(len(b), int(int64(t.fetch.Size)-in.Have()))]
		_, err = in.Write(b)
	}
	return err
}

// install makes a fetched snapshot the state, if it is still ahead of it.
func (a *applier) install(ctx context.Context, t task) {
	if done, _ := a.r.buffer.Applied(); t.fetch.Slot <= done {
		_ = t.install.Close()
		return
	}
	err := a.r.buffer.Replace(t.install.Install)
	if errors.Is(err, log.ErrSnapshot) {
		a.r.cfg.Logger.Warn("a snapshot is not what it should be", "slot", uint64(t.fetch.Slot), "from", uint64(t.from), "error", err)
		return
	}
	if err == nil {
		err = a.r.state.Reload()
	}
	if a.failed(err) {
		return
	}
	a.last = t.fetch.Slot
	a.r.applied.Store(uint64(t.fetch.Slot))
	a.r.cfg.Logger.Info("snapshot installed", "slot", uint64(t.fetch.Slot))
	a.r.later(ctx, func(l *loop) {
		if err := l.node.Restored(time.Now(), t.fetch); err != nil {
			a.r.cfg.Logger.Debug("restored", "error", err)
		}
	})
	a.answerReads()
}
