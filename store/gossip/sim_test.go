package gossip

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// identity returns the key of the n-th machine, whose ID begins with n+1 so that
// machines sort by number and a message shows whose it is.
var identity = func() func(n int) ed25519.PrivateKey {
	keys := map[int]ed25519.PrivateKey{}
	var mu sync.Mutex
	return func(n int) ed25519.PrivateKey {
		mu.Lock()
		defer mu.Unlock()
		for i := uint64(0); keys[n] == nil; i++ {
			var seed [ed25519.SeedSize]byte
			binary.BigEndian.PutUint64(seed[:], uint64(n))
			binary.BigEndian.PutUint64(seed[8:], i)
			key := ed25519.NewKeyFromSeed(seed[:])
			if store.MachineIDOf(key.Public().(ed25519.PublicKey))[0] == byte(n+1) {
				keys[n] = key
			}
		}
		return keys[n]
	}
}()

func id(n int) store.MachineID {
	return store.MachineIDOf(identity(n).Public().(ed25519.PublicKey))
}

// mutation is a bug planted into a simulation's driver or network.
type mutation int

const (
	sound             mutation = iota
	sendBeforeSync             // messages leave before what they tell of is on the disk
	commitTooEarly             // Committed is called and the transaction discarded
	acceptGaps                 // entries are stored although one before them is missing
	acknowledgeAnyway          // messages that were lost are acknowledged
)

// host is a machine of a simulation: an engine, its disk, and what its user saw.
type host struct {
	id      store.MachineID
	key     ed25519.PrivateKey
	kv      *memKV
	e       *Engine
	applied map[store.Dot][]byte // rebuilt from the disk after a crash
	down    bool
	seq     uint64
}

// link is a connection between two hosts: ordered, lost as a whole.
type link struct{ a, b int }

type envelopeTo struct {
	at   time.Time
	from int
	to   int
	gen  int
	b    []byte
}

// world is some hosts and the connections between them, on one clock.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	now     time.Time
	hosts   []*host
	up      map[link]int // generation of the connection
	gen     int
	wire    []envelopeTo
	lost    float64 // chance that a message is lost and its connection stays
	bug     mutation
	sent    int
	bytes   int
	kinds   map[uint64]int
	trace   uint64
	failure string
	heard   func(envelopeTo)
}

const delay = 10 * time.Millisecond

func newWorld(t testing.TB, n int, seed uint64, bug mutation) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, up: map[link]int{},
		bug: bug, kinds: map[uint64]int{}}
	for i := range n {
		h := &host{id: id(i), key: identity(i), kv: newMemKV()}
		w.hosts = append(w.hosts, h)
		w.open(h)
	}
	return w
}

// open starts the engine on what the disk holds.
func (w *world) open(h *host) {
	e, err := New(h.kv, Config{Self: h.id, Key: h.key, Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 2))})
	if err != nil {
		w.t.Fatal(err)
	}
	h.e, h.down, h.applied = e, false, map[store.Dot][]byte{}
	for k, v := range h.kv.now {
		if k[1] == entryKeys {
			h.applied[dotOf(k)] = v
		}
	}
	h.seq = e.Vector()[h.id]
}

func dotOf(k string) store.Dot {
	var seq uint64
	for _, b := range []byte(k[18:]) {
		seq = seq<<8 | uint64(b)
	}
	return store.Dot{Machine: store.MachineID([]byte(k[2:18])), Seq: seq}
}

func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
	}
}

func (w *world) connect(i, k int) {
	l := link{min(i, k), max(i, k)}
	if w.up[l] != 0 || i == k || w.hosts[i].down || w.hosts[k].down {
		return
	}
	w.gen++
	w.up[l] = w.gen
	w.hosts[i].e.PeerUp(w.now, id(k))
	w.hosts[k].e.PeerUp(w.now, id(i))
	w.flush(i)
	w.flush(k)
}

func (w *world) cut(i, k int) {
	l := link{min(i, k), max(i, k)}
	if w.up[l] == 0 {
		return
	}
	delete(w.up, l)
	w.hosts[i].e.PeerDown(w.now, id(k))
	w.hosts[k].e.PeerDown(w.now, id(i))
}

// crash loses memory and what was not synced, and starts again.
func (w *world) crash(i int) {
	for k := range w.hosts {
		w.cut(i, k)
	}
	w.hosts[i].kv.crash()
	w.open(w.hosts[i])
}

