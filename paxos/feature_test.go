package paxos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func has(list []Event, kind EventKind) bool {
	return slices.ContainsFunc(list, func(e Event) bool { return e.Kind == kind })
}

// others are the nodes beside n.
func (c *cluster) others(n *Node) (list []NodeID) {
	for _, id := range c.ids() {
		if id != n.cfg.ID {
			list = append(list, id)
		}
	}
	return list
}

// One node alone: nothing is chosen before it is on disk (etcd issue 14370).
func TestNode_AloneChoosesWhatIsOnDisk(t *testing.T) {
	c := newCluster(t, 1, nil)
	l := c.leader()
	c.slow[1] = true
	c.propose(l, "a")
	c.run(20 * time.Millisecond)
	if got := c.commands(1); got != nil {
		t.Errorf("chosen before it was saved: %q", got)
	}
	c.slow[1] = false
	c.run(20 * time.Millisecond)
	c.agree("a")
}

// The leader's disk works beside the others': two fast followers are a quorum.
func TestNode_LeadersDiskIsOneOfMany(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.slow[l.cfg.ID] = true
	c.propose(l, "a")
	c.run(50 * time.Millisecond)
	if l.chosen != l.lead.placed {
		t.Errorf("chosen %v of %v while only the leader's disk is slow", l.chosen, l.lead.placed)
	}
}

// A leader whose disk hangs makes room (hashicorp/raft issues 503, 612, 666).
func TestNode_LeaderWithHungDiskMakesRoom(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.slow[l.cfg.ID] = true
	c.propose(l, "a")
	c.run(1300 * time.Millisecond)
	if l.role == Leading {
		t.Fatal("still leads")
	}
	if s := l.Status(c.now).Stuck; !strings.Contains(s, "disk") {
		t.Errorf("status says %q", s)
	}
	c.run(3 * time.Second)
	if next := c.leader(); next == l {
		t.Error("leads again, with a disk that hangs")
	}
}

// A node that was cut off and comes back changes nothing: it polls, and nobody who
// hears a leader would promise (etcd issues 9241, 9333).
func TestNode_PollDisturbsNobody(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.run(time.Second) // all are confirmed
	lost := c.others(l)[0]
	c.cut = func(from, to NodeID) bool { return from == lost || to == lost }
	ballot := l.acc.promised
	c.run(10 * time.Second)
	if n := c.nodes[lost]; n.acc.promised != ballot || n.role != Polling {
		t.Errorf("cut off: %v, promised %v, want polling in %v", n.role, n.acc.promised, ballot)
	}
	c.cut = func(NodeID, NodeID) bool { return false }
	c.run(3 * time.Second)
	if got := c.leader(); got != l || l.acc.promised != ballot {
		t.Errorf("node %v leads in %v, want %v in %v", got.cfg.ID, got.acc.promised, l.cfg.ID, ballot)
	}
}

// A leader that loses its quorum steps down, and whoever is connected to a quorum
// leads: the three partial partitions of Omni-Paxos section 2.
func TestNode_PartialConnectivity(t *testing.T) {
	for _, shape := range []string{"quorum loss", "constrained", "chain"} {
		t.Run(shape, func(t *testing.T) {
			c := newCluster(t, 5, nil)
			l := c.leader()
			c.propose(l, "a")
			c.run(time.Second)
			id, o := l.cfg.ID, c.others(l)
			hub := o[0]
			joined := func(a, b NodeID) bool { return a == hub || b == hub }
			switch shape {
			case "constrained": // and the leader is cut off from the hub too
				joined = func(a, b NodeID) bool { return (a == hub || b == hub) && a != id && b != id }
			case "chain":
				line := []NodeID{id, o[0], o[1], o[2], o[3]}
				joined = func(a, b NodeID) bool {
					i, j := slices.Index(line, a), slices.Index(line, b)
					return i-j == 1 || j-i == 1
				}
			}
			c.cut = func(a, b NodeID) bool { return !joined(a, b) }
			c.run(8 * time.Second)
			if shape == "chain" { // nobody hears a quorum of five; joined again, all is well
				c.cut = func(NodeID, NodeID) bool { return false }
			}
			n := c.leader()
			if shape != "chain" && n.cfg.ID != hub {
				t.Errorf("node %v leads, want %v, which alone hears a quorum", n.cfg.ID, hub)
			}
			c.propose(n, "b")
			c.run(time.Second)
			if got := c.commands(n.cfg.ID); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("the leader has %q", got)
			}
		})
	}
}

