package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/replicate"
)

const (
	// swarmMin is from which size on a file is fetched piece by piece from all that have
	// some of it.
	swarmMin = 8 << 20
	// swarmStall is how long nothing may come before a fetch is given up.
	swarmStall = 20 * time.Second
	// swarmLook is how often it is looked who can be asked.
	swarmLook = 500 * time.Millisecond
	// pollHold is how long the question what is here is held back while there is nothing
	// new, and pollRest how long at least, so that much is told at once.
	pollHold = time.Second
	pollRest = 20 * time.Millisecond
	// maxPiecesReply bounds the bytes of pieces in an answer.
	maxPiecesReply = 4 << 20
)

// piecesRequest asks for pieces of a window: see replicate.Ask. Who knows that all are
// there says goodbye.
type piecesRequest struct {
	_       struct{} `cbor:",toarray"`
	Content store.Content
	Window  uint32
	Want    []byte
	Fresh   bool
	Known   int
	Limit   int64
}

// piecesReply says which pieces follow, and how long their bodies are, one behind the
// other: see replicate.SwarmAnswer. Has is empty where the window is not known here.
type piecesReply struct {
	_      struct{} `cbor:",toarray"`
	Has    []byte
	Taken  []byte
	Given  int
	Pieces []int
	Sizes  []int32
}

// parsePiecesRequest reads a request and refuses what cannot be.
func parsePiecesRequest(b []byte) (r piecesRequest, err error) {
	if err := strictCBOR.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: pieces: %w", errBadRequest, err)
	}
	if len(r.Want) > replicate.MaxPieces/8 || r.Limit < 0 || r.Known < -1 || r.Content.Size <= 0 {
		return r, fmt.Errorf("%w: pieces: %d bytes of wishes, limit %d, known %d, size %d", errBadRequest, len(r.Want), r.Limit, r.Known, r.Content.Size)
	}
	return r, nil
}

// parsePiecesReply reads an answer for a window of n pieces, with a body of so many
// bytes, and refuses what cannot be.
func parsePiecesReply(b []byte, n, body int) (r piecesReply, err error) {
	if err := strictCBOR.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", errWrong, err)
	}
	if len(r.Pieces) != len(r.Sizes) || r.Given < 0 ||
		len(r.Has) > 0 && !replicate.Pieces(r.Has).Fits(n) || len(r.Taken) > 0 && !replicate.Pieces(r.Taken).Fits(n) {
		return r, fmt.Errorf("%w: %d pieces, %d sizes", errWrong, len(r.Pieces), len(r.Sizes))
	}
	for i, size := range r.Sizes {
		if body -= int(size); size < 0 || body < 0 || r.Pieces[i] < 0 || r.Pieces[i] >= n {
			return r, fmt.Errorf("%w: piece %d of %d bytes", errWrong, r.Pieces[i], size)
		}
	}
	return r, nil
}

// servePieces answers methodPieces.
func (m *Machine) servePieces(ctx context.Context, peer store.MachineID, req link.Message) (link.Message, error) {
	ask, err := parsePiecesRequest(req.Header)
	if err != nil {
		return link.Message{}, err
	}
	w, err := m.windowOf(ask.Content, ask.Window)
	if errors.Is(err, store.ErrNotFound) {
		return encodePieces(piecesReply{}, nil)
	}
	if err != nil {
		return link.Message{}, fmt.Errorf("%w: pieces: %w", errBadRequest, err)
	}
	if len(ask.Want) == 0 && ask.Known >= len(w.parts) { // it says goodbye
		w.mu.Lock()
		w.share.Leaves(peer)
		w.mu.Unlock()
		return encodePieces(piecesReply{}, nil)
	}
	if len(ask.Want) == 0 {
		w.await(ctx, peer, ask.Known, m.drive.Has)
	}
	w.mu.Lock()
	now := time.Now()
	w.look(now, m.drive.Has)
	w.share.Asks(now, peer, ask.Known < 0)
	chosen := w.share.Choose(now, peer, ask.Want, w.have, ask.Fresh, w.size, m.limits.room(min(ask.Limit, maxPiecesReply)))
	reply := piecesReply{Has: slices.Clone(w.have), Taken: w.share.Taken(now, peer), Given: w.share.Given()}
	w.mu.Unlock()
	var body []byte
	for _, i := range chosen {
		b, err := m.bodies.Get(w.parts[i].Ref)
		if err != nil {
			replicate.Pieces(reply.Has).Clear(i)
			w.lost(i)
			continue
		}
		reply.Pieces, reply.Sizes = append(reply.Pieces, i), append(reply.Sizes, int32(len(b)))
		body = append(body, b...)
	}
	if err := m.sending(ctx, len(body)); err != nil {
		return link.Message{}, fmt.Errorf("node: pieces: %w", err)
	}
	return encodePieces(reply, body)
}

