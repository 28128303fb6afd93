package replica

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/log"
	"github.com/aether-lan/aether/paxos/peer"
)

// serve answers requests of clients and other nodes.
func (r *Replica) serve(ctx context.Context, method uint16, header, body []byte) (h, b []byte, err error) {
	switch method {
	case methodPiece:
		b, err = r.piece(ctx, header)
	case methodCommand:
		b, err = r.command(ctx, body)
	case methodGet:
		b, err = answer(header, func(q getRequest) (getReply, error) { return r.get(ctx, q) })
	case methodRange:
		b, err = answer(header, func(q rangeRequest) (rangeReply, error) { return r.rangeOf(ctx, q) })
	case methodWatch:
		b, err = answer(header, func(q watchRequest) (watchReply, error) { return r.watch(ctx, q) })
	case methodStatus:
		var s Status
		s, err = r.Status(ctx)
		b = encode(s)
	case methodMember:
		b, err = answer(header, func(q memberRequest) (struct{}, error) { return struct{}{}, r.member(ctx, q) })
	case methodSnapshot:
		var s paxos.Snapshot
		s, err = r.makeSnapshot(ctx)
		b = encode(s)
	default:
		err = fmt.Errorf("%w: method %d", errRequest, method)
	}
	return nil, b, r.coded(err)
}

