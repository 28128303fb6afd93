package peer

import (
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/dht"
)

// Errors of requests.
var (
	// ErrEnded reports a node that has stopped.
	ErrEnded = errors.New("the node has stopped")
	// ErrBusy reports a node that has more to do than it can hold.
	ErrBusy = errors.New("the node is busy")
)

// Node is a member of a ring. Its methods are safe for concurrent use.
type Node struct {
	cfg      Config
	self     dht.Peer
	listens  netip.AddrPort
	disk     *disk
	links    *links
	in       inputs
	save     chan job
	services *services
	sessions *sessions
	contacts *contacts
	stop     context.CancelCauseFunc
	wg       sync.WaitGroup
	ended    chan struct{}
	err      error // why; after ended
}

// inputs are what the loop takes.
type inputs struct {
	batches chan inbound
	calls   chan func(*loop)
	saved   chan uint64
	gone    chan dht.Peer
}

// inbound is what another node sent. What there is to say at once goes to answer; nil
// wants none.
type inbound struct {
	from   dht.Peer
	list   []parcel
	answer chan<- []parcel
}

// Open opens the node's directory and makes it a member of its ring, until ctx ends or
// its disk fails: see [Node.Wait]. When ctx ends, the node tells its neighbours that it
// leaves. The errors are ErrLocked, ErrDamaged and what the system says.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{cfg: cfg.withDefaults(), ended: make(chan struct{}), save: make(chan job, 1)}
	n.in = inputs{make(chan inbound, 1024), make(chan func(*loop), 4096), make(chan uint64, 4), make(chan dht.Peer, 256)}
	if err := n.open(ctx); err != nil {
		return nil, fmt.Errorf("dht/peer: open: %w", err)
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	if n.disk, err = openDisk(n.cfg.Dir); err != nil {
		return errors.Join(err, closeGiven(n.cfg))
	}
	if err = n.connect(ctx); err != nil {
		return errors.Join(err, n.disk.close())
	}
	return nil
}

// closeGiven closes a listener that was given and will not be used.
func closeGiven(cfg Config) error {
	if cfg.Listener == nil {
		return nil
	}
	return cfg.Listener.Close()
}

// connect starts the node, whose disk is open.
func (n *Node) connect(ctx context.Context) error {
	key, err := loadIdentity(n.cfg.Dir)
	if err != nil {
		return errors.Join(err, closeGiven(n.cfg))
	}
	known, err := n.disk.members()
	if err != nil {
		return errors.Join(err, closeGiven(n.cfg))
	}
	n.self = dht.Peer{ID: IDOf(key.Public().(ed25519.PublicKey))}
	if n.self.Incarnation, err = n.disk.newIncarnation(); err != nil {
		return errors.Join(err, closeGiven(n.cfg))
	}
	ln, err := listen(ctx, n.cfg)
	if err != nil {
		return err
	}
	n.listens = listensAt(ln)
	n.self.Address = advertised(n.cfg, n.listens)
	if err := saveAddress(n.cfg.Dir, n.self, n.listens); err != nil {
		return errors.Join(err, ln.Close())
	}
	// The links outlive ctx, so that the node can say goodbye.
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	n.stop = stop
	n.contacts = newContacts(n.cfg.Join)
	n.services = newServices(run, n.cfg.Workers)
	n.sessions = newSessions(run, n)
	n.links, err = newLinks(run, linksConfig{
		key: key, secret: n.cfg.Secret, listener: ln, self: n.self,
		hear: n.hear, gone: n.isGone, serve: n.serve, logger: n.cfg.Logger,
	})
	if err != nil {
		stop(err)
		return err
	}
	l, err := newLoop(n, known)
	if err != nil {
		stop(err)
		n.links.wait()
		return err
	}
	n.wg.Go(func() { n.runSaver(run) })
	n.wg.Go(func() { n.runContacts(run) })
	n.wg.Go(func() { n.runMembers(run) })
	go func() {
		l.run(ctx, run)
		n.finish(context.Cause(run))
	}()
	return nil
}

// finish ends what is left of the node after its loop.
func (n *Node) finish(why error) {
	if errors.Is(why, context.Canceled) || errors.Is(why, errLeft) {
		why = nil
	}
	n.stop(errLeft)
	n.links.wait()
	n.services.wait()
	n.sessions.wg.Wait()
	n.wg.Wait()
	n.err = errors.Join(why, n.disk.close())
	close(n.ended)
}

// errLeft ends a node that was asked to end.
var errLeft = errors.New("the node has left")

// Wait returns once the node has ended and nothing of it is left: nil after the end of
// Open's context.
func (n *Node) Wait() error {
	<-n.ended
	return n.err
}

// Self returns the node as others know it.
func (n *Node) Self() dht.Peer { return n.self }

// Addr returns where the node listens.
func (n *Node) Addr() netip.AddrPort { return n.listens }

// seed returns a number that nobody can guess.
func seed() (uint64, error) {
	var b [8]byte
	_, err := crand.Read(b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

// hear takes what another node sent. It waits while the loop is behind, and then that
// node does.
func (n *Node) hear(ctx context.Context, from dht.Peer, list []parcel, wantsAnswer bool) []parcel {
	in := inbound{from: from, list: list}
	var answer chan []parcel
	if wantsAnswer {
		answer = make(chan []parcel, 1)
		in.answer = answer
	}
	select {
	case n.in.batches <- in:
	case <-ctx.Done():
		return nil
	case <-n.ended:
		return nil
	}
	if !wantsAnswer {
		return nil
	}
	select {
	case list := <-answer:
		return list
	case <-ctx.Done():
	case <-n.ended:
	}
	return nil
}

// isGone hints to the ring that a node may be dead.
func (n *Node) isGone(p dht.Peer, why error) {
	n.cfg.Logger.Debug("connection lost", "node", p.Address, "error", why)
	select {
	case n.in.gone <- p:
	default: // the ring finds out by itself
	}
}

// call has the loop call f, and waits for it.
func (n *Node) call(ctx context.Context, f func(*loop)) error {
	done := make(chan struct{})
	if err := n.post(ctx, func(l *loop) { defer close(done); f(l) }); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.ended:
		return ErrEnded
	}
}

// post has the loop call f, and does not wait for it.
func (n *Node) post(ctx context.Context, f func(*loop)) error {
	select {
	case n.in.calls <- f:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.ended:
		return ErrEnded
	}
}

// runMembers writes down whom the node knows.
func (n *Node) runMembers(ctx context.Context) {
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	var last []dht.Peer
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var list []dht.Peer
		if n.call(ctx, func(l *loop) { list = l.remembered() }) != nil {
			continue
		}
		if slices.Equal(list, last) {
			continue
		}
		if err := n.disk.saveMembers(list); err != nil {
			n.cfg.Logger.Warn("the members were not written down", "error", err)
			continue
		}
		last = list
	}
}
