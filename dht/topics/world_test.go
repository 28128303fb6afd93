package topics_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
	"github.com/aether-lan/aether/internal/netsim"
)

// letter is a packet of the simulated network.
type letter struct {
	from, to dht.Peer
	bytes    []byte
}

// member is a node of the world: an engine and what it believes about the ring.
type member struct {
	*topics.Engine
	w       *world
	self    dht.Peer
	members []dht.Peer // sorted by ID, as this node believes
	service func(m *member, now time.Time, a topics.Asked)
	events  []topics.Event
	heard   []topics.Event
	late    bool // answers Resolve by an error

	got        map[string][]topics.Delivered // by topic, all lives
	sent       map[topics.RequestID]int      // copies of each message sent to children
	subscribed map[string]bool               // has a place
}

func (m *member) HandlePacket(now time.Time, p letter) {
	msg, err := topics.ParseMessage(p.bytes)
	if err != nil {
		panic(err)
	}
	m.HandleMessage(now, p.from, msg)
}

func (m *member) Outgoing() (out []letter) {
	m.heard = append(m.heard, m.hear()...) // what is answered at once is sent at once
	for _, p := range m.Engine.Outgoing() {
		if f, ok := p.Message.(topics.Forward); ok && f.Role == topics.Child {
			m.sent[f.ID]++
		}
		b := topics.AppendMessage(nil, p.Message)
		if len(b) > topics.MaxMessage {
			panic(fmt.Sprintf("message of %d bytes", len(b)))
		}
		out = append(out, letter{m.self, p.To, b})
	}
	return out
}

// Events returns what has been heard.
func (m *member) Events() []topics.Event {
	ev := m.heard
	m.heard = nil
	return ev
}

// hear answers what is for the driver.
func (m *member) hear() (out []topics.Event) {
	for {
		list := m.Engine.Events()
		if len(list) == 0 {
			return out
		}
		for _, ev := range list {
			out = append(out, ev)
			now := m.w.sim.Now()
			switch ev := ev.(type) {
			case topics.Resolve:
				if m.late {
					m.Resolved(now, ev.Token, dht.Peer{}, fmt.Errorf("nobody knows"))
				} else {
					m.Resolved(now, ev.Token, successor(m.members, ev.Key), nil)
				}
			case topics.Asked:
				if m.service != nil {
					m.service(m, now, ev)
				}
			case topics.Delivered:
				m.got[ev.Topic] = append(m.got[ev.Topic], ev)
			case topics.Subscribed:
				m.subscribed[ev.Topic] = true
			case topics.Unattached:
				m.subscribed[ev.Topic] = false
			}
			m.events = append(m.events, ev)
		}
	}
}

// outcome returns the event that tells the outcome of a request.
func (m *member) outcome(number uint64) topics.Event {
	for _, ev := range m.events {
		switch e := ev.(type) {
		case topics.Answered:
			if e.Number == number {
				return ev
			}
		case topics.Published:
			if e.Number == number {
				return ev
			}
		case topics.Failed:
			if e.Number == number {
				return ev
			}
		}
	}
	return nil
}

// world is a ring of nodes on a simulated network.
type world struct {
	t     testing.TB
	sim   *netsim.Sim[letter, topics.Event]
	space dht.Space
	nodes []*member
	alive []bool
	group []int // partition that each node is in
	cfg   topics.Config

	mutation topics.Mutation
}

func number(p dht.Peer) netsim.ID { return netsim.ID(p.Address.Port()) }

func newWorld(t testing.TB, seed uint64, n int, cfg topics.Config) *world {
	w := &world{t: t}
	w.make(seed, n, cfg)
	return w
}

func (w *world) make(seed uint64, n int, cfg topics.Config) {
	w.space, _ = dht.NewSpace(160)
	cfg.Space = w.space
	w.cfg, w.sim = cfg, netsim.New[letter, topics.Event](seed)
	w.sim.To = func(_ netsim.ID, p letter) (netsim.ID, bool) { return number(p.to), true }
	w.sim.Encode = func(b []byte, p letter) []byte {
		return append(binary.BigEndian.AppendUint16(b, p.to.Address.Port()), p.bytes...)
	}
	w.sim.Segment("lan").Faults = netsim.Faults{Delay: time.Millisecond}
	for range n {
		w.add()
	}
	w.settleRing()
}