func TestNode_BusyAndTooLarge(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Limits.Unchosen = 1 << 20 })
	l := c.leader()
	if err := l.Propose(c.now, make([]byte, MaxValue+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a value over the limit: %v", err)
	}
	c.cut = func(NodeID, NodeID) bool { return true }
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = l.Propose(c.now, make([]byte, 10000))
	}
	if !errors.Is(err, ErrBusy) || n > 110 {
		t.Errorf("after %d values of 10,000 bytes: %v", n, err)
	}
	other := c.nodes[c.others(l)[0]]
	if err := other.Propose(c.now, nil); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a follower says %v", err)
	}
	c.cut = func(NodeID, NodeID) bool { return false }
	c.run(2 * time.Second)
	c.propose(c.leader(), "room again")
}

// nothing is a Storage that has forgotten all.
type nothing struct{}

func (nothing) Entries(Slot, int) ([]Entry, error) { return nil, nil }

// An application that does not fetch what is chosen stops the node, not the machine.
func TestNode_SlowApplicationIsBounded(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	n, err := New(now, Config{ID: 1, Rand: rand.New(rand.NewPCG(1, 1)), Members: []Member{{ID: 1}}}, State{}, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	save := func() {
		for _, seq := n.Unsaved(); seq != 0; _, seq = n.Unsaved() {
			n.Saved(now, seq)
		}
	}
	for n.role != Leading {
		now, _ = n.NextTimeout()
		n.HandleTimeout(now)
		save()
	}
	limit := n.cfg.Limits.Cache + 2*n.cfg.Limits.Unchosen
	for sum := 0; err == nil && sum < 2*limit; sum += 100000 {
		err = n.Propose(now, make([]byte, 100000))
		save()
	}
	if !errors.Is(err, ErrBusy) || n.log.bytes > limit+1<<20 {
		t.Errorf("%v with %d bytes in memory, of %d", err, n.log.bytes, limit)
	}
	for len(n.Chosen()) > 0 {
	}
	if err := n.Propose(now, nil); err != nil || n.log.bytes > n.cfg.Limits.Cache {
		t.Errorf("after it caught up: %v with %d bytes in memory", err, n.log.bytes)
	}
}

// No more than four batches are on their way to a follower, and what waits meanwhile
// leaves as one.
func TestNode_PipelineIsShort(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.run(time.Second)
	before := l.lead.placed
	var batches, entries int
	for i := range 1000 {
		c.propose(l, fmt.Sprint(i))
		for _, m := range l.Outgoing() {
			if a, ok := m.Body.(Accept); ok && len(a.Entries) > 0 {
				batches++
				entries += len(a.Entries)
			}
			c.flying = append(c.flying, m)
		}
		c.now = c.now.Add(10 * time.Microsecond)
	}
	if batches > 2*4 || entries > 2*200 {
		t.Errorf("%d batches of %d entries left without an answer", batches, entries)
	}
	c.run(500 * time.Millisecond)
	if l.chosen != before+1000 {
		t.Errorf("%v chosen, want %v", l.chosen, before+1000)
	}
	c.agree()
}

// With Multicast one message goes to all followers.
func TestNode_MulticastSendsOnce(t *testing.T) {
	c := newCluster(t, 5, func(cfg *Config) { cfg.Multicast = true })
	l := c.leader()
	c.run(time.Second)
	c.propose(l, "a")
	var to []NodeID
	for _, m := range l.Outgoing() {
		if a, ok := m.Body.(Accept); ok && len(a.Entries) > 0 {
			to = append(to, m.To)
		}
		c.flying = append(c.flying, m)
	}
	if !slices.Equal(to, []NodeID{Everyone}) {
		t.Errorf("the value went to %v, want once to everyone", to)
	}
	c.run(time.Second)
	c.agree("a")
}

func TestNode_ReadsAreConfirmed(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.propose(l, "a")
	c.run(time.Second)
	first, err := l.Read(c.now)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := l.Read(c.now)
	if first == second {
		t.Error("two reads with one id")
	}
	c.run(20 * time.Millisecond)
	if got := c.reads[l.cfg.ID]; len(got) != 2 || got[0].Err != nil || got[0].Slot < l.chosen {
		t.Errorf("reads: %+v, chosen %v", got, l.chosen)
	}
	// Cut off, it cannot confirm; when it learns why, the read fails.
	c.reads[l.cfg.ID] = nil
	c.cut = func(a, b NodeID) bool { return a == l.cfg.ID || b == l.cfg.ID }
	if _, err := l.Read(c.now); err != nil {
		t.Fatal(err)
	}
	c.run(500 * time.Millisecond)
	if got := c.reads[l.cfg.ID]; len(got) > 0 {
		t.Errorf("a leader without a quorum answers %+v", got)
	}
	c.run(2 * time.Second)
	if got := c.reads[l.cfg.ID]; len(got) != 1 || !errors.Is(got[0].Err, ErrNotLeader) {
		t.Errorf("after it stepped down: %+v", got)
	}
}

func TestNode_LeaseEndsWithTimeAndPause(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Timing.Lease = 800 * time.Millisecond })
	l := c.leader()
	c.run(time.Second)
	if _, ok := l.LeaseRead(c.now); !ok {
		t.Fatal("no lease")
	}
	if _, ok := l.LeaseRead(c.now.Add(850 * time.Millisecond)); ok {
		t.Error("the lease outlives its time")
	}
	c.run(time.Second)
	l = c.leader()
	c.run(time.Second)
	l.HandleTimeout(c.now.Add(400 * time.Millisecond)) // as after a pause
	if _, ok := l.LeaseRead(c.now.Add(401 * time.Millisecond)); ok {
		t.Error("the lease outlives a pause")
	}
}

