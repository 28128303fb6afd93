package paxos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// cluster runs nodes by hand: messages arrive after a millisecond, disks are done
// at once, nothing is lost unless a test says so.
type cluster struct {
	t       *testing.T
	now     time.Time
	nodes   map[NodeID]*Node
	disks   map[NodeID]*State
	applied map[NodeID][]Entry
	events  map[NodeID][]Event
	reads   map[NodeID][]Read
	cut     func(from, to NodeID) bool
	slow    map[NodeID]bool // disks that do not answer
	writing map[NodeID][]writing
	seen    func(from, to NodeID, b Body) // what arrives; may be nil
	flying  []Message
	sent    int
	config  func(NodeID) Config
}

// writing is a record that a slow disk has not saved.
type writing struct {
	r   Record
	seq uint64
}

func newCluster(t *testing.T, size int, change func(*Config)) *cluster {
	c := &cluster{
		t: t, now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), nodes: map[NodeID]*Node{}, disks: map[NodeID]*State{},
		applied: map[NodeID][]Entry{}, events: map[NodeID][]Event{}, reads: map[NodeID][]Read{}, slow: map[NodeID]bool{}, writing: map[NodeID][]writing{},
	}
	c.cut = func(NodeID, NodeID) bool { return false }
	var members []Member
	for i := range size {
		members = append(members, Member{ID: NodeID(i + 1)})
	}
	starts := uint64(0)
	c.config = func(id NodeID) Config {
		starts++
		cfg := Config{ID: id, Cluster: ClusterID{1}, Rand: rand.New(rand.NewPCG(uint64(id), starts)), Members: members}
		if change != nil {
			change(&cfg)
		}
		return cfg
	}
	for _, m := range members {
		c.disks[m.ID] = &State{}
		c.start(m.ID)
	}
	return c
}