func (w *world) mesh() {
	for i := range w.hosts {
		for k := range i {
			w.connect(i, k)
		}
	}
}

// write appends entries of host i in one transaction.
func (w *world) write(i int, payloads ...[]byte) {
	h := w.hosts[i]
	tx := h.kv.Begin()
	var dots []store.Dot
	for _, p := range payloads {
		d := store.Dot{Machine: h.id, Seq: h.seq + 1}
		if err := h.e.Append(tx, d, p); err != nil {
			h.e.Rollback()
			w.fail("append: %v", err)
			return
		}
		h.seq++
		dots = append(dots, d)
	}
	_ = tx.Commit(false)
	h.e.Committed()
	for n, d := range dots {
		h.applied[d] = payloads[n]
	}
	w.flush(i)
}

// absorb stores what came, as a driver does. Now and then it fails once.
func (w *world) absorb(i int) {
	h := w.hosts[i]
	for {
		entries := h.e.Received()
		if len(entries) == 0 {
			return
		}
		tx := h.kv.Begin()
		if err := h.e.Store(tx, entries); err != nil {
			h.e.Rollback()
			w.fail("store: %v", err)
			return
		}
		if w.rng.IntN(50) == 0 {
			tx.Discard()
			if w.bug == commitTooEarly {
				h.e.Committed()
			} else {
				h.e.Rollback()
			}
			continue
		}
		_ = tx.Commit(false)
		h.e.Committed()
		for _, en := range entries {
			if old, ok := h.applied[en.Dot]; ok {
				w.fail("%v given twice (%q, %q)", en.Dot, old, en.Payload)
			}
			if en.Dot.Seq > 1 {
				if _, ok := h.applied[store.Dot{Machine: en.Dot.Machine, Seq: en.Dot.Seq - 1}]; !ok {
					w.fail("%v given before the one it follows", en.Dot)
				}
			}
			h.applied[en.Dot] = en.Payload
		}
	}
}

// flush syncs the disk and sends what there is to send.
func (w *world) flush(i int) {
	h := w.hosts[i]
	out := h.e.Outgoing()
	if len(out) > 0 && w.bug != sendBeforeSync {
		h.kv.sync()
	}
	for _, p := range out {
		k := int(p.Peer[0]) - 1
		w.sent++
		w.bytes += len(p.Message)
		w.kinds[uint64(p.Message[1])]++
		w.note(i, k, p.Message)
		if w.rng.Float64() >= w.lost {
			w.wire = append(w.wire, envelopeTo{at: w.now.Add(delay), from: i, to: k, gen: w.up[link{min(i, k), max(i, k)}], b: p.Message})
		}
	}
}

func (w *world) note(i, k int, b []byte) {
	f := fnv.New64a()
	fmt.Fprint(f, w.trace, w.now.UnixNano(), i, k)
	f.Write(b)
	w.trace = f.Sum64()
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		at, timer := end.Add(1), -1
		for i, h := range w.hosts {
			if t, ok := h.e.NextTimeout(); ok && t.Before(at) {
				at, timer = t, i
			}
		}
		if len(w.wire) > 0 && !w.wire[0].at.After(at) {
			at, timer = w.wire[0].at, -2
		}
		if at.After(end) {
			w.now = end
			return
		}
		if at.After(w.now) {
			w.now = at
		}
		if timer >= 0 {
			w.hosts[timer].e.HandleTimeout(w.now)
			w.flush(timer)
			continue
		}
		m := w.wire[0]
		w.wire = w.wire[1:]
		w.deliver(m)
	}
}

func (w *world) deliver(m envelopeTo) {
	if m.gen == 0 || w.up[link{min(m.from, m.to), max(m.from, m.to)}] != m.gen {
		return
	}
	if w.heard != nil {
		w.heard(m)
	}
	h := w.hosts[m.to]
	b := m.b
	if got, err := parse(b); err == nil {
		if em, ok := got.(*entriesMessage); ok {
			w.plant(h, em)
		}
	}
	h.e.HandlePacket(w.now, Packet{Peer: id(m.from), Message: b})
	w.absorb(m.to)
	w.flush(m.to)
	w.honest(m.to, m.from)
}

