package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
)

// loop is the goroutine that has the node.
type loop struct {
	r      *Replica
	node   *paxos.Node
	fail   func(error)
	reads  map[paxos.ReadID][]chan<- outcome
	saving bool   // a record is with the saver
	tasks  []task // that the applier has no room for yet
	role   paxos.Role
	spare  []proposal
	member bool      // this node was one
	tick   time.Time // when a Tick was proposed last
}

// gather is how many inputs are taken before the node's outputs are: they share a
// batch.
const gather = 512

func (l *loop) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	armed := time.Now() // when the timer fires
	for {
		l.output()
		now := time.Now()
		next := now.Add(tickEvery)
		if t, ok := l.node.NextTimeout(); ok && t.Before(next) {
			next = t
		}
		// One that fires too early costs less than setting it each time.
		if next.Before(armed) || !armed.After(now) {
			armed = next
			timer.Reset(max(0, next.Sub(now)))
		}
		var apply chan<- task
		var first task
		if len(l.tasks) > 0 {
			apply, first = l.r.apply, l.tasks[0]
		}
		select {
		case <-ctx.Done():
			return
		case apply <- first:
			l.tasks = l.tasks[1:]
		case <-timer.C:
			l.timeout()
		case m := <-l.r.in.messages:
			l.node.HandleMessage(time.Now(), m)
			l.more()
		case <-l.r.in.proposals.wake:
			l.propose()
			l.more()
		case <-l.readers():
			l.read()
			l.more()
		case f := <-l.r.in.calls:
			f(l)
			l.more()
		case seq := <-l.r.in.saved:
			l.saving = false
			l.node.Saved(time.Now(), seq)
			l.more()
		}
	}
}

// more takes what else is there.
func (l *loop) more() {
	for range gather {
		select {
		case m := <-l.r.in.messages:
			l.node.HandleMessage(time.Now(), m)
		case <-l.r.in.proposals.wake:
			l.propose()
		case <-l.readers():
			l.read()
		case f := <-l.r.in.calls:
			f(l)
		case seq := <-l.r.in.saved:
			l.saving = false
			l.node.Saved(time.Now(), seq)
		default:
			return
		}
	}
}

// timeout does what is due, and lets leases end where nothing else brings the time.
func (l *loop) timeout() {
	now := time.Now()
	l.node.HandleTimeout(now)
	if l.role != paxos.Leading || now.Sub(l.tick) < tickEvery {
		return
	}
	l.tick = now
	if t, ok, err := l.r.state.NextExpiry(); err == nil && ok && !now.Before(t) {
		_ = l.node.Propose(now, kv.Command{Op: kv.Tick, Time: now}.Append(nil)) // next time, if not now
	}
}

// propose proposes all that wait.
func (l *loop) propose() {
	list, now := l.r.in.proposals.take(l.spare), time.Now()
	for _, p := range list {
		if err := l.node.Propose(now, p.value); err != nil {
			tell(p.to, outcome{err: err})
		}
	}
	clear(list)
	l.spare = list
}

// output hands on what the node has to say.
func (l *loop) output() {
	l.r.mesh.Send(l.node.Outgoing())
	if !l.saving { // else it gathers for the next sync
		if record, seq := l.node.Unsaved(); seq != 0 {
			l.saving = true
			l.r.save <- job{record, seq} // has room
		}
	}
	if len(l.tasks) < cap(l.r.apply) {
		for {
			list := l.node.Chosen()
			if len(list) == 0 {
				break
			}
			l.tasks = append(l.tasks, task{entries: list})
		}
	}
	for _, read := range l.node.Reads() {
		l.answer(read)
	}
	for _, e := range l.node.Events() {
		l.event(e)
	}
	for len(l.tasks) > 0 {
		select {
		case l.r.apply <- l.tasks[0]:
			l.tasks = l.tasks[1:]
			continue
		default:
		}
		break
	}
}

// lost has another snapshot made, if that of slot is the one that is offered.
func (l *loop) lost(slot paxos.Slot) {
	if l.node.Status(time.Now()).Slots.Snapshot == slot {
		l.tasks = append(l.tasks, task{snapshot: true})
	}
}

// readers wakes for reads that wait, unless one is under way: then they gather.
func (l *loop) readers() <-chan struct{} {
	if len(l.reads) > 0 {
		return nil
	}
	return l.r.in.reads.wake
}

// read begins one read for all that wait.
func (l *loop) read() {
	list := l.r.in.reads.take(nil)
	id, err := l.node.Read(time.Now())
	if err == nil {
		l.reads[id] = list
		return
	}
	for _, to := range list {
		tell(to, outcome{err: err})
	}
}

// answer answers the reads that were begun together, at once if the state is there.
func (l *loop) answer(read paxos.Read) {
	list := l.reads[read.ID]
	delete(l.reads, read.ID)
	if read.Err == nil && read.Slot > paxos.Slot(l.r.applied.Load()) {
		l.tasks = append(l.tasks, task{read: read.Slot, answer: list})
		return
	}
	for _, to := range list {
		tell(to, outcome{err: read.Err})
	}
}

func (l *loop) event(e paxos.Event) {
	lg := l.r.cfg.Logger
	switch e.Kind {
	case paxos.EventRole:
		if l.role == paxos.Leading && e.Role != paxos.Leading {
			l.r.pending.failAll(ErrUncertain)
		}
		l.role = e.Role
		lg.Info("role", "role", e.Role.String(), "leader", uint64(e.Peer), "ballot", e.Ballot.String())
	case paxos.EventMembers:
		for _, m := range e.Members.Members {
			l.member = l.member || m.ID == l.r.cfg.ID
		}
		l.r.reach(e.Members, true)
		lg.Info("members", "slot", uint64(e.Members.Slot), "members", len(e.Members.Members))
	case paxos.EventFetch:
		l.tasks = append(l.tasks, task{fetch: e.Snapshot, from: e.Peer})
	case paxos.EventRemoved:
		if !l.member { // it learns of the times before it was added
			return
		}
		l.fail(fmt.Errorf("paxos/replica: this node was removed from the cluster: %w", paxos.ErrStopped))
	case paxos.EventDiverged:
		l.fail(fmt.Errorf("paxos/replica: the state after slot %v is not that of node %v; keep %s for whoever looks for the reason", e.Slot, e.Peer, l.r.cfg.Dir))
	case paxos.EventBadInput:
		lg.Debug("bad input", "node", uint64(e.Peer), "note", e.Note)
	case paxos.EventConfirmed:
		lg.Info("every first member knows this disk: its votes count")
	case paxos.EventWiped:
		lg.Warn("another disk", "node", uint64(e.Peer), "note", e.Note)
	}
}
