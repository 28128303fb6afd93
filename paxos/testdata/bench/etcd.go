package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/log"
	"github.com/aether-lan/aether/paxos/peer"
	"github.com/aether-lan/aether/paxos/replica"
)

// etcd is a cluster of etcd-io/raft nodes.
type etcd struct {
	nodes  []*etcdNode
	leader *etcdNode
	stop   context.CancelFunc
}

// Settings that are the same as those of paxos/replica.
const (
	etcdGather        = 512     // inputs that share a Ready
	etcdSnapshotEvery = 100_000 // slots
	etcdKeep          = 10_000  // slots behind a snapshot
	etcdFlushEvery    = 1 << 14 // slots
)

// etcdNode drives a RawNode: run has it, store and apply are its storage threads.
type etcdNode struct {
	id      uint64
	async   bool
	raw     *raft.RawNode
	memory  etcdStorage
	disk    *log.Log
	buffer  *kv.Buffer
	machine *kv.Machine
	mesh    *peer.Mesh
	in      etcdInputs
	reads   etcdReads
	appends *queue[*pb.Message]
	applies *queue[*pb.Message]

	leads   atomic.Bool
	applied atomic.Uint64
	forget  atomic.Uint64 // slot, to be told with the next record
	waiting waiting
	failed  chan error
	wg      sync.WaitGroup
}

// etcdStorage is a MemoryStorage of a cluster whose members never change.
type etcdStorage struct {
	*raft.MemoryStorage
	voters []uint64
}

// InitialState implements raft.Storage.
func (s etcdStorage) InitialState() (*pb.HardState, *pb.ConfState, error) {
	hard, _, err := s.MemoryStorage.InitialState()
	return hard, &pb.ConfState{Voters: s.voters}, err
}

type etcdInputs struct {
	messages  chan *pb.Message
	proposals *queue[*pb.Entry]
	reads     *queue[*etcdRead]
	local     chan []*pb.Message // responses of the storage threads
}

// etcdReads are the reads that wait: those of one ReadIndex that is under way, and
// those of the next.
type etcdReads struct {
	count   uint64
	asked   []*etcdRead
	next    []*etcdRead
	waiting []*etcdRead // for their slot to be applied
}

type etcdRead struct {
	slot uint64
	done chan error
}

