package replica

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/log"
	"github.com/aether-lan/aether/paxos/peer"
)

// Errors of requests, beside those of paxos and kv.
var (
	// ErrFull reports a node whose disk has no room for new values.
	ErrFull = errors.New("the disk of the node is full")
	// ErrUncertain reports a command of which nobody knows whether it is or will be
	// made: ask again, with the same number.
	ErrUncertain = errors.New("the node lost the lead: the command may or may not be made")
	// ErrEnded reports a replica that has stopped.
	ErrEnded = errors.New("the node has stopped")
)

// Replica is a node of a replicated map. Its methods are safe for concurrent use.
type Replica struct {
	cfg     Config
	cluster paxos.ClusterID
	disk    *log.Log
	buffer  *kv.Buffer // before disk
	state   *kv.Machine
	mesh    *peer.Mesh
	wiped   string // where a damaged directory was put aside
	full    atomic.Bool
	applied atomic.Uint64 // slot
	pending pending
	// snapping is held while a snapshot is made.
	snapping sync.Mutex

	in    inputs
	save  chan job
	apply chan task
	ended chan struct{}
	err   error // why; after ended
}

// inputs are what the loop takes.
type inputs struct {
	messages  chan paxos.Message
	proposals *queue[proposal]
	reads     *queue[chan<- outcome]
	calls     chan func(*loop)
	saved     chan uint64
}

// job is a record for the saver.
type job struct {
	record paxos.Record
	seq    uint64
}

// Open opens the node's directory and connects it. Run must follow. A directory that
// is damaged is put aside, and the node comes back as one that was wiped: it learns,
// and votes when the others let it.
func Open(ctx context.Context, cfg Config) (*Replica, error) {
	r := &Replica{cfg: cfg.withDefaults(), cluster: ClusterID(cfg.Cluster), ended: make(chan struct{})}
	r.pending.waiting = map[ticket]chan<- outcome{}
	r.in = inputs{make(chan paxos.Message, 1024), newQueue[proposal](), newQueue[chan<- outcome](), make(chan func(*loop), 64), make(chan uint64, 4)}
	r.save, r.apply = make(chan job, 1), make(chan task, 16)
	if err := r.openDisk(); err != nil {
		return nil, errors.Join(err, cfg.Listener.Close())
	}
	var err error
	r.buffer = kv.NewBuffer(r.disk)
	if r.state, err = kv.New(r.buffer, r.cfg.Map); err != nil {
		return nil, errors.Join(fmt.Errorf("paxos/replica: %w", err), r.disk.Close(), cfg.Listener.Close())
	}
	slot, _ := r.disk.Applied()
	r.applied.Store(uint64(slot))
	r.mesh, err = peer.New(ctx, peer.Config{
		ID: cfg.ID, Cluster: r.cluster, Key: cfg.Key, Secret: cfg.Secret, Listener: cfg.Listener,
		Receive: r.receive, Serve: r.serve, Logger: r.cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("paxos/replica: %w", err), r.disk.Close(), cfg.Listener.Close())
	}
	for id, a := range cfg.Members {
		r.mesh.SetAddress(id, a)
	}
	return r, nil
}

func (r *Replica) openDisk() (err error) {
	c := log.Config{Dir: r.cfg.Dir, Cluster: r.cluster, ID: r.cfg.ID, Reserve: r.cfg.Reserve, Fatal: r.fatal}
	r.disk, err = log.Open(c)
	var damaged *log.DamagedError
	if !errors.As(err, &damaged) {
		return err
	}
	aside := fmt.Sprintf("%s.damaged-%s", r.cfg.Dir, time.Now().UTC().Format("20060102T150405.000Z"))
	if rerr := os.Rename(r.cfg.Dir, aside); rerr != nil {
		return errors.Join(err, rerr)
	}
	r.cfg.Logger.Error("the directory is damaged: it was put aside, and this node learns anew", "aside", aside, "damage", damaged.What)
	r.wiped = aside
	r.disk, err = log.Open(c)
	return err
}

