package replicate

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// sim is a pool of machines under a seeded schedule: versions are written and
// told, connections and machines come and go, fetches are slow, fail, or find
// nothing. Then the trouble ends, and every version must be where it belongs.
type sim struct {
	rng     *rand.Rand
	now     time.Time
	hosts   []*host
	seq     int
	events  []simEvent
	trace   io.Writer
	faults  bool
	mutant  string
	err     error
	fetches int
	links   int
}

// host is a machine: its KV is its disk, all else dies with it.
type host struct {
	id      store.MachineID
	kv      *memory
	e       *Engine
	up      bool
	life    int
	written uint64
	have    map[store.Dot]bool // chunks on its disk
	got     map[store.Dot]int  // times fetched
	log     []Assignment       // what gossip has told it, in order by author
	peers   map[*host]int      // number of the connection
}

type simEvent struct {
	at  time.Time
	seq int
	f   func()
}

func (s *sim) after(d time.Duration, f func()) {
	s.seq++
	s.events = append(s.events, simEvent{s.now.Add(d), s.seq, f})
}

func (s *sim) random(max time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(max))) }

func (s *sim) failf(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("at %v: %s", s.now.Sub(start), fmt.Sprintf(format, args...))
	}
}

func newSim(seed uint64, faults bool, mutant string) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 7)), now: start, faults: faults, mutant: mutant, trace: io.Discard}
	for i := range 3 + s.rng.IntN(4) {
		h := &host{
			id: store.MachineID{byte('a' + i)}, kv: newMemory(), peers: make(map[*host]int),
			have: make(map[store.Dot]bool), got: make(map[store.Dot]int),
		}
		s.hosts = append(s.hosts, h)
		s.boot(h)
	}
	for i, a := range s.hosts {
		for _, b := range s.hosts[:i] {
			s.connect(a, b)
		}
	}
	return s
}

func (s *sim) boot(h *host) {
	var err error
	h.e, err = New(h.kv, Config{Self: h.id, BatchFiles: 4, BatchBytes: 50, Window: 8, Rand: rand.New(rand.NewPCG(uint64(h.life), 1))})
	if err != nil {
		s.failf("open: %v", err)
	}
	h.up = true
	h.life++
}

func (s *sim) connect(a, b *host) {
	if a == b || !a.up || !b.up || a.peers[b] != 0 {
		return
	}
	s.links++
	a.peers[b], b.peers[a] = s.links, s.links
	a.e.PeerUp(s.now, b.id)
	b.e.PeerUp(s.now, a.id)
	s.tell(a, b)
	s.tell(b, a)
}

// tell sends a's inventory to b.
func (s *sim) tell(a, b *host) {
	if err := b.e.PeerHolds(s.now, a.id, a.e.Inventory()); err != nil {
		s.failf("inventory: %v", err)
	}
}

func (s *sim) disconnect(a, b *host) {
	if a.peers[b] == 0 {
		return
	}
	delete(a.peers, b)
	delete(b.peers, a)
	a.e.PeerDown(s.now, b.id)
	b.e.PeerDown(s.now, a.id)
}

func (s *sim) crash(h *host) {
	for _, o := range s.hosts {
		s.disconnect(h, o)
	}
	h.up, h.e = false, nil
	s.after(s.random(time.Minute), func() { s.restart(h) })
}

func (s *sim) restart(h *host) {
	s.boot(h)
	for _, o := range s.hosts {
		s.connect(h, o)
	}
	for _, a := range h.log { // the tree tells again what it has
		if s.now.Sub(start)%2 == 0 {
			break
		}
		s.assign(h, a)
	}
}

// write makes a new version at h and tells all machines, in order by author.
func (s *sim) write(h *host) {
	if !h.up {
		return
	}
	h.written++
	a := Assignment{Dot: store.Dot{Machine: h.id, Seq: h.written}, Content: store.Content{Size: s.rng.Int64N(40)}}
	for _, i := range s.rng.Perm(len(s.hosts))[:2] {
		a.Holders = append(a.Holders, s.hosts[i].id)
	}
	h.have[a.Dot] = true
	for _, o := range s.hosts {
		o.log = append(o.log, a)
		s.assign(o, a)
	}
}

