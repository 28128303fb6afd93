package sim

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// network carries bytes between hosts, and loses, doubles, delays and repeats them.
type network struct {
	w    *world
	cut  [][]bool // from, to
	clog [][]time.Duration
}

type packet struct {
	from, to int
	bytes    []byte
}

func (n *network) init(w *world) {
	n.w = w
	for range w.knobs.nodes {
		n.cut = append(n.cut, make([]bool, w.knobs.nodes))
		n.clog = append(n.clog, make([]time.Duration, w.knobs.nodes))
	}
}

// send carries m; one message to Everyone is lost or not by each receiver alone.
func (n *network) send(h *host, m paxos.Message) {
	n.w.check.sending(h, m)
	b := m.Append(nil)
	for _, to := range n.w.hosts {
		if to != h && (m.To == to.id || m.To == paxos.Everyone) {
			n.carry(packet{h.index(), to.index(), b})
		}
	}
}

func (n *network) carry(p packet) {
	w := n.w
	if w.chance(n.lossP()) || n.cut[p.from][p.to] {
		return
	}
	n.deliver(p, w.exponential(w.knobs.delay)+w.knobs.delay/4)
	if !w.calm && w.chance(w.knobs.dupP) {
		n.deliver(p, w.exponential(4*w.knobs.delay))
	}
	if w.has(replay) && w.rng.IntN(50) == 0 {
		n.deliver(p, w.exponential(5*time.Second))
	}
}

func (n *network) lossP() float64 {
	if n.w.calm {
		return 0
	}
	return n.w.knobs.lossP
}

func (n *network) deliver(p packet, d time.Duration) {
	w := n.w
	if c := n.clog[p.from][p.to]; c > w.now {
		d += c - w.now
	}
	w.after(d, func() {
		if !n.cut[p.from][p.to] {
			w.hosts[p.to].receive(p)
		}
	})
}

// heal ends all cuts.
func (n *network) heal() {
	for i := range n.cut {
		clear(n.cut[i])
		clear(n.clog[i])
	}
}

// both cuts or joins two hosts in both directions.
func (n *network) both(a, b int, cut bool) { n.cut[a][b], n.cut[b][a] = cut, cut }

// partition draws one of the shapes that the seed allows, and heals it later.
func (n *network) partition(f fault) {
	w, size := n.w, len(n.cut)
	n.heal()
	switch f {
	case oneWay:
		n.cut[w.rng.IntN(size)][w.rng.IntN(size)] = true
	case clog:
		n.clog[w.rng.IntN(size)][w.rng.IntN(size)] = w.now + w.exponential(2*time.Second)
	case omni:
		n.partial()
	default:
		side := w.rng.Uint64()
		if w.rng.IntN(3) == 0 {
			side = 1 << w.rng.IntN(size) // isolate one
		}
		for a := range size {
			for b := range size {
				if side>>a&1 != side>>b&1 {
					n.cut[a][b] = true
				}
			}
		}
	}
	w.note(fmt.Sprintf("network: %s", faultNames[f]))
	w.after(w.exponential(3*time.Second), func() {
		n.heal()
		w.note("network: healed")
	})
}

// partial makes one of the partial partitions in which Raft and its like lose
// liveness (Omni-Paxos section 2): one host hears all and the others hear only it
// (quorum loss, constrained election), or the hosts form a chain.
func (n *network) partial() {
	w, size := n.w, len(n.cut)
	hub := w.rng.IntN(size)
	chain := w.rng.IntN(2) == 0
	order := w.rng.Perm(size)
	for a := range size {
		for b := range a {
			if chain {
				n.both(order[a], order[b], a-b > 1)
			} else {
				n.both(a, b, a != hub && b != hub)
			}
		}
	}
}