// plant makes the receiving engine wrong in the way that the mutation says.
func (w *world) plant(h *host, m *entriesMessage) {
	switch w.bug {
	case acceptGaps:
		for _, r := range m.Runs {
			if h.e.inbox.heard[r.Machine] < r.First-1 {
				h.e.inbox.heard[r.Machine], h.e.inbox.ends[r.Machine] = r.First-1, r.Before
			}
		}
	case acknowledgeAnyway:
		for _, p := range h.e.order() {
			if p.came.Session == m.Session {
				p.came.Number = m.Number - 1
			}
		}
	}
}

// honest checks that nobody believes another to have what its disk could lose.
func (w *world) honest(a, b int) {
	known, ok := w.hosts[a].e.Known(id(b))
	if !ok {
		return
	}
	for m, n := range known {
		if _, ok := w.hosts[b].kv.synced[string(entryKey(store.Dot{Machine: m, Seq: n}))]; !ok && n > 0 {
			w.fail("%d believes that %d has %s/%d", a, b, m.Short(), n)
		}
	}
}

// agree reports whether all hosts hold the same entries.
func (w *world) agree() bool {
	for _, h := range w.hosts[1:] {
		if len(h.applied) != len(w.hosts[0].applied) {
			return false
		}
		for d, p := range h.applied {
			if q, ok := w.hosts[0].applied[d]; !ok || !bytes.Equal(p, q) {
				return false
			}
		}
	}
	return true
}

// turmoil lets the hosts write while connections and machines come and go, then
// lets all be well for ten minutes.
func turmoil(t testing.TB, seed uint64, bug mutation) *world {
	rng := rand.New(rand.NewPCG(seed, 3))
	w := newWorld(t, 2+rng.IntN(5), seed, bug)
	w.lost = []float64{0, 0, 0.05}[rng.IntN(3)]
	for n := range 120 {
		i, k := rng.IntN(len(w.hosts)), rng.IntN(len(w.hosts))
		switch r := rng.IntN(10); {
		case r < 4:
			var ps [][]byte
			for range 1 + rng.IntN(20) {
				ps = append(ps, fmt.Appendf(nil, "%d by %d %s", n, i, bytes.Repeat([]byte{'x'}, rng.IntN(3000))))
			}
			w.write(i, ps...)
		case r < 7:
			w.connect(i, k)
		case r < 8:
			w.cut(i, k)
		case r < 9 && n%3 == 0:
			w.crash(i)
		default:
			w.hosts[i].e.SetInventory(w.now, fmt.Appendf(nil, "%d", n))
			w.flush(i)
		}
		w.run(time.Duration(rng.IntN(40)) * 5 * time.Millisecond)
		if w.failure != "" {
			return w
		}
	}
	w.lost = 0
	w.mesh()
	w.run(10 * time.Minute)
	if !w.agree() && w.failure == "" {
		w.fail("no agreement after ten minutes")
	}
	w.checkInventories()
	return w
}

func (w *world) checkInventories() {
	for _, of := range w.hosts {
		mine, ok := of.e.Inventory(of.id)
		if !ok {
			continue // lost with a restart
		}
		for _, h := range w.hosts {
			if got, _ := h.e.Inventory(of.id); !bytes.Equal(got, mine) {
				w.fail("%s has inventory %q of %s, not %q", h.id.Short(), got, of.id.Short(), mine)
			}
		}
	}
}

func TestSim_AllConverge(t *testing.T) {
	for seed := range seeds(t, 50) {
		w := turmoil(t, seed, sound)
		if w.failure != "" {
			t.Fatalf("seed %d: %s", seed, w.failure)
		}
		if seed%10 == 0 && turmoil(t, seed, sound).trace != w.trace {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

func TestSim_PlantedBugsAreCaught(t *testing.T) {
	for name, bug := range map[string]mutation{"send before sync": sendBeforeSync, "commit too early": commitTooEarly,
		"accept gaps": acceptGaps, "acknowledge anyway": acknowledgeAnyway} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				if w := turmoil(t, seed, bug); w.failure != "" {
					t.Logf("seed %d: %s", seed, w.failure)
					return
				}
			}
			t.Fatal("not caught in 40 seeds")
		})
	}
}

// seeds yields n seeds, or as many as AETHER_SIM_SEEDS says.
func seeds(t testing.TB, n uint64) func(func(uint64) bool) {
	if s := os.Getenv("AETHER_SIM_SEEDS"); s != "" {
		m, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		n = m
	}
	return func(yield func(uint64) bool) {
		for i := uint64(0); i < n && yield(i); i++ {
		}
	}
}