func (s *sim) assign(h *host, a Assignment) {
	if !h.up || !slices.Contains(a.Holders, h.id) {
		return
	}
	tx := h.kv.Begin()
	var err error
	if h.have[a.Dot] {
		err = h.e.Hold(tx, a)
	} else {
		err = h.e.Assign(tx, s.now, a)
	}
	if err != nil {
		s.failf("assign: %v", err)
	}
	tx.Commit(true)
	if s.mutant == "a new version wakes nobody" {
		h.e.waits = false
		for _, p := range h.e.peers {
			p.done = true
		}
	}
}

// carry is the driver of one fetch.
func (s *sim) carry(h *host, f Fetch) {
	s.fetches++
	fmt.Fprintln(s.trace, s.now.UnixNano(), nameOf(h.id), "fetch", nameOf(f.Peer), len(f.Assignments), f.Assignments[0].Dot)
	life := h.life
	i := slices.IndexFunc(s.hosts, func(o *host) bool { return o.id == f.Peer })
	peer, link := s.hosts[i], h.peers[s.hosts[i]]
	s.after(time.Millisecond+s.random(2*time.Second), func() {
		if h.life != life || !h.up {
			return
		}
		r := FetchResult{ID: f.ID}
		for _, a := range f.Assignments {
			switch {
			case link == 0 || h.peers[peer] != link || s.faults && s.rng.IntN(10) == 0:
				r.Err = errors.New("broken")
			case r.Err != nil:
			case !peer.have[a.Dot]:
				r.Missing = append(r.Missing, a.Dot)
			default:
				r.Fetched = append(r.Fetched, a.Dot)
				h.have[a.Dot] = true
				h.got[a.Dot]++
				if !slices.Contains(a.Holders, h.id) {
					s.failf("%s fetched %v, which is not its", nameOf(h.id), a.Dot)
				}
			}
		}
		tx := h.kv.Begin()
		if err := h.e.Done(tx, s.now, r); err != nil {
			s.failf("done: %v", err)
		}
		if s.mutant == "results are not kept" && s.rng.IntN(4) == 0 {
			tx.Discard()
			return
		}
		tx.Commit(true)
	})
}

// step runs all engines until nothing is due, then the next event.
func (s *sim) step() {
	next := s.now.Add(time.Hour)
	for _, h := range s.hosts {
		for range 10000 {
			if !h.up {
				break
			}
			h.e.Events()
			for _, f := range h.e.Outgoing() {
				s.carry(h, f)
			}
			at, ok := h.e.NextTimeout()
			if !ok || at.After(s.now) {
				if ok && at.Before(next) {
					next = at
				}
				break
			}
			if s.mutant == "what is under way is forgotten" {
				clear(h.e.busy)
			}
			h.e.HandleTimeout(s.now)
		}
		if h.up {
			s.check(h)
		}
	}
	slices.SortFunc(s.events, func(a, b simEvent) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seq, b.seq)) })
	if len(s.events) == 0 || next.Before(s.events[0].at) {
		s.now = later(s.now, next)
		return
	}
	ev := s.events[0]
	s.events = s.events[1:]
	s.now = later(s.now, ev.at)
	ev.f()
}

// check holds an engine to its bounds.
func (s *sim) check(h *host) {
	per := make(map[store.MachineID]int)
	for _, f := range h.e.flights {
		if per[f.peer]++; per[f.peer] > 2 {
			s.failf("%s has three fetches from %s", nameOf(h.id), nameOf(f.peer))
		}
	}
	if len(h.e.flights) > 4 {
		s.failf("%s has %d fetches", nameOf(h.id), len(h.e.flights))
	}
}

