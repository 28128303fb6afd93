package records

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

// world is a made-up ring: virtual time, a network, disks and processes that fail, and
// views that are late or wrong, all drawn from one seed.
type world struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	now     time.Duration
	queue   happenings
	seq     uint64
	trace   hash.Hash64
	hosts   []*host
	clients []*client
	knobs   knobs
	calm    bool
	joined  time.Duration // the last that joined
	check   checks
	failure string
	verbose bool
}

// knobs are what a seed draws.
type knobs struct {
	nodes, copies, clients, keys, ops int
	list                              int // successors in a view; 0 all
	delay, disk                       time.Duration
	loss, dup, replay                 float64
	crash, cut, lie, join, die        bool
	mutation                          Mutation
}

// happening is something at an instant.
type happening struct {
	at  time.Duration
	seq uint64
	do  func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(v any)   { *h = append(*h, v.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	v := old[len(old)-1]
	*h = old[:len(old)-1]
	return v
}

// host is a node's machine.
type host struct {
	w      *world
	peer   dht.Peer
	e      *Engine
	disk   map[string][]byte
	up     bool
	dead   bool // for ever
	inRing bool
	side   int
	life   int
	timer  time.Duration // the one that is set; 0 none
	view   dht.View
	epoch  int // counts views, so that a late one does not replace a newer
}

func newWorld(t *testing.T, seed uint64, m Mutation) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 77)), trace: fnv.New64a()}
	k := &w.knobs
	*k = knobs{
		nodes: 3 + w.rng.IntN(4), copies: 3 + 2*w.rng.IntN(2), clients: 3, keys: 3, ops: 30,
		delay: time.Duration(1+w.rng.IntN(8)) * time.Millisecond, disk: time.Duration(1+w.rng.IntN(5)) * time.Millisecond,
		crash: w.chance(0.6), cut: w.chance(0.6), lie: w.chance(0.4), join: w.chance(0.5), die: w.chance(0.3),
		mutation: m,
	}
	if w.chance(0.5) {
		k.loss = 0.15 * w.rng.Float64()
	}
	if w.chance(0.5) {
		k.dup = 0.1
	}
	if w.chance(0.3) {
		k.replay = 0.02
	}
	if w.chance(0.3) {
		k.list = 4
	}
	if w.chance(0.25) {
		k.disk = 120 * time.Millisecond
	}
	w.check.init(w)
	for range k.nodes {
		w.addHost()
	}
	return w
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("at %v: ", w.now) + fmt.Sprintf(format, args...)
	}
}

func (w *world) logf(format string, args ...any) {
	s := fmt.Sprintf("%10.6f ", w.now.Seconds()) + fmt.Sprintf(format, args...)
	w.trace.Write([]byte(s))
	if w.verbose {
		w.t.Log(s)
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, happening{w.now + d, w.seq, do})
}

// run lets things happen until the instant, or until done.
func (w *world) run(until time.Duration, done func() bool) {
	for n := 0; len(w.queue) > 0 && w.queue[0].at <= until && w.failure == ""; n++ {
		h := heap.Pop(&w.queue).(happening)
		w.now = h.at
		h.do()
		if done != nil && n%50 == 0 && done() {
			return
		}
		if w.seq > 3_000_000 {
			w.fail("it does not come to rest")
		}
	}
	if len(w.queue) == 0 || w.queue[0].at > until {
		w.now = max(w.now, until)
	}
}

func (w *world) clock() time.Time { return start.Add(w.now) }

func (w *world) exp(mean time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(mean))
}

func (w *world) addHost() *host {
	id := dht.ID{}
	binary.BigEndian.PutUint64(id[:], w.rng.Uint64())
	h := &host{w: w, disk: map[string][]byte{}}
	h.peer = dht.Peer{ID: id}
	w.hosts = append(w.hosts, h)
	h.boot()
	return h
}

// boot starts a host from its disk.
func (h *host) boot() {
	h.peer.Incarnation++
	h.life++
	h.up = true
	cfg := Config{
		Self: h.peer, Seed: h.w.rng.Uint64(), Copies: h.w.knobs.copies, Settle: 300 * time.Millisecond,
		Resend: 100 * time.Millisecond, Patience: 1500 * time.Millisecond,
	}
	keys := slices.Sorted(maps.Keys(h.disk))
	e, err := Restore(cfg, func(yield func(k, v []byte) bool) {
		for _, k := range keys {
			if !yield([]byte(k), h.disk[k]) {
				return
			}
		}
	})
	if err != nil {
		h.w.fail("host %s: %v", h.name(), err)
		return
	}
	e.broken = h.w.knobs.mutation
	h.e = e
	h.w.logf("%s boots with %d rows", h.name(), len(keys))
	h.timer = 0
	h.inRing = true
	h.w.ringChanged()
	h.pump()
}