func (c *cluster) start(id NodeID) {
	c.t.Helper()
	n, err := New(c.now, c.config(id), *c.disks[id], nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[id] = n
}

// crash loses what is not saved; the application starts from scratch.
func (c *cluster) crash(id NodeID) {
	delete(c.nodes, id)
	delete(c.writing, id)
	c.applied[id] = nil
	c.flying = slices.DeleteFunc(c.flying, func(m Message) bool { return m.To == id })
}

func (d *State) save(r Record) {
	d.Hard = r.Hard
	for _, e := range r.Entries {
		i := int(e.Slot - d.Applied.Slot - 1)
		if i == len(d.Entries) {
			d.Entries = append(d.Entries, e)
		} else {
			d.Entries[i] = e
		}
	}
}

func (c *cluster) ids() []NodeID {
	var ids []NodeID
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// settle takes what the nodes put out.
func (c *cluster) settle() {
	for _, id := range c.ids() {
		n := c.nodes[id]
		for {
			r, seq := n.Unsaved()
			if seq == 0 {
				break
			}
			c.writing[id] = append(c.writing[id], writing{r, seq})
		}
		for _, w := range c.writing[id] {
			if !c.slow[id] {
				c.disks[id].save(w.r)
				n.Saved(c.now, w.seq)
			}
		}
		if !c.slow[id] {
			c.writing[id] = nil
		}
		c.flying = append(c.flying, n.Outgoing()...)
		for list := n.Chosen(); len(list) > 0; list = n.Chosen() {
			c.applied[id] = append(c.applied[id], list...)
			n.Applied(c.now, list[len(list)-1].Slot, 0)
		}
		c.events[id] = append(c.events[id], n.Events()...)
		c.reads[id] = append(c.reads[id], n.Reads()...)
	}
}

// run lets a span of time pass.
func (c *cluster) run(d time.Duration) {
	for end := c.now.Add(d); c.now.Before(end); {
		c.step()
	}
	c.settle()
}

// step lets a millisecond pass.
func (c *cluster) step() {
	c.settle()
	c.now = c.now.Add(time.Millisecond)
	flying := c.flying
	c.flying = nil
	for _, m := range flying {
		for _, id := range c.ids() {
			if (m.To == id || m.To == Everyone) && id != m.From && !c.cut(m.From, id) {
				c.sent++
				if c.seen != nil {
					c.seen(m.From, id, m.Body)
				}
				c.deliver(id, m)
			}
		}
	}
	for _, id := range c.ids() {
		if at, ok := c.nodes[id].NextTimeout(); ok && !c.now.Before(at) {
			c.nodes[id].HandleTimeout(c.now)
		}
	}
}

// deliver goes through the codec.
func (c *cluster) deliver(id NodeID, m Message) {
	c.t.Helper()
	m.To = id
	got, err := ParseMessage(m.Append(nil))
	if err != nil {
		c.t.Fatalf("%T: %v", m.Body, err)
	}
	c.nodes[id].HandleMessage(c.now, got)
}

// leader waits for one.
func (c *cluster) leader() *Node {
	c.t.Helper()
	for range 100 {
		for _, id := range c.ids() {
			if n := c.nodes[id]; n.role == Leading && n.lead.connected(n, c.now) && n.chosen >= n.lead.begin {
				return n
			}
		}
		c.run(100 * time.Millisecond)
	}
	for _, id := range c.ids() {
		c.t.Logf("node %v: %+v", id, c.nodes[id].Status(c.now))
	}
	c.t.Fatal("no leader in 10 s")
	return nil
}

func (c *cluster) propose(n *Node, values ...string) {
	c.t.Helper()
	for _, v := range values {
		if err := n.Propose(c.now, []byte(v)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// commands returns what id applied.
func (c *cluster) commands(id NodeID) (list []string) {
	for _, e := range c.applied[id] {
		if e.Kind == Command {
			list = append(list, string(e.Value))
		}
	}
	return list
}

// agree wants every node to have applied the same, want among them.
func (c *cluster) agree(want ...string) {
	c.t.Helper()
	ids := c.ids()
	for _, id := range ids {
		if !slices.EqualFunc(c.applied[id], c.applied[ids[0]], func(a, b Entry) bool {
			return a.Slot == b.Slot && a.Kind == b.Kind && string(a.Value) == string(b.Value)
		}) {
			c.t.Errorf("nodes %v and %v have applied %v and %v", ids[0], id, c.applied[ids[0]], c.applied[id])
		}
		if got := c.commands(id); want != nil && !slices.Equal(got, want) {
			c.t.Errorf("node %v has applied %q, want %q", id, got, want)
		}
	}
}

func TestNode_ChoosesWhatIsProposed(t *testing.T) {
	for _, size := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := newCluster(t, size, nil)
			l := c.leader()
			c.propose(l, "a", "", "c")
			c.run(300 * time.Millisecond)
			c.agree("a", "", "c")
			for _, m := range l.Members().Members {
				if m.Incarnation == 0 {
					t.Errorf("node %v is not bound to a disk", m.ID)
				}
			}
		})
	}
}

func TestNode_LeaderLostAndFound(t *testing.T) {
	c := newCluster(t, 3, nil)
	first := c.leader()
	c.propose(first, "a", "b")
	c.run(300 * time.Millisecond)
	id := first.cfg.ID
	c.crash(id)
	second := c.leader()
	c.propose(second, "c")
	c.run(time.Second)
	c.agree("a", "b", "c")
	c.start(id)
	c.run(time.Second)
	c.propose(c.leader(), "d")
	c.run(time.Second)
	c.agree("a", "b", "c", "d")
}

func TestNode_WipedDiskIsALearnerUntilRebuilt(t *testing.T) {
	c := newCluster(t, 3, nil)
	l := c.leader()
	c.propose(l, "a")
	c.run(time.Second)
	id := l.cfg.ID%3 + 1
	c.crash(id)
	*c.disks[id] = State{}
	c.start(id)
	c.run(500 * time.Millisecond)
	if c.leader().members.Counts(id, c.nodes[id].self.inc, true) {
		t.Error("the new disk counts at once")
	}
	c.run(5 * time.Second)
	if m := c.leader().members; !m.Counts(id, c.nodes[id].self.inc, false) {
		t.Errorf("the new disk is no voter in the end: %+v", m)
	}
	c.propose(c.leader(), "b")
	c.run(time.Second)
	c.agree("a", "b")
}