func encodePieces(r piecesReply, body []byte) (link.Message, error) {
	h, err := cbor.Marshal(r)
	if err != nil {
		return link.Message{}, fmt.Errorf("node: pieces: %w", err)
	}
	return link.Message{Header: h, Body: body}, nil
}

// await returns when more than known pieces are here, or after a while.
func (w *window) await(ctx context.Context, peer store.MachineID, known int, have func(store.Ref) bool) {
	hold := time.NewTimer(pollHold)
	defer hold.Stop()
	for {
		w.mu.Lock()
		w.look(time.Now(), have)
		w.share.Asks(time.Now(), peer, known < 0)
		more, changed := w.have.Count() > known, w.changed
		w.mu.Unlock()
		if more {
			return
		}
		select {
		case <-changed:
			select { // more may come at once
			case <-time.After(pollRest):
			case <-ctx.Done():
			}
		case <-hold.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// fetchLarge brings what is missing here of a large version from all machines that have
// some of it. whole is false when nobody has the rest.
func (m *Machine) fetchLarge(ctx context.Context, peer store.MachineID, a replicate.Assignment) (whole bool, err error) {
	n, err := m.fetchLists(ctx, peer, a.Content)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for i := uint32(0); int(i)*replicate.MaxPieces < n; i++ {
		w, err := m.windowOf(a.Content, i)
		if err == nil {
			err = m.fetchWindow(ctx, peer, a, i, w)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// fetchLists brings the lists of c that are missing here and returns how many chunks of
// data they name.
func (m *Machine) fetchLists(ctx context.Context, peer store.MachineID, c store.Content) (n int, err error) {
	root, _ := chunk.Root(c)
	level := []chunk.Part{root}
	for depth := c.Depth; depth > 0; depth-- {
		var missing []store.Ref
		for _, p := range level {
			if !m.drive.Hold(p.Ref) {
				missing = append(missing, p.Ref)
			}
		}
		if err := m.ask(ctx, peer, missing, m.keep); err != nil {
			return 0, err
		}
		if level, err = m.descend(level); err != nil {
			return 0, err
		}
	}
	return len(level), nil
}

// fetchWindow brings the pieces of a window that are missing here.
func (m *Machine) fetchWindow(ctx context.Context, peer store.MachineID, a replicate.Assignment, number uint32, w *window) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	w.live = true
	for i, p := range w.parts {
		if m.drive.Hold(p.Ref) {
			w.have.Set(i)
		} else {
			w.have.Clear(i)
		}
	}
	s, err := replicate.NewSwarm(time.Now(), w.have, replicate.SwarmConfig{
		Self: m.ID(), Pieces: len(w.parts), Size: w.size, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	})
	w.mu.Unlock()
	if err != nil {
		return err
	}
	defer func() {
		w.mu.Lock()
		w.live = false
		w.tell()
		w.mu.Unlock()
	}()
	return (&swarming{m: m, s: s, w: w, number: number, version: a, first: peer, shunned: map[store.MachineID]bool{}, answers: make(chan pieceAnswer)}).run(ctx)
}

// swarming turns a swarm.
type swarming struct {
	m       *Machine
	s       *replicate.Swarm // under w.mu
	w       *window
	number  uint32
	version replicate.Assignment
	first   store.MachineID
	shunned map[store.MachineID]bool // sent rot
	up      []store.MachineID
	answers chan pieceAnswer
}

// pieceAnswer is an answer with who gave it.
type pieceAnswer struct {
	replicate.SwarmAnswer
	peer store.MachineID
}

// run goes on until all pieces are here, nothing comes any more, or this disk is full.
func (x *swarming) run(ctx context.Context) error {
	look := time.NewTicker(swarmLook)
	defer look.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	x.peers()
	for {
		now := time.Now()
		x.w.mu.Lock()
		x.s.HandleTimeout(now)
		asks, done, idle := x.s.Outgoing(), x.s.Done(), now.Sub(x.s.Progress())
		next, waits := x.s.NextTimeout()
		x.w.mu.Unlock()
		for _, a := range asks {
			go x.ask(ctx, a)
		}
		switch {
		case done:
			x.leave()
			return nil
		case idle > swarmStall:
			return fmt.Errorf("node: nothing more of a file has come for %v", swarmStall)
		case len(x.up) == 0:
			return link.ErrNotConnected
		case waits:
			due.Reset(max(time.Until(next), time.Millisecond))
		}
		select {
		case r := <-x.answers:
			if err := x.take(r); err != nil {
				return err
			}
		case <-due.C:
		case <-look.C:
			x.peers()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leave tells the others that nothing more is wanted of them, so that what was given here
// may be given to others as well.
func (x *swarming) leave() {
	for _, id := range x.up {
		x.m.jobs.Go(func() {
			ctx, cancel := context.WithTimeout(x.m.background, swarmStall)
			defer cancel()
			_ = x.m.askPieces(ctx, x.version.Content, x.number, x.w, replicate.Ask{Peer: id, Known: len(x.w.parts)}) // else it is found out in a moment
		})
	}
}

// take hands an answer to the swarm. It fails where this machine cannot keep what came.
func (x *swarming) take(r pieceAnswer) error {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	x.s.Answered(time.Now(), r.SwarmAnswer)
	if len(r.Got) > 0 {
		x.w.tell()
	}
	if errors.Is(r.Err, errWrong) {
		x.shunned[r.peer] = true
		x.s.PeerDown(r.peer)
	}
	if errors.Is(r.Err, store.ErrFull) {
		return r.Err
	}
	return nil
}

// peers tells the swarm who can be asked: who wrote the version, who shall keep it and
// who was said to have it, as far as they are connected.
func (x *swarming) peers() {
	here := slices.DeleteFunc(x.m.sources(x.version.Holders), func(id store.MachineID) bool {
		return x.shunned[id] || id != x.version.Dot.Machine && id != x.first && !slices.Contains(x.version.Holders, id)
	})
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	for _, id := range x.up {
		if !slices.Contains(here, id) {
			x.s.PeerDown(id)
		}
	}
	for _, id := range here {
		x.s.PeerUp(id)
	}
	x.up = here
}

// ask carries out one Ask.
func (x *swarming) ask(ctx context.Context, a replicate.Ask) {
	r := pieceAnswer{peer: a.Peer, SwarmAnswer: x.m.askPieces(ctx, x.version.Content, x.number, x.w, a)}
	select {
	case x.answers <- r:
	case <-ctx.Done():
	}
}

// askPieces makes one request and keeps what comes.
func (m *Machine) askPieces(ctx context.Context, c store.Content, number uint32, w *window, a replicate.Ask) replicate.SwarmAnswer {
	r := replicate.SwarmAnswer{ID: a.ID}
	h, err := cbor.Marshal(piecesRequest{Content: c, Window: number, Want: a.Want, Fresh: a.Fresh, Known: a.Known, Limit: a.Limit})
	if err != nil {
		r.Err = err
		return r
	}
	resp, err := m.call(ctx, a.Peer, link.Message{Method: methodPieces, Header: h})
	if err != nil {
		r.Err = err
		return r
	}
	defer resp.Release()
	if r.Err = m.receiving(ctx, len(resp.Body)); r.Err != nil {
		return r
	}
	reply, err := parsePiecesReply(resp.Header, len(w.parts), len(resp.Body))
	if err != nil {
		r.Err = m.wrong(a.Peer, FaultAnswer, fmt.Errorf("node: answer of %s: %w", a.Peer.Short(), err))
		return r
	}
	if len(reply.Has) > 0 {
		r.Has, r.Given = reply.Has, reply.Given
	}
	if len(reply.Taken) > 0 {
		r.Taken = reply.Taken
	}
	rest := resp.Body
	for i, piece := range reply.Pieces {
		body := rest[:reply.Sizes[i]:reply.Sizes[i]]
		rest = rest[reply.Sizes[i]:]
		ref := w.parts[piece].Ref
		err := m.checkFrom(ctx, a.Peer, ref, body)
		if errors.Is(err, chunk.ErrGeneration) {
			r.Err = err // the secret has to come first
			return r
		}
		if err != nil {
			r.Err = m.wrong(a.Peer, FaultRot, fmt.Errorf("node: %s sent a chunk that is not what it says: %w: %w", a.Peer.Short(), errWrong, err))
			return r
		}
		if r.Err = m.keep(ref, body); r.Err != nil {
			return r
		}
		r.Got = append(r.Got, piece)
	}
	return r
}