// wait returns the messages for a storage thread as soon as there are any; none when ctx
// has ended.
func wait(ctx context.Context, q *queue[*pb.Message]) []*pb.Message {
	for {
		if list := q.take(); len(list) > 0 {
			return list
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// waiting are the commands that somebody waits for.
type waiting struct {
	mu   sync.Mutex
	list map[kv.Client]chan kv.Result
}

func startEtcd(ctx context.Context, dir string, async bool) (system, error) {
	ctx, stop := context.WithCancel(ctx)
	e := &etcd{stop: stop}
	listeners, members, err := listenAll()
	if err != nil {
		stop()
		return nil, err
	}
	for _, id := range nodeIDs() {
		n, err := newEtcdNode(ctx, filepath.Join(dir, id.String()), id, listeners[id], members, async)
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		e.nodes = append(e.nodes, n)
	}
	for _, n := range e.nodes {
		n.start(ctx)
	}
	return e, e.elect(ctx)
}

func newEtcdNode(ctx context.Context, dir string, id paxos.NodeID, ln net.Listener, members map[paxos.NodeID]netip.AddrPort, async bool) (n *etcdNode, err error) {
	n = &etcdNode{id: uint64(id), async: async, failed: make(chan error, 2), memory: etcdStorage{MemoryStorage: raft.NewMemoryStorage()}}
	for i := range members {
		n.memory.voters = append(n.memory.voters, uint64(i))
	}
	n.in = etcdInputs{make(chan *pb.Message, 1024), newQueue[*pb.Entry](), newQueue[*etcdRead](), make(chan []*pb.Message, 1024)}
	n.appends, n.applies = newQueue[*pb.Message](), newQueue[*pb.Message]()
	n.waiting.list = map[kv.Client]chan kv.Result{}
	cluster := replica.ClusterID("bench")
	if n.disk, err = log.Open(log.Config{Dir: dir, Cluster: cluster, ID: id, Reserve: -1}); err != nil {
		return nil, err
	}
	n.buffer = kv.NewBuffer(n.disk)
	if n.machine, err = kv.New(n.buffer, kv.Limits{}); err != nil {
		return nil, err
	}
	n.mesh, err = peer.New(ctx, peer.Config{ID: id, Cluster: cluster, Secret: []byte("bench"), Listener: ln, Receive: func(m paxos.Message) { n.receive(ctx, m) }})
	if err != nil {
		return nil, err
	}
	for i, a := range members {
		n.mesh.SetAddress(i, a)
	}
	n.raw, err = raft.NewRawNode(&raft.Config{
		ID: n.id, ElectionTick: 10, HeartbeatTick: 1, Storage: n.memory, AsyncStorageWrites: async,
		// As etcd has them, but for the size, so that a message is a value of paxos/peer.
		MaxSizePerMsg: 1<<20 - 64<<10, MaxInflightMsgs: 512, MaxUncommittedEntriesSize: 16 << 20,
		CheckQuorum: true, PreVote: true, Logger: &raft.DefaultLogger{Logger: discard},
	})
	return n, err
}

func (n *etcdNode) start(ctx context.Context) {
	n.wg.Go(func() { n.run(ctx) })
	n.wg.Go(func() { n.apply(ctx) })
	if n.async {
		n.wg.Go(func() { n.store(ctx) })
	}
}

// send carries messages as values of Accepts, which is what paxos/peer transports
// with the fewest bytes.
func (n *etcdNode) send(list []*pb.Message) {
	var out []paxos.Message
	for _, m := range list {
		b, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		out = append(out, paxos.Message{From: paxos.NodeID(n.id), To: paxos.NodeID(m.GetTo()), Body: paxos.Accept{Entries: []paxos.Entry{{Value: b}}}})
	}
	n.mesh.Send(out)
}

func (n *etcdNode) receive(ctx context.Context, m paxos.Message) {
	a, ok := m.Body.(paxos.Accept)
	if !ok || len(a.Entries) != 1 {
		return
	}
	var r pb.Message
	if err := proto.Unmarshal(a.Entries[0].Value, &r); err != nil {
		panic(err)
	}
	select {
	case n.in.messages <- &r:
	case <-ctx.Done():
	}
}

// run is the goroutine that has the RawNode.
func (n *etcdNode) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var props []*pb.Entry
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.raw.Tick()
		case m := <-n.in.messages:
			_ = n.raw.Step(m)
		case <-n.in.proposals.wake:
			props = append(props, n.in.proposals.take()...)
		case <-n.in.reads.wake:
			n.reads.next = append(n.reads.next, n.in.reads.take()...)
		case list := <-n.in.local:
			n.stepAll(list)
		}
		for more := 0; more < etcdGather; more++ {
			select {
			case m := <-n.in.messages:
				_ = n.raw.Step(m)
			case <-n.in.proposals.wake:
				props = append(props, n.in.proposals.take()...)
			case <-n.in.reads.wake:
				n.reads.next = append(n.reads.next, n.in.reads.take()...)
			case list := <-n.in.local:
				n.stepAll(list)
			default:
				more = etcdGather
			}
		}
		if len(props) > 0 {
			if err := n.raw.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: new(n.id), Entries: props}); err != nil {
				n.failed <- fmt.Errorf("etcd: propose: %w", err)
				return
			}
			props = nil
		}
		n.askReads()
		for n.raw.HasReady() {
			n.ready()
		}
		n.answerReads()
	}
}

func (n *etcdNode) stepAll(list []*pb.Message) {
	for _, m := range list {
		_ = n.raw.Step(m)
	}
}