func (h *host) name() string { return fmt.Sprintf("%x.%d", h.peer.ID[:2], h.peer.Incarnation) }

// crash stops a host: what is not saved is lost.
func (h *host) crash() {
	h.w.logf("%s crashes", h.name())
	h.up, h.e, h.inRing = false, nil, false
	h.life++
	h.w.ringChanged()
}

// do lets the engine take something in, and carries out what it wants.
func (h *host) do(f func(e *Engine, now time.Time)) {
	if !h.up {
		return
	}
	f(h.e, h.w.clock())
	h.pump()
}

func (h *host) pump() {
	w := h.w
	if h.e == nil {
		return
	}
	if b, seq, ok := h.e.Unsaved(); ok {
		life := h.life
		w.after(w.knobs.disk/2+w.exp(w.knobs.disk), func() { h.save(life, b, seq) })
	}
	for _, p := range h.e.Outgoing() {
		w.carry(h, p)
	}
	for _, v := range h.e.Events() {
		w.check.event(h, v)
	}
	h.setTimer()
}

// save puts a batch on disk. Batches of one life come in order: a later one that is
// done earlier waits.
func (h *host) save(life int, b Batch, seq uint64) {
	if h.life != life {
		return
	}
	if h.e.disk.saved+1 != seq {
		h.w.after(time.Millisecond, func() { h.save(life, b, seq) })
		return
	}
	for _, r := range b {
		if r.Value == nil {
			delete(h.disk, string(r.Key))
		} else {
			h.disk[string(r.Key)] = slices.Clone(r.Value)
		}
	}
	h.do(func(e *Engine, now time.Time) { e.Saved(now, seq) })
}

func (h *host) setTimer() {
	t, ok := h.e.NextTimeout()
	if !ok {
		return
	}
	at := max(t.Sub(start), h.w.now)
	if h.timer != 0 && h.timer <= at && h.timer > h.w.now {
		return
	}
	h.timer = at
	life := h.life
	h.w.after(at-h.w.now, func() {
		if h.life == life && h.timer == at {
			h.timer = 0
			h.do(func(e *Engine, now time.Time) { e.HandleTimeout(now) })
		}
	})
}

// carry takes a message to its host, or not.
func (w *world) carry(from *host, p Packet) {
	b := AppendMessage(nil, p.Message)
	w.trace.Write(b)
	i := slices.IndexFunc(w.hosts, func(h *host) bool { return h.peer.ID == p.To.ID })
	if i < 0 {
		return
	}
	to := w.hosts[i]
	if !w.calm && w.chance(w.knobs.loss) {
		return
	}
	w.deliver(from, to, b, w.knobs.delay/2+w.exp(w.knobs.delay))
	if !w.calm && w.chance(w.knobs.dup) {
		w.deliver(from, to, b, w.exp(5*w.knobs.delay))
	}
	if !w.calm && w.chance(w.knobs.replay) {
		w.deliver(from, to, b, w.exp(5*time.Second))
	}
}

func (w *world) deliver(from, to *host, b []byte, d time.Duration) {
	peer := from.peer
	w.after(d, func() {
		if !to.up || from.side != to.side {
			return
		}
		m, err := ParseMessage(slices.Clone(b))
		if err != nil {
			w.fail("%T does not parse: %v", m, err)
			return
		}
		if w.verbose {
			w.t.Logf("%10.6f %s -> %s %.300s", w.now.Seconds(), from.name(), to.name(), fmt.Sprintf("%T %+v", m, m))
		}
		to.do(func(e *Engine, now time.Time) { e.HandleMessage(now, peer, m) })
	})
}

// ringChanged lets all nodes know of the ring as it is now, each in its own time.
func (w *world) ringChanged() {
	for _, h := range w.hosts {
		h.epoch++
		h.viewAfter(w.exp(400*time.Millisecond), h.epoch)
	}
}

func (h *host) viewAfter(d time.Duration, epoch int) {
	h.w.after(d, func() {
		if h.up && h.epoch == epoch {
			h.show(h.w.truth(h, nil))
		}
	})
}

