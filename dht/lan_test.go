package dht

import (
	"container/heap"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// lan is a network without loss that carries messages in one millisecond, as the
// bytes they are, between nodes that may be cut from each other or stopped.
type lan struct {
	t      *testing.T
	now    time.Time
	seq    int
	queue  lanQueue
	nodes  map[ID]*Node
	order  []ID
	events map[ID][]Event
	cut    func(from, to ID) bool
	tap    func(from Peer, to Peer, m Message)
	sent   int
	bytes  int

	offset  map[ID]time.Duration // of a machine's clock
	refused []lanRefusal
}

// lanRefusal is a connection that a machine did not get.
type lanRefusal struct {
	node *Node
	to   Peer
}

type lanItem struct {
	at   time.Time
	seq  int
	from Peer
	to   ID
	data []byte
}

type lanQueue []lanItem

func (q lanQueue) Len() int { return len(q) }
func (q lanQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q lanQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *lanQueue) Push(x any)   { *q = append(*q, x.(lanItem)) }
func (q *lanQueue) Pop() any {
	v := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return v
}

func newLAN(t *testing.T) *lan {
	return &lan{t: t, now: time.Unix(1e9, 0), nodes: map[ID]*Node{}, events: map[ID][]Event{}, offset: map[ID]time.Duration{}}
}

// lanPeer is node i of a test, somewhere on the circle.
func lanPeer(i int) Peer {
	h := func(k uint64) uint64 { return hashPeer(Peer{Incarnation: uint64(i)<<8 + k}) }
	p := Peer{ID: fromWords(uint32(h(1)), h(2), h(3)), Incarnation: 1}
	p.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 4000)
	return p
}

func (l *lan) add(cfg Config) *Node {
	if cfg.Self == (Peer{}) {
		cfg.Self = lanPeer(len(l.order) + 1)
	}
	cfg.Seed += uint64(len(l.order))
	n := NewNode(cfg)
	if l.nodes[cfg.Self.ID] == nil {
		l.order = append(l.order, cfg.Self.ID)
	}
	l.nodes[cfg.Self.ID] = n
	return n
}

// ring makes a ring of count nodes, all of which meet the first.
func (l *lan) ring(count int, cfg Config) (nodes []*Node) {
	for i := range count {
		n := l.add(cfg)
		if nodes = append(nodes, n); i > 0 {
			n.Meet(l.now, nodes[0].cfg.Self)
		}
	}
	l.run(20 * time.Second)
	l.whole(nodes...)
	return nodes
}

// kill stops a node: nobody hears of it.
func (l *lan) kill(n *Node) { delete(l.nodes, n.cfg.Self.ID) }

// inject lets from, who has proven to be it, say something to a node.
func (l *lan) inject(from Peer, to *Node, m Message) {
	to.HandleMessage(l.now, from, m)
	l.flush()
}

func (l *lan) flush() {
	for _, id := range l.order {
		n := l.nodes[id]
		if n == nil {
			continue
		}
		for _, p := range n.Outgoing() {
			l.carry(n.cfg.Self, p)
		}
		l.events[id] = append(l.events[id], n.Events()...)
	}
}

func (l *lan) carry(from Peer, p Packet) {
	b := AppendMessage(nil, p.Message)
	l.sent++
	l.bytes += len(b)
	if l.tap != nil {
		l.tap(from, p.To, p.Message)
	}
	if l.cut != nil && l.cut(from.ID, p.To.ID) {
		return
	}
	l.seq++
	heap.Push(&l.queue, lanItem{l.now.Add(time.Millisecond), l.seq, from, p.To.ID, b})
}

// forge lets a message arrive at once, before all that is under way.
func (l *lan) forge(from Peer, to ID, m Message) {
	l.seq++
	heap.Push(&l.queue, lanItem{l.now, l.seq, from, to, AppendMessage(nil, m)})
}

// run lets time pass.
func (l *lan) run(d time.Duration) {
	l.until(d, func() bool { return false })
}

// until lets time pass until done, at most d, and returns how much passed.
func (l *lan) until(d time.Duration, done func() bool) time.Duration {
	begin := l.now
	end := l.now.Add(d)
	for l.flush(); !done(); l.flush() {
		if l.refuse() {
			continue
		}
		at, who := end, (*Node)(nil)
		for _, id := range l.order {
			if n := l.nodes[id]; n != nil {
				if t, ok := n.NextTimeout(); ok && t.Add(-l.offset[id]).Before(at) {
					at, who = maxTime(t.Add(-l.offset[id]), l.now), n
				}
			}
		}
		if len(l.queue) > 0 && l.queue[0].at.Before(at) {
			v := heap.Pop(&l.queue).(lanItem)
			l.now = v.at
			m, err := ParseMessage(v.data)
			if err != nil {
				l.t.Fatalf("a message that was sent is refused: %v", err)
			}
			if n := l.nodes[v.to]; n != nil {
				n.HandleMessage(l.local(n), v.from, m)
			}
			continue
		}
		if l.now = at; who == nil {
			break
		}
		who.HandleTimeout(l.local(who))
	}
	return l.now.Sub(begin)
}

// refuse tells nodes of connections that they did not get.
func (l *lan) refuse() bool {
	list := l.refused
	l.refused = nil
	for _, r := range list {
		r.node.Unreachable(l.local(r.node), r.to)
	}
	return len(list) > 0
}

// local is the time of day at a node.
func (l *lan) local(n *Node) time.Time { return l.now.Add(l.offset[n.cfg.Self.ID]) }

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isWhole reports whether these nodes, and no others, are one ring.
func isWhole(nodes ...*Node) bool {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b *Node) int { return a.cfg.Self.ID.Compare(b.cfg.Self.ID) })
	for i, n := range nodes {
		v := n.View()
		least := max(min(len(nodes)-1, n.ring.length-2), 1) // a list that grows does so from behind
		if !v.Predecessor.Is(nodes[(i+len(nodes)-1)%len(nodes)].cfg.Self) || len(v.Successors) < least {
			return false
		}
		for k, p := range v.Successors {
			if !p.Is(nodes[(i+1+k)%len(nodes)].cfg.Self) {
				return false
			}
		}
	}
	return true
}

func (l *lan) whole(nodes ...*Node) {
	l.t.Helper()
	if isWhole(nodes...) {
		return
	}
	for _, n := range nodes[:min(len(nodes), 8)] {
		v := n.View()
		l.t.Logf("%x: before %x, head %x, %d successors of %d, %+v", v.Self.ID[:3], v.Predecessor.ID[:3], v.Successors[0].ID[:3], len(v.Successors), n.ring.length, n.Status())
	}
	l.t.Fatalf("%d nodes are not one ring", len(nodes))
}

func eventsOf[T Event](l *lan, n *Node) (list []T) {
	for _, e := range l.events[n.cfg.Self.ID] {
		if e, ok := e.(T); ok {
			list = append(list, e)
		}
	}
	return list
}