// newNode makes the engine.
func (r *Replica) newNode(now time.Time) (*paxos.Node, error) {
	var seed [16]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, err
	}
	cfg := paxos.Config{
		ID: r.cfg.ID, Cluster: r.cluster, Timing: r.cfg.Timing, Limits: r.cfg.Paxos, AcceptQuorum: r.cfg.AcceptQuorum, HashEvery: hashEvery,
		Rand: rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:]))),
	}
	for id, a := range r.cfg.Members {
		if r.cfg.Join {
			cfg.Contacts = append(cfg.Contacts, id)
			continue
		}
		cfg.Members = append(cfg.Members, paxos.Member{ID: id, Addr: a.String()})
	}
	return paxos.New(now, cfg, r.disk.State(), r.disk)
}

// Wiped returns where a damaged directory was put aside when the node was opened, or
// "".
func (r *Replica) Wiped() string { return r.wiped }

// Addr returns where the node listens.
func (r *Replica) Addr() netip.AddrPort { return r.mesh.Addr() }

// Run runs the node until ctx, which must end with that of Open or before, ends, or
// until it must stop: because its disk failed, because it was removed, or because its
// state is not that of the others. Then everything is closed.
func (r *Replica) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	now := time.Now()
	node, err := r.newNode(now)
	if err == nil {
		var wg sync.WaitGroup
		wg.Go(func() { r.runSaver(ctx, fail) })
		wg.Go(func() { r.runApplier(ctx, fail) })
		wg.Go(func() { r.watchRoom(ctx) })
		members := node.Members()
		r.reach(members, false)
		_, member := members.Find(r.cfg.ID)
		l := &loop{r: r, node: node, fail: fail, member: member, reads: map[paxos.ReadID][]chan<- outcome{}}
		l.run(ctx)
		wg.Wait()
		err = context.Cause(ctx)
		if ferr := r.buffer.Flush(); ferr != nil { // spares the next start work
			r.cfg.Logger.Warn("the state was not stored to the end", "error", ferr)
		}
	}
	r.err = err
	close(r.ended)
	r.pending.failAll(ErrEnded)
	return errors.Join(err, r.disk.Close())
}

// reach notes where members are: those that are known already only if anew.
func (r *Replica) reach(m paxos.Membership, anew bool) {
	for _, v := range m.Members {
		a, err := netip.ParseAddrPort(v.Addr)
		if err == nil && !a.Addr().IsUnspecified() && (anew || !r.mesh.Address(v.ID).IsValid()) {
			r.mesh.SetAddress(v.ID, a)
		}
	}
}

// Wait returns once the mesh has ended, after the context of Open has.
func (r *Replica) Wait() { r.mesh.Wait() }

// receive takes a message of another node. It waits while the loop is behind.
func (r *Replica) receive(m paxos.Message) {
	if a, ok := m.Body.(paxos.Accept); ok && len(a.Entries) > 0 && r.full.Load() {
		return // no room: the others go on without this node
	}
	select {
	case r.in.messages <- m:
	case <-r.ended:
	}
}

// runSaver saves what the loop gives it. A failed save ends the node: what the disk
// holds is not known.
func (r *Replica) runSaver(ctx context.Context, fail func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-r.save:
			if err := r.disk.Save(j.record); err != nil {
				fail(stopped(err))
				return
			}
			select {
			case r.in.saved <- j.seq:
			case <-ctx.Done():
				return
			}
		}
	}
}

// stopped says why a node whose disk fails must end.
func stopped(err error) error {
	var damaged *log.DamagedError
	if errors.As(err, &damaged) {
		return fmt.Errorf("paxos/replica: the directory is damaged, and the node must stop; started again, it learns anew: %w", err)
	}
	return fmt.Errorf("paxos/replica: the disk failed, and the node must stop: %w", err)
}

// broke ends the node because a read found its directory damaged.
func (r *Replica) broke(err error) {
	select {
	case r.in.calls <- func(l *loop) { l.fail(stopped(err)) }:
	case <-r.ended:
	}
}

// fatal hears that the disk failed beside any call. What is only damaged can still be
// closed.
func (r *Replica) fatal(err error) {
	var damaged *log.DamagedError
	switch {
	case errors.As(err, &damaged):
		go r.broke(err) // the disk waits for this call
	case r.cfg.Fatal != nil:
		r.cfg.Fatal(err)
	default:
		panic(err)
	}
}

// watchRoom looks at the room on the disk.
func (r *Replica) watchRoom(ctx context.Context) {
	tick := time.NewTicker(fullEvery)
	defer tick.Stop()
	for {
		full := r.disk.Full()
		if full != r.full.Swap(full) {
			r.cfg.Logger.Warn("room on the disk", "full", full)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