func (w *world) add() *member {
	i := len(w.nodes)
	sum := sha256.Sum256([]byte(fmt.Sprint("node ", i)))
	self := dht.Peer{ID: w.space.Hash(sum[:]), Incarnation: 1, Address: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i))}
	m := &member{
		w: w, self: self, got: map[string][]topics.Delivered{},
		sent: map[topics.RequestID]int{}, subscribed: map[string]bool{},
	}
	w.nodes, w.alive, w.group = append(w.nodes, m), append(w.alive, true), append(w.group, 0)
	m.start()
	w.sim.Attach(m, "lan")
	return m
}

func (m *member) start() {
	cfg := m.w.cfg
	cfg.Self, cfg.Seed = m.self, m.w.sim.Rand().Uint64()
	m.Engine = topics.New(cfg)
	m.Mutate(m.w.mutation)
	m.members = []dht.Peer{m.self}
}

func byID(a, b dht.Peer) int { return a.ID.Compare(b.ID) }

func successor(ring []dht.Peer, key dht.ID) dht.Peer {
	i, _ := slices.BinarySearchFunc(ring, key, func(p dht.Peer, k dht.ID) int { return p.ID.Compare(k) })
	return ring[i%len(ring)]
}

// ring returns the live nodes of a partition, in order.
func (w *world) ring(group int) (ring []dht.Peer) {
	for i, m := range w.nodes {
		if w.alive[i] && w.group[i] == group {
			ring = append(ring, m.self)
		}
	}
	slices.SortFunc(ring, byID)
	return ring
}

// tell tells a node how the ring is.
func (w *world) tell(i int, ring []dht.Peer) {
	m := w.nodes[i]
	if !w.alive[i] {
		return
	}
	w.sim.Do(netsim.ID(i), func(now time.Time) {
		gone := slices.DeleteFunc(slices.Clone(m.members), func(p dht.Peer) bool { return slices.ContainsFunc(ring, p.Is) })
		m.members = ring
		at, ok := slices.BinarySearchFunc(ring, m.self, byID)
		if !ok {
			return // it has restarted meanwhile
		}
		v := dht.View{Self: m.self, Predecessor: ring[(at+len(ring)-1)%len(ring)]}
		for k := 1; k <= min(len(ring)-1, 8); k++ {
			v.Successors = append(v.Successors, ring[(at+k)%len(ring)])
		}
		if len(v.Successors) == 0 {
			v.Successors = []dht.Peer{m.self}
		}
		m.HandleView(now, v)
		for _, p := range gone {
			m.Unreachable(now, p)
		}
	})
}

// settleRing tells all nodes how the ring is, at once.
func (w *world) settleRing() {
	rings := map[int][]dht.Peer{}
	for i := range w.nodes {
		if w.alive[i] && rings[w.group[i]] == nil {
			rings[w.group[i]] = w.ring(w.group[i])
		}
	}
	for i := range w.nodes {
		w.tell(i, rings[w.group[i]])
	}
}

// spread tells all nodes how the ring is, each up to d from now.
func (w *world) spread(d time.Duration) {
	for i := range w.nodes {
		w.sim.At(w.sim.Elapsed()+time.Duration(w.sim.Rand().Int64N(int64(d))), func() { w.tell(i, w.ring(w.group[i])) })
	}
}

func (w *world) crash(i int) {
	w.alive[i] = false
	w.sim.Crash(netsim.ID(i))
}

// restart begins a new life of a node that has forgotten everything.
func (w *world) restart(i int) {
	m := w.nodes[i]
	m.self.Incarnation++
	w.alive[i] = true
	clear(m.subscribed)
	m.events = nil // requests are numbered from 1 again
	m.start()
	w.sim.Restart(netsim.ID(i), m)
}

func (w *world) do(i int, f func(m *member, now time.Time)) {
	w.sim.Do(netsim.ID(i), func(now time.Time) { f(w.nodes[i], now) })
}

func (w *world) subscribe(topic string, nodes ...int) {
	for _, i := range nodes {
		w.do(i, func(m *member, now time.Time) {
			if err := m.Subscribe(now, topic); err != nil {
				w.t.Fatal(err)
			}
		})
	}
}

func (w *world) publish(i int, topic, text string) (n uint64) {
	w.do(i, func(m *member, now time.Time) { n = m.Publish(now, topic, []byte(text)) })
	return n
}

// rootOf returns the number of the node that owns a topic.
func (w *world) rootOf(topic string) int {
	return int(number(successor(w.ring(0), topics.TopicID(w.space, topic))))
}

func texts(list []topics.Delivered) (s []string) {
	for _, d := range list {
		s = append(s, string(d.Payload))
	}
	return s
}

func count(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}