// truth is the ring as h would see it if it saw well, without those left out.
func (w *world) truth(h *host, without *host) dht.View {
	var ring []dht.Peer
	for _, o := range w.hosts {
		if o != without && o != h && o.up && o.inRing && o.side == h.side {
			ring = append(ring, o.peer)
		}
	}
	slices.SortFunc(ring, func(a, b dht.Peer) int {
		x, y := a.ID.Compare(h.peer.ID) < 0, b.ID.Compare(h.peer.ID) < 0
		if x != y {
			if y {
				return -1
			}
			return 1
		}
		return a.ID.Compare(b.ID)
	})
	if len(ring) == 0 {
		return dht.View{Self: h.peer, Predecessor: h.peer, Successors: []dht.Peer{h.peer}}
	}
	v := dht.View{Self: h.peer, Predecessor: ring[len(ring)-1], Successors: ring}
	if n := w.knobs.list; n > 0 && n < len(ring) {
		v.Successors = ring[:n]
	}
	return v
}

func (h *host) show(v dht.View) {
	h.view = v
	if h.w.verbose {
		h.w.logf("%s sees %d others, after %x", h.name(), len(v.Successors), v.Predecessor.ID[:2])
	}
	h.do(func(e *Engine, now time.Time) { e.HandleView(now, v) })
}

// trouble lets one thing go wrong, now and then.
func (w *world) trouble() {
	if w.calm {
		return
	}
	w.after(w.exp(1200*time.Millisecond), w.trouble)
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	switch k := w.knobs; w.rng.IntN(5) {
	case 0:
		switch {
		case k.crash && w.chance(0.3):
			w.powerCut()
		case k.crash && h.up && w.upHosts() > 1:
			h.crash()
			w.after(w.exp(2*time.Second), func() { w.revive(h) })
		}
	case 1:
		// A node that was never in touch with the ring may found one of its own: that is
		// another test.
		if k.cut && w.now > w.joined+1500*time.Millisecond {
			w.cut()
		}
	case 2:
		if k.lie && h.up {
			o := w.hosts[w.rng.IntN(len(w.hosts))]
			w.logf("%s does not see %s", h.name(), o.name())
			h.show(w.truth(h, o))
			h.epoch++
			h.viewAfter(w.exp(time.Second), h.epoch)
		}
	case 3:
		if k.join && len(w.hosts) < k.nodes+3 && w.whole() {
			w.joined = w.now
			w.addHost()
		}
	case 4:
		if k.die && h.up && len(w.hosts) > 3 {
			w.knobs.die = false // one at most is lost for ever
			h.dead = true
			h.crash()
			h.disk = nil
		}
	}
}

// powerCut crashes all hosts at once.
func (w *world) powerCut() {
	w.logf("the power is cut")
	for _, h := range w.hosts {
		if h.up {
			h.crash()
			w.after(w.exp(time.Second), func() { w.revive(h) })
		}
	}
	if !slices.ContainsFunc(w.hosts, func(h *host) bool { return len(h.disk) > 0 }) {
		w.check.founded = nil // nothing is left of it: another may be founded
	}
}

func (w *world) upHosts() (n int) {
	for _, h := range w.hosts {
		if h.up {
			n++
		}
	}
	return n
}

func (w *world) revive(h *host) {
	if !h.up && !h.dead {
		h.boot()
	}
}

func (w *world) cut() {
	side := w.rng.Uint64()
	for i, h := range w.hosts {
		h.side = int(side >> i & 1)
	}
	w.logf("network is cut: %b", side&(1<<len(w.hosts)-1))
	w.ringChanged()
	w.after(w.exp(2*time.Second), w.heal)
}

// founded reports whether all know of the lineage: parts of a ring that are cut off
// from each other before may found one each, which is another test.
func (w *world) founded() bool {
	return !slices.ContainsFunc(w.hosts, func(h *host) bool { return h.e.lineage == 0 })
}

// whole reports whether all can reach each other.
func (w *world) whole() bool {
	return !slices.ContainsFunc(w.hosts, func(h *host) bool { return h.side != 0 })
}

func (w *world) heal() {
	for _, h := range w.hosts {
		h.side = 0
	}
	w.logf("network is whole")
	w.ringChanged()
}

// settle ends all trouble.
func (w *world) settle() {
	w.logf("calm")
	w.calm = true
	for _, h := range w.hosts {
		w.revive(h)
	}
	w.heal()
}