// run plays the schedule and returns the first thing that was wrong.
func (s *sim) run() error {
	for range 30 + s.rng.IntN(100) {
		s.after(s.random(3*time.Minute), func() { s.write(s.hosts[s.rng.IntN(len(s.hosts))]) })
	}
	if s.faults {
		for range 20 {
			a, b := s.hosts[s.rng.IntN(len(s.hosts))], s.hosts[s.rng.IntN(len(s.hosts))]
			at := s.random(3 * time.Minute)
			s.after(at, func() { s.disconnect(a, b) })
			s.after(at+s.random(time.Minute), func() { s.connect(a, b) })
		}
		for range 5 {
			s.after(s.random(3*time.Minute), func() {
				if h := s.hosts[s.rng.IntN(len(s.hosts))]; h.up {
					s.crash(h)
				}
			})
		}
	}
	s.after(5*time.Minute, func() { s.heal() })
	for s.err == nil && s.now.Before(start.Add(30*time.Minute)) {
		s.step()
	}
	s.verify()
	return s.err
}

// heal ends the trouble and tells every machine what it may not have been told.
func (s *sim) heal() {
	s.faults = false
	for i, h := range s.hosts {
		if !h.up {
			s.failf("machine %d is down", i)
			return
		}
		for _, o := range s.hosts[:i] {
			s.connect(h, o)
		}
	}
	for _, h := range s.hosts {
		for _, a := range h.log {
			s.assign(h, a)
		}
	}
}

func (s *sim) verify() {
	for _, h := range s.hosts {
		if s.err != nil {
			return
		}
		if files, _ := h.e.Pending(); files != 0 {
			s.failf("%s waits for %d files", nameOf(h.id), files)
		}
		for _, a := range h.log {
			if !slices.Contains(a.Holders, h.id) {
				continue
			}
			if !h.have[a.Dot] || !h.e.holds(a.Dot) {
				s.failf("%s lacks %v", nameOf(h.id), a.Dot)
			}
			if h.got[a.Dot] > 1 {
				s.failf("%s fetched %v %d times", nameOf(h.id), a.Dot, h.got[a.Dot])
			}
		}
		for _, o := range s.hosts {
			if o != h {
				s.tell(o, h)
			}
		}
		for _, a := range h.log {
			if n := h.e.Copies(a); n != len(a.Holders) {
				s.failf("%s knows of %d copies of %v", nameOf(h.id), n, a.Dot)
			}
		}
	}
}

func simSeeds(t *testing.T) uint64 {
	n := uint64(150)
	if v := os.Getenv("AETHER_SIM_SEEDS"); v != "" {
		var err error
		if n, err = strconv.ParseUint(v, 10, 32); err != nil {
			t.Fatalf("AETHER_SIM_SEEDS: %v", err)
		}
	}
	return n
}

func TestSim_EverythingAssignedEndsUpHeld(t *testing.T) {
	for seed := range simSeeds(t) {
		var traces [2]uint64
		for i := range traces {
			h := fnv.New64a()
			s := newSim(seed, seed%4 != 0, "")
			s.trace = h
			if err := s.run(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if s.fetches == 0 {
				t.Fatalf("seed %d: nothing was fetched", seed)
			}
			traces[i] = h.Sum64()
		}
		if traces[0] != traces[1] {
			t.Fatalf("seed %d: two runs differ: %x, %x", seed, traces[0], traces[1])
		}
	}
}

func TestSim_PlantedBugsAreCaught(t *testing.T) {
	for _, mutant := range []string{"a new version wakes nobody", "what is under way is forgotten", "results are not kept"} {
		caught := uint64(0)
		for seed := range uint64(20) {
			if newSim(4*seed+1, true, mutant).run() != nil {
				caught = seed + 1
				break
			}
		}
		if caught == 0 {
			t.Errorf("%q was not caught in 20 seeds", mutant)
		}
	}
}