func TestNode_Transfer(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.Timing.Lease = 800 * time.Millisecond })
	l := c.leader()
	c.run(time.Second)
	to := c.others(l)[1]
	if err := l.Transfer(c.now, to); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.LeaseRead(c.now); ok {
		t.Error("the lease outlives the transfer")
	}
	c.run(100 * time.Millisecond)
	if got := c.leader().cfg.ID; got != to {
		t.Errorf("node %v leads, want %v", got, to)
	}
	if err := c.leader().Transfer(c.now, 99); !errors.Is(err, ErrMember) {
		t.Errorf("transfer to a stranger: %v", err)
	}
}

// join starts a node that is no first member.
func (c *cluster) join(id NodeID) {
	c.t.Helper()
	cfg := c.config(id)
	cfg.Members, cfg.Contacts = nil, []NodeID{1, 2, 3}
	n, err := New(c.now, cfg, State{}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.disks[id], c.nodes[id] = &State{}, n
}

func TestNode_MembersComeAndGo(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.propose(l, "a")
	c.run(time.Second)
	c.join(4)
	if err := l.AddMember(c.now, Member{ID: 4, Promote: true}); err != nil {
		t.Fatal(err)
	}
	if err := l.AddMember(c.now, Member{ID: 5}); !errors.Is(err, ErrChanging) {
		t.Errorf("a second change at once: %v", err)
	}
	c.run(2 * time.Second)
	if m := l.Members(); m.Voters() != 4 {
		t.Errorf("the learner was not promoted: %+v", m)
	}
	c.agree("a")
	gone := c.others(l)[0]
	if err := l.RemoveMember(c.now, gone); err != nil {
		t.Fatal(err)
	}
	c.run(2 * time.Second)
	if !has(c.events[gone], EventRemoved) {
		t.Error("the removed node was not told")
	}
	if err := l.RemoveMember(c.now, l.cfg.ID); err != nil {
		t.Fatal(err)
	}
	c.run(4 * time.Second)
	next := c.leader()
	if next == l || next.Members().Voters() != 2 {
		t.Errorf("node %v leads %d voters after the leader removed itself", next.cfg.ID, next.Members().Voters())
	}
	c.propose(next, "b")
	c.run(time.Second)
}

// A change that leaves no live quorum is refused (etcd strict-reconfig).
func TestNode_RefusesChangeWithoutLiveQuorum(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.run(time.Second)
	o := c.others(l)
	c.crash(o[0])
	c.run(1500 * time.Millisecond)
	if err := l.RemoveMember(c.now, o[1]); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("removing the last live follower: %v", err)
	}
	if err := l.RemoveMember(c.now, o[0]); err != nil {
		t.Errorf("removing the dead one: %v", err)
	}
	if err := l.PromoteMember(c.now, o[1]); !errors.Is(err, ErrMember) {
		t.Errorf("promoting a voter: %v", err)
	}
}

// Flexible quorums: with two of five for a value, two nodes are enough to go on, and
// four are needed to change the leader.
func TestNode_FlexibleQuorum(t *testing.T) {
	c := newCluster(t, 5, func(cfg *Config) { cfg.AcceptQuorum = 2 })
	l := c.leader()
	c.run(time.Second)
	friend := c.others(l)[0]
	in := func(id NodeID) bool { return id == l.cfg.ID || id == friend }
	c.cut = func(a, b NodeID) bool { return in(a) != in(b) }
	c.run(3 * time.Second)
	c.propose(l, "a")
	c.run(time.Second)
	if got := c.commands(l.cfg.ID); !slices.Equal(got, []string{"a"}) {
		t.Errorf("two nodes have chosen %q", got)
	}
	for _, id := range c.ids() {
		if n := c.nodes[id]; !in(id) && (n.role == Leading || n.chosen >= l.chosen) {
			t.Errorf("node %v, one of three, is %v", id, n.role)
		}
	}
	m := Membership{AcceptQuorum: 2}
	for i := range 5 {
		m.Members = append(m.Members, Member{ID: NodeID(i + 1)})
	}
	if p, a := m.Quorums(); p != 4 || a != 2 {
		t.Errorf("quorums of %d and %d, want 4 and 2", p, a)
	}
	for n := 1; n <= 9; n++ {
		for q := range n + 3 {
			m := Membership{AcceptQuorum: q}
			for i := range n {
				m.Members = append(m.Members, Member{ID: NodeID(i + 1)})
			}
			if p, a := m.Quorums(); p+a <= n || p < 1 || a < 1 || p > n || a > n {
				t.Errorf("%d members, accept quorum %d: %d and %d", n, q, p, a)
			}
		}
	}
}