// askReads asks for one index for all reads that wait, one at a time, as etcd does.
func (n *etcdNode) askReads() {
	r := &n.reads
	if len(r.asked) > 0 || len(r.next) == 0 {
		return
	}
	r.count++
	r.asked, r.next = r.next, nil
	n.raw.ReadIndex(fmt.Appendf(nil, "%d", r.count))
}

func (n *etcdNode) answerReads() {
	applied, kept := n.applied.Load(), n.reads.waiting[:0]
	for _, r := range n.reads.waiting {
		if r.slot > applied {
			kept = append(kept, r)
			continue
		}
		r.done <- nil
	}
	n.reads.waiting = kept
}

// ready does what the RawNode asks for.
func (n *etcdNode) ready() {
	rd := n.raw.Ready()
	if rd.SoftState != nil {
		n.leads.Store(rd.RaftState == raft.StateLeader)
	}
	for _, s := range rd.ReadStates {
		if string(s.RequestCtx) == fmt.Sprint(n.reads.count) {
			for _, r := range n.reads.asked {
				r.slot = s.Index
			}
			n.reads.waiting = append(n.reads.waiting, n.reads.asked...)
			n.reads.asked = nil
			n.askReads()
		}
	}
	if n.async {
		n.dispatch(rd.Messages)
		return
	}
	leads := n.leads.Load()
	if leads { // in parallel with the disk
		n.send(rd.Messages)
	}
	m := &pb.Message{Entries: rd.Entries}
	if rd.HardState != nil {
		m.Term, m.Vote, m.Commit = rd.HardState.Term, rd.HardState.Vote, rd.HardState.Commit
	}
	if !n.save([]*pb.Message{m}, rd.MustSync) {
		return
	}
	if !leads {
		n.send(rd.Messages)
	}
	if len(rd.CommittedEntries) > 0 {
		n.applies.put(&pb.Message{Entries: rd.CommittedEntries})
	}
	n.raw.Advance(rd)
}

func (n *etcdNode) dispatch(list []*pb.Message) {
	var out []*pb.Message
	for _, m := range list {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			n.appends.put(m)
		case raft.LocalApplyThread:
			n.applies.put(m)
		default:
			out = append(out, m)
		}
	}
	n.send(out)
}

// store is the thread that saves: all that wait share a sync.
func (n *etcdNode) store(ctx context.Context) {
	for {
		list := wait(ctx, n.appends)
		if list == nil {
			return
		}
		sync := false
		for _, m := range list {
			sync = sync || len(m.Responses) > 0
		}
		if !n.save(list, sync) {
			return
		}
		for _, m := range list {
			n.respond(ctx, m.Responses)
		}
	}
}

func (n *etcdNode) respond(ctx context.Context, list []*pb.Message) {
	var out, local []*pb.Message
	for _, m := range list {
		if m.GetTo() == n.id {
			local = append(local, m)
		} else {
			out = append(out, m)
		}
	}
	n.send(out)
	select {
	case n.in.local <- local:
	case <-ctx.Done():
	}
}

// save saves the entries and the last hard state of the messages, with one sync. What
// need not be durable goes to memory only.
func (n *etcdNode) save(list []*pb.Message, sync bool) bool {
	var r paxos.Record
	for _, m := range list {
		if m.Term != nil {
			_ = n.memory.SetHardState(&pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit})
		}
		if len(m.Entries) == 0 {
			continue
		}
		_ = n.memory.Append(m.Entries)
		for len(r.Entries) > 0 && uint64(r.Entries[len(r.Entries)-1].Slot) >= m.Entries[0].GetIndex() {
			r.Entries = r.Entries[:len(r.Entries)-1]
		}
		for _, e := range m.Entries {
			r.Entries = append(r.Entries, entryOf(e))
		}
	}
	if !sync {
		return true
	}
	hard, _, _ := n.memory.InitialState()
	r.Hard = paxos.Hard{Promised: paxos.Ballot{Round: hard.GetTerm(), Node: paxos.NodeID(hard.GetVote())}, Chosen: paxos.Slot(hard.GetCommit())}
	if to := n.forget.Swap(0); to > 0 {
		r.Forget = paxos.Slot(to)
		_ = n.memory.Compact(to)
	}
	if err := n.disk.Save(r); err != nil {
		n.failed <- err
		return false
	}
	return true
}