// answer reads a request and shows the answer to it.
func answer[Q, A any](header []byte, f func(Q) (A, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(header, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	a, err := f(q)
	if err != nil {
		return nil, err
	}
	return encode(a), nil
}

// coded gives an error the code by which clients know it.
func (r *Replica) coded(err error) error {
	if err == nil {
		return nil
	}
	var damaged *log.DamagedError
	if errors.As(err, &damaged) {
		r.broke(err)
		return &peer.Error{Code: codeEnded, Text: err.Error()}
	}
	for _, c := range []struct {
		err  error
		code uint16
	}{
		{ErrUncertain, codeUncertain}, {ErrFull, codeFull}, {ErrEnded, codeEnded}, {paxos.ErrStopped, codeEnded},
		{paxos.ErrBusy, codeBusy}, {kv.ErrLagging, codeLagging}, {errRequest, codeRequest}, {paxos.ErrMember, codeMember},
		// The node is going away, or the connection: whoever asked may ask another node.
		{log.ErrClosed, codeEnded}, {context.Canceled, codeEnded}, {context.DeadlineExceeded, codeEnded}, {net.ErrClosed, codeEnded}, {io.EOF, codeEnded},
	} {
		if errors.Is(err, c.err) {
			return &peer.Error{Code: c.code, Text: err.Error()}
		}
	}
	if errors.Is(err, paxos.ErrNotLeader) {
		return &peer.Error{Code: codeNotLeader, Text: r.leaderAddress()}
	}
	return err
}

// leaderAddress returns where the leader is, "" when there is none.
func (r *Replica) leaderAddress() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var id paxos.NodeID
	if err := r.call(ctx, func(l *loop) { id = l.node.Status(time.Now()).Leader }); err != nil {
		return ""
	}
	if a := r.mesh.Address(id); a.IsValid() {
		return a.String()
	}
	return ""
}

// call has the loop call f, and waits for it.
func (r *Replica) call(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	select {
	case r.in.calls <- func(l *loop) { defer close(done); f(l) }:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ended:
		return ErrEnded
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ended:
		return ErrEnded
	}
}

// piece reads from a snapshot.
func (r *Replica) piece(ctx context.Context, header []byte) ([]byte, error) {
	if len(header) != 16 {
		return nil, errRequest
	}
	b := make([]byte, pieceLength)
	slot := paxos.Slot(binary.BigEndian.Uint64(header))
	n, err := r.disk.ReadSnapshot(slot, b, int64(binary.BigEndian.Uint64(header[8:])&(1<<62-1)))
	if errors.Is(err, log.ErrSnapshot) {
		_ = r.call(ctx, func(l *loop) { l.lost(slot) })
	}
	return b[:n], err
}

// command proposes a command with this node's clock, and waits for the answer.
func (r *Replica) command(ctx context.Context, body []byte) ([]byte, error) {
	c, err := kv.ParseCommand(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	if c.Op == kv.Tick {
		return nil, fmt.Errorf("%w: a tick", errRequest)
	}
	res, err := r.Do(ctx, c)
	if err != nil {
		return nil, err
	}
	return res.Append(nil), nil
}

// Do has a command made, if this node leads, and returns the answer, which may be an
// error as well: see [kv.Code.Err]. Its Time is set. The errors are
// paxos.ErrNotLeader, paxos.ErrBusy, ErrFull, ErrUncertain, ErrEnded and ctx's cause;
// after the last three the command may be made nevertheless, and should be asked for
// again, the same, from any node.
func (r *Replica) Do(ctx context.Context, c kv.Command) (kv.Result, error) {
	if r.full.Load() && (c.Op == kv.Put || c.Op == kv.Grant) { // a session is needed to delete, too
		return kv.Result{}, ErrFull
	}
	c.Time = time.Now()
	to := make(chan outcome, 1)
	t := ticket{c.Client, c.Number, c.Op}
	r.pending.add(t, to)
	res, err := r.propose(ctx, proposal{c.Append(make([]byte, 0, len(c.Key)+len(c.Value)+len(c.Expect.Value)+64)), to}, to)
	if err != nil {
		r.pending.remove(t, to)
	}
	return res, err
}

// propose hands a proposal to the loop and waits for the outcome.
func (r *Replica) propose(ctx context.Context, p proposal, to <-chan outcome) (kv.Result, error) {
	if err := r.in.proposals.put(ctx, r.ended, p); err != nil {
		return kv.Result{}, err
	}
	select {
	case <-r.ended:
		return kv.Result{}, ErrEnded
	default: // when it ends after this, it tells all who wait
	}
	select {
	case o := <-to:
		return o.result, o.err
	case <-ctx.Done():
		return kv.Result{}, context.Cause(ctx)
	}
}

// Confirm waits until the state of this node has all that was answered to anybody
// before the call: a read after it is linearizable. Only the leader can.
func (r *Replica) Confirm(ctx context.Context) error {
	to := make(chan outcome, 1)
	if err := r.in.reads.put(ctx, r.ended, to); err != nil {
		return err
	}
	select {
	case o := <-to:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.ended:
		return ErrEnded
	}
}

// Get returns what a key has, and whether it has anything: linearizably, and so only
// on the leader. The errors are those of [Replica.Confirm].
func (r *Replica) Get(ctx context.Context, key []byte) (kv.Value, bool, error) {
	a, err := r.get(ctx, getRequest{Key: key})
	return a.Value, a.Found, err
}

func (r *Replica) get(ctx context.Context, q getRequest) (a getReply, err error) {
	find := func() (err error) {
		a.Value, a.Found, err = r.state.Get(q.Key)
		return err
	}
	if q.Stale {
		err = find()
		return a, err
	}
	err = r.read(ctx, find)
	return a, err
}

// maxRange bounds the keys, maxRangeBytes about the bytes of one answer.
const (
	maxRange      = 10_000
	maxRangeBytes = 8 << 20
)

func (r *Replica) rangeOf(ctx context.Context, q rangeRequest) (a rangeReply, err error) {
	find := func() error {
		a = rangeReply{}
		return r.rangeNow(q, &a)
	}
	if q.Stale {
		err = find()
		return a, err
	}
	err = r.read(ctx, find)
	return a, err
}

// rangeNow reads from the state as it is.
func (r *Replica) rangeNow(q rangeRequest, a *rangeReply) error {
	limit, size := maxRange, 0
	if q.Limit > 0 {
		limit = min(limit, q.Limit)
	}
	a.Slot = paxos.Slot(r.applied.Load()) // not later than what is read
	return r.state.Range(q.Prefix, q.From, func(k []byte, v kv.Value) bool {
		if len(a.Pairs) >= limit || size > maxRangeBytes {
			a.More = true
			return false
		}
		size += len(k) + len(v.Value)
		v.Value = append([]byte(nil), v.Value...)
		a.Pairs = append(a.Pairs, Pair{append([]byte(nil), k...), v})
		return true
	})
}

// watchFor is how long a request for changes waits for one.
const watchFor = 20 * time.Second

func (r *Replica) watch(ctx context.Context, q watchRequest) (a watchReply, err error) {
	a.Since = max(q.Since, paxos.Slot(r.applied.Load()))
	w, err := r.state.Watch(q.Prefix, q.Since)
	if err != nil {
		return a, err
	}
	defer w.Close()
	wait, cancel := context.WithTimeout(ctx, watchFor)
	defer cancel()
	list, err := w.Next(wait)
	if err != nil {
		if wait.Err() != nil && ctx.Err() == nil {
			return a, nil // nothing happened
		}
		return a, err
	}
	a.Events = list
	a.Since = max(a.Since, list[len(list)-1].Version)
	return a, nil
}

// Status returns how the node stands.
func (r *Replica) Status(ctx context.Context) (s Status, err error) {
	if err := r.call(ctx, func(l *loop) { s.Status = l.node.Status(time.Now()) }); err != nil {
		return s, err
	}
	s.Wiped, s.Connected, s.Addresses = r.wiped, r.mesh.Connected(), map[paxos.NodeID]netip.AddrPort{}
	for _, m := range s.Members.Members {
		if a := r.mesh.Address(m.ID); a.IsValid() {
			s.Addresses[m.ID] = a
		}
	}
	if s.Map, err = r.state.Status(); err != nil {
		return s, err
	}
	s.Disk.Syncs, s.Disk.Median, s.Disk.P99 = r.disk.Syncs()
	s.Disk.Full, s.Disk.Dropped = r.full.Load(), r.mesh.Dropped()
	if s.Disk.Full && s.Stuck == "" {
		s.Stuck = "the disk of this node is full: it takes no new values"
	}
	return s, nil
}
