package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/dht"
)

// Story is what happens to a ring of a few nodes: a time of faults drawn by lot,
// then a time of quiet, after which everything must be right.
type Story struct {
	Seed   uint64
	Broken dht.Mutation // planted in all nodes
	Large  bool         // as if there were more nodes than can all be known
	Events func(at time.Duration, node int, e dht.Event)
}

// Outcome is what came of it.
type Outcome struct {
	Hash     uint64 // of all that happened: the same for the same Story
	Nodes    int
	Messages uint64
	Faults   int
	Err      error // what was not right in the end
}

const (
	troubled  = 60 * time.Second
	quiet     = 100 * time.Second
	questions = 30
)

// Tell runs a story.
func Tell(s Story) Outcome {
	node := dht.Config{Redial: 15 * time.Second}
	if s.Large {
		node.MaxMembers = 4
	}
	w := newWorld(s.Seed, node)
	w.broken = s.Broken
	t := &teller{w: w, rng: w.rng}
	answers := map[lookupKey]dht.LookupDone{}
	w.watch = func(h *host, e dht.Event) {
		if s.Events != nil {
			s.Events(w.now, h.at, e)
		}
		if e, ok := e.(dht.LookupDone); ok {
			answers[lookupKey{h.at, e.ID}] = e
		}
	}
	t.begin()
	for at := time.Duration(0); at < troubled; at += t.pace() {
		w.run(at)
		t.fault()
		if err := w.bounded(); err != nil {
			return t.outcome(err)
		}
	}
	t.calm()
	w.run(troubled + quiet)
	for _, check := range []func() error{w.whole, w.known, w.bounded} {
		if err := check(); err != nil {
			return t.outcome(err)
		}
	}
	return t.outcome(t.lookAll(answers))
}

type lookupKey struct {
	host int
	id   uint64
}

// teller draws what happens.
type teller struct {
	w      *world
	rng    *rand.Rand
	kinds  uint64 // of faults in this story, a bit each
	faults int
}

func (t *teller) outcome(err error) Outcome {
	if err != nil {
		err = fmt.Errorf("sim: %w", err)
	}
	return Outcome{t.w.trace, len(t.w.running()), t.w.traffic.messages, t.faults, err}
}

// begin starts some nodes, each of which knows one or two that started before.
func (t *teller) begin() {
	w := t.w
	t.kinds = t.rng.Uint64() | t.rng.Uint64()
	w.net.delay = time.Duration(1+t.rng.IntN(40)) * time.Millisecond
	w.net.refuses = t.rng.IntN(2) == 0
	for range 2 + t.rng.IntN(12) {
		h := w.add()
		at := time.Duration(t.rng.Int64N(int64(5 * time.Second)))
		w.after(at, func() {
			if h.node == nil {
				w.start(h, t.contacts(h)...)
			}
		})
	}
}

// contacts are the first host, which is never the last resort of nobody, and another.
func (t *teller) contacts(h *host) (list []*host) {
	for _, c := range []*host{t.w.hosts[0], t.w.hosts[t.rng.IntN(len(t.w.hosts))]} {
		if c != h {
			list = append(list, c)
		}
	}
	return list
}

func (t *teller) pace() time.Duration {
	return time.Duration(t.rng.Int64N(int64(4 * time.Second)))
}

// fault does one of the things that can go wrong.
func (t *teller) fault() {
	kind := t.rng.IntN(12)
	h := t.w.hosts[t.rng.IntN(len(t.w.hosts))]
	if t.kinds>>kind&1 == 0 {
		return
	}
	t.faults++
	t.w.mark(6, uint64(kind), uint64(h.at))
	switch {
	case kind < 3:
		t.power(h, kind == 0)
	case kind == 3:
		t.half()
	case kind < 9:
		t.network(kind, h)
	case kind == 9:
		t.w.pause(h, time.Duration(t.rng.Int64N(int64(6*time.Second))))
	case kind == 10:
		t.w.jump(h, time.Duration(t.rng.IntN(3)-1)*365*24*time.Hour+time.Duration(t.rng.IntN(20)-10)*time.Second)
	case len(t.w.hosts) < 24:
		n := t.w.add()
		t.w.start(n, t.contacts(n)...)
	}
}

// power stops a host's node, or starts it.
func (t *teller) power(h *host, polite bool) {
	switch {
	case h.node == nil:
		t.w.start(h, t.contacts(h)...)
	case polite:
		t.w.leave(h)
	default:
		t.w.stop(h)
	}
}

// half stops half of all nodes at once.
func (t *teller) half() {
	for _, h := range t.w.running() {
		if t.rng.IntN(2) == 0 {
			t.w.stop(h)
		}
	}
}

func (t *teller) network(kind int, h *host) {
	n := &t.w.net
	switch kind {
	case 4: // two sides
		n.sides = nil
		for range t.w.hosts {
			n.sides = append(n.sides, t.rng.IntN(2))
		}
	case 5:
		n.cuts = append(n.cuts, cut{h.at, t.rng.IntN(len(t.w.hosts))})
	case 6:
		n.loss = t.rng.Float64() * 0.3
	default:
		n.heal()
	}
}

// calm ends all faults and starts what does not run, but for some that stay away.
func (t *teller) calm() {
	t.w.net.heal()
	for i, h := range t.w.hosts {
		h.paused = 0
		if h.node == nil && (i == 0 || t.rng.IntN(3) > 0) {
			t.w.start(h, t.contacts(h)...)
		}
	}
}

// lookAll looks keys up from everywhere and compares the answers with the truth.
func (t *teller) lookAll(answers map[lookupKey]dht.LookupDone) error {
	w, list := t.w, t.w.running()
	want := map[lookupKey]*host{}
	for range questions {
		h := list[t.rng.IntN(len(list))]
		key := w.point()
		id := h.node.Lookup(w.local(h), key)
		want[lookupKey{h.at, id}] = w.owner(key)
		w.drain(h)
	}
	w.run(w.now + 5*time.Second)
	for k, owner := range want {
		switch got, ok := answers[k]; {
		case !ok:
			return fmt.Errorf("a lookup at host %d is not done", k.host)
		case got.Err != nil:
			return fmt.Errorf("a lookup at host %d: %w", k.host, got.Err)
		case !got.Owner.Is(owner.self):
			return fmt.Errorf("a lookup at host %d finds host %d, the owner is host %d", k.host, w.number(got.Owner), owner.at)
		}
	}
	return nil
}