func entryOf(e *pb.Entry) paxos.Entry {
	out := paxos.Entry{Slot: paxos.Slot(e.GetIndex()), Ballot: paxos.Ballot{Round: e.GetTerm()}, Value: e.GetData()}
	if len(out.Value) == 0 {
		out.Kind = paxos.Noop
	}
	return out
}

// apply is the thread that has the state machine.
func (n *etcdNode) apply(ctx context.Context) {
	last, flushed := uint64(0), uint64(0)
	for {
		messages := wait(ctx, n.applies)
		if messages == nil {
			return
		}
		for _, m := range messages {
			var list []paxos.Entry
			for _, e := range m.Entries {
				list = append(list, entryOf(e))
			}
			done, err := n.machine.Apply(list)
			if err != nil {
				n.failed <- err
				return
			}
			n.answer(done)
			if len(list) > 0 {
				n.applied.Store(uint64(list[len(list)-1].Slot))
			}
			n.respond(ctx, m.Responses) // also lets reads be answered
		}
		if at := n.applied.Load(); at >= last+etcdSnapshotEvery {
			last, flushed = at, at
			n.wg.Go(n.snapshot)
		} else if at >= flushed+etcdFlushEvery {
			flushed = at
			n.wg.Go(func() { _ = n.buffer.Flush() }) // what is wrong shows when it applies
		}
	}
}

func (n *etcdNode) answer(done []kv.Applied) {
	n.waiting.mu.Lock()
	defer n.waiting.mu.Unlock()
	for i := range done {
		if len(n.waiting.list) == 0 {
			return
		}
		if to := n.waiting.list[done[i].Client]; to != nil {
			delete(n.waiting.list, done[i].Client)
			to <- done[i].Result
		}
	}
}

func (n *etcdNode) snapshot() {
	if n.buffer.Flush() != nil {
		return
	}
	s, err := n.disk.Snapshot()
	if err == nil {
		n.forget.Store(uint64(s.Slot) - etcdKeep)
	}
}

func (e *etcd) elect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, n := range e.nodes {
			if n.leads.Load() && n.applied.Load() > 0 {
				e.leader = n
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("etcd: no leader: %w", ctx.Err())
		}
	}
}

func (e *etcd) do(ctx context.Context, c kv.Command) (kv.Result, error) {
	n := e.leader
	c.Time = time.Now()
	to := make(chan kv.Result, 1)
	n.waiting.mu.Lock()
	n.waiting.list[c.Client] = to
	n.waiting.mu.Unlock()
	n.in.proposals.put(&pb.Entry{Data: c.Append(make([]byte, 0, len(c.Key)+len(c.Value)+64))})
	select {
	case r := <-to:
		return r, nil
	case <-ctx.Done():
		return kv.Result{}, ctx.Err()
	case err := <-n.failed:
		return kv.Result{}, err
	}
}

func (e *etcd) read(ctx context.Context, key []byte) (kv.Value, error) {
	n := e.leader
	r := &etcdRead{done: make(chan error, 1)}
	n.in.reads.put(r)
	select {
	case err := <-r.done:
		if err != nil {
			return kv.Value{}, err
		}
	case <-ctx.Done():
		return kv.Value{}, ctx.Err()
	}
	v, _, err := n.machine.Get(key)
	return v, err
}

func (e *etcd) syncs() (most uint64) {
	for _, n := range e.nodes {
		count, _, _ := n.disk.Syncs()
		most = max(most, count)
	}
	return most
}

func (e *etcd) close() (err error) {
	e.stop()
	for _, n := range e.nodes {
		n.wg.Wait()
		n.mesh.Wait()
		err = errors.Join(err, n.disk.Close())
	}
	return err
}