func TestNode_StateHashStopsWhoDiffers(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.HashEvery = 1 })
	l := c.leader()
	c.run(time.Second)
	bad := c.nodes[c.others(l)[0]]
	l.Applied(c.now, 1000, 7)
	bad.Applied(c.now, 1000, 8)
	c.run(300 * time.Millisecond)
	if !has(c.events[bad.cfg.ID], EventDiverged) || bad.role != Stopped {
		t.Errorf("it goes on as %v", bad.role)
	}
	if _, err := bad.Read(c.now); !errors.Is(err, ErrStopped) {
		t.Errorf("it answers reads: %v", err)
	}
}

// Messages that do not belong here are dropped, and said.
func TestNode_DropsWhatIsNotForIt(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.run(time.Second)
	id := c.others(l)[0]
	n, before := c.nodes[id], l.acc.promised
	high := Ballot{99, 2}
	for name, m := range map[string]Message{
		"another cluster":       {From: l.cfg.ID, To: id, Cluster: ClusterID{9}, Body: Prepare{Ballot: Ballot{99, l.cfg.ID}}},
		"for another node":      {From: l.cfg.ID, To: 77, Cluster: n.cfg.Cluster, Body: Prepare{Ballot: Ballot{99, l.cfg.ID}}},
		"a stranger":            {From: 66, To: id, Cluster: n.cfg.Cluster, Body: Prepare{Ballot: Ballot{99, 66}}},
		"of another's ballot":   {From: l.cfg.ID, To: id, Cluster: n.cfg.Cluster, Body: Prepare{Ballot: Ballot{99, 77}}},
		"accept of another's":   {From: l.cfg.ID, To: id, Cluster: n.cfg.Cluster, Body: Accept{Ballot: Ballot{99, 77}}},
		"from itself":           {From: id, To: id, Cluster: n.cfg.Cluster, Body: Prepare{Ballot: high}},
		"chosen values, unsure": {From: 66, To: id, Cluster: n.cfg.Cluster, Body: CaughtUp{Entries: []Entry{{Slot: n.chosen + 1}}, Chosen: n.chosen + 1}},
	} {
		n.HandleMessage(c.now, m)
		if n.acc.promised != before || n.chosen > l.chosen {
			t.Errorf("%s: promised %v, chosen %v", name, n.acc.promised, n.chosen)
		}
	}
	c.run(100 * time.Millisecond)
	if !has(c.events[id], EventBadInput) {
		t.Error("nothing was said")
	}
}

func TestNew_RefusesBadConfig(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for name, cfg := range map[string]Config{
		"no id":           {Rand: rng},
		"no randomness":   {ID: 1},
		"a member twice":  {ID: 1, Rand: rng, Members: []Member{{ID: 1}, {ID: 1}}},
		"member zero":     {ID: 1, Rand: rng, Members: []Member{{ID: 0}}},
		"only learners":   {ID: 1, Rand: rng, Members: []Member{{ID: 1, Learner: true}}},
		"a long lease":    {ID: 1, Rand: rng, Timing: Timing{Lease: 2 * time.Second}},
		"too much flying": {ID: 1, Rand: rng, Limits: Limits{Unchosen: 1 << 30}},
	} {
		if _, err := New(time.Time{}, cfg, State{}, nil); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	st := State{Entries: []Entry{{Slot: 2}}}
	if _, err := New(time.Time{}, Config{ID: 1, Rand: rng, Members: []Member{{ID: 1}}}, st, nil); err == nil {
		t.Error("a log with a gap is taken")
	}
}

// The first start of a cluster needs all its members once: until then none counts.
func TestNode_FirstStartNeedsEveryMember(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.cut = func(from, to NodeID) bool { return from == 3 || to == 3 }
	c.run(10 * time.Second)
	for _, id := range c.ids() {
		if n := c.nodes[id]; n.role == Leading || n.self.confirmed {
			t.Errorf("node %v is %v without node 3 ever seen", id, n.role)
		}
	}
	if s := c.nodes[1].Status(c.now).Stuck; !strings.Contains(s, "confirm") {
		t.Errorf("status says %q", s)
	}
	c.cut = func(NodeID, NodeID) bool { return false }
	c.leader()
}
