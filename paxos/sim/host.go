package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// host is a machine: a process with a node, an application and a disk, and a clock
// of its own.
type host struct {
	w       *world
	id      paxos.NodeID
	disk    *disk
	node    *paxos.Node // nil: down
	app     *machine
	life    int // counts starts: what was meant for an earlier process is dropped
	starts  uint64
	clock   clock
	paused  []func() // what waits while the process is stopped; nil: it runs
	stopped bool
	writing bool
	hung    bool
	full    bool // the disk: it takes no new values
	timer   time.Duration
	waiting map[uint64]request // by read or command
	joins   bool               // it joins by a change, not as a first member
}

// clock is a host's own: it runs at a rate, and jumps.
type clock struct {
	rate  float64
	ahead time.Duration
}

func (h *host) index() int { return int(h.id) - 1 }

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// local is what the host's clock shows.
func (h *host) local() time.Time {
	return epoch.Add(time.Duration(float64(h.w.now)*h.clock.rate) + h.clock.ahead)
}

func newHost(w *world, id paxos.NodeID) *host {
	h := &host{w: w, id: id, disk: newDisk(), clock: clock{rate: 1}, joins: int(id) > w.knobs.members}
	if w.knobs.faults.has(drift) {
		h.clock.rate = .9 + w.rng.Float64()*.2
	}
	h.clock.ahead = w.exponential(time.Hour)
	return h
}

func (h *host) config() paxos.Config {
	h.starts++
	k := h.w.knobs
	cfg := paxos.Config{
		ID: h.id, Cluster: paxos.ClusterID{'s', 'i', 'm'}, Rand: rand.New(rand.NewPCG(h.w.opt.Seed^uint64(h.id)<<32, h.starts)),
		HashEvery: 8, Multicast: k.faults.has(multicast), AcceptQuorum: k.quorum,
		Timing: paxos.Timing{Lease: k.lease},
		Limits: paxos.Limits{Cache: 2 << 10, Promote: 8, Batch: 256},
	}
	for i := range k.members {
		cfg.Members = append(cfg.Members, paxos.Member{ID: paxos.NodeID(i + 1)})
	}
	if h.joins {
		cfg.Members = nil
		for i := range k.members {
			cfg.Contacts = append(cfg.Contacts, paxos.NodeID(i+1))
		}
	}
	return cfg
}

// start starts the process on what the disk holds.
func (h *host) start() {
	if h.node != nil {
		return
	}
	st, app := h.disk.load()
	n, err := paxos.NewBroken(h.local(), h.config(), st, h.disk, h.w.broken.node)
	if err != nil {
		h.w.fail("host %v does not start: %v", h.id, err)
		return
	}
	if app == nil {
		app = newMachine(n.Members())
	}
	h.node, h.app, h.waiting = n, app, map[uint64]request{}
	h.life++
	h.writing, h.hung, h.timer, h.paused, h.stopped = false, false, 0, nil, false
	h.w.mark("start", uint64(h.id))
	h.w.trace.host(h.w.now, h.index(), "starts")
	h.pump()
}

// crash ends the process and loses what was not synced.
func (h *host) crash() {
	if h.node == nil {
		return
	}
	h.node = nil
	h.life++
	h.w.crashes++
	h.disk.crash(h.w.rng, h.w.knobs.lose)
	h.w.mark("crash", uint64(h.id))
	h.w.trace.host(h.w.now, h.index(), "crashes")
}

// then runs do as the host's process, if it still lives; when it is stopped, later.
func (h *host) then(d time.Duration, do func()) {
	life := h.life
	h.w.after(d, func() { h.act(life, do) })
}

func (h *host) act(life int, do func()) {
	switch {
	case h.node == nil || h.life != life:
	case h.stopped:
		h.paused = append(h.paused, func() { h.act(life, do) })
	case h.w.crashNow():
		h.crash()
		h.w.after(300*time.Millisecond, h.start)
	default:
		do()
		if h.w.crashNow() { // done, and nothing of what follows from it
			h.crash()
			h.w.after(300*time.Millisecond, h.start)
		}
		h.pump()
	}
}

// crashNow counts what hosts do and says when the one crash of Options.CrashAt is.
func (w *world) crashNow() bool {
	w.acts++
	return w.acts == w.opt.CrashAt
}

// pause stops the process for d, as SIGSTOP does: its clock goes on.
func (h *host) pause(d time.Duration) {
	if h.node == nil || h.stopped {
		return
	}
	h.stopped = true
	h.w.trace.host(h.w.now, h.index(), fmt.Sprintf("is stopped for %v", d.Round(time.Millisecond)))
	life := h.life
	h.w.after(d, func() {
		if h.life != life {
			return
		}
		h.stopped = false
		list := h.paused
		h.paused = nil
		h.w.trace.host(h.w.now, h.index(), "goes on")
		h.w.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, do := range list {
			do()
		}
	})
}

func (h *host) receive(p packet) {
	if h.node == nil {
		return
	}
	h.act(h.life, func() {
		m, err := paxos.ParseMessage(append([]byte(nil), p.bytes...))
		if err != nil {
			h.w.fail("host %v cannot read a message: %v", h.id, err)
			return
		}
		if a, ok := m.Body.(paxos.Accept); ok && len(a.Entries) > 0 && h.full {
			return
		}
		h.w.mark("receive", uint64(p.from), uint64(p.to), uint64(len(p.bytes)))
		h.w.trace.message(h.w.now, p.from, p.to, m)
		h.node.HandleMessage(h.local(), m)
	})
}

// pump takes what the node puts out until there is nothing left.
func (h *host) pump() {
	for h.node != nil && h.w.failure == "" {
		h.save()
		for _, m := range h.node.Outgoing() {
			h.w.net.send(h, m)
		}
		for _, e := range h.node.Events() {
			h.heard(e)
		}
		list := h.node.Chosen()
		for _, e := range list {
			h.apply(e)
		}
		for _, r := range h.node.Reads() {
			h.readReady(r)
		}
		if len(list) == 0 {
			break
		}
		h.snapshot()
	}
	h.answer()
	h.setTimer()
}

// save gives the next record to the disk, one at a time: what comes meanwhile waits
// and shares the next sync.
func (h *host) save() {
	if h.writing || h.hung {
		return
	}
	r, seq := h.node.Unsaved()
	if seq == 0 {
		return
	}
	if h.full && h.w.rng.IntN(20) == 0 { // the room that was kept did not do
		h.writing = true
		h.w.trace.host(h.w.now, h.index(), "has no room for a record")
		h.then(0, func() {
			h.crash()
			h.w.after(time.Second, h.start)
		})
		return
	}
	h.disk.write(r)
	h.writing = true
	size := len(h.disk.file)
	h.w.trace.saves(h.w.now, h.index(), r)
	if h.w.broken.driver == "skip-sync" {
		h.writing = false
		h.node.Saved(h.local(), seq)
		return
	}
	if h.w.has(hungDisk) && h.w.rng.IntN(150) == 0 {
		h.hung = true // never done; a restart helps
		h.w.trace.host(h.w.now, h.index(), "has a disk that hangs")
		life := h.life
		h.w.after(4*time.Second, func() {
			if h.life == life {
				h.crash()
				h.w.after(time.Second, h.start)
			}
		})
		return
	}
	d := h.w.exponential(h.w.knobs.sync)
	if h.w.calm {
		d = time.Millisecond
	}
	h.then(d, func() { h.synced(seq, size) })
}

func (h *host) synced(seq uint64, size int) {
	if h.w.has(badSync) && h.w.rng.IntN(300) == 0 {
		h.w.trace.host(h.w.now, h.index(), "cannot sync")
		h.crash() // what the disk holds is unknown: no second try
		h.w.after(time.Second, h.start)
		return
	}
	h.writing = false
	h.w.check.saved(h, h.disk.sync(size))
	h.node.Saved(h.local(), seq)
	h.disk.compact()
}

// apply applies a chosen value and answers whoever waits for it.
func (h *host) apply(e paxos.Entry) {
	h.w.check.chosen(h, e)
	c, reply := h.app.apply(e, h.w.broken.driver == "double-apply")
	h.w.check.applied(h)
	if e.Kind == paxos.Command {
		if r, ok := h.waiting[commandKey(c)]; ok {
			delete(h.waiting, commandKey(c))
			r.reply(reply)
		}
	}
	h.node.Applied(h.local(), e.Slot, h.app.hash())
}

// snapshot saves the application's state now and then, and forgets the log before.
func (h *host) snapshot() {
	k := h.w.knobs
	if k.every == 0 || h.node == nil || h.app.slot < h.disk.index+k.every {
		return
	}
	index := h.app.slot
	if h.w.broken.driver == "applied-apart" {
		index = max(h.disk.index, h.app.slot-1) // written before the state, in a transaction of its own
	}
	h.disk.state, h.disk.index = h.app.clone(), index
	s := paxos.Snapshot{Slot: h.app.slot, Members: h.app.members}
	if err := h.node.Compact(s, index-min(k.trail, index)); err != nil {
		h.w.fail("host %v: %v", h.id, err)
	}
}

// setTimer arranges for HandleTimeout.
func (h *host) setTimer() {
	if h.node == nil {
		return
	}
	t, ok := h.node.NextTimeout()
	if !ok {
		return
	}
	local := t.Sub(epoch) - h.clock.ahead
	at := max(time.Duration(float64(local)/h.clock.rate)+time.Microsecond, h.w.now+10*time.Microsecond)
	if h.timer > h.w.now && h.timer <= at {
		return
	}
	h.timer = at
	h.then(at-h.w.now, func() {
		if h.timer == at {
			h.timer = 0
		}
		h.node.HandleTimeout(h.local())
	})
}

// heard does what an event asks for.
func (h *host) heard(e paxos.Event) {
	h.w.trace.event(h.w.now, h.index(), e)
	switch e.Kind {
	case paxos.EventDiverged:
		h.w.fail("host %v diverged after slot %v", h.id, e.Slot)
	case paxos.EventFetch:
		h.fetch(e)
	case paxos.EventRole:
		if e.Role != paxos.Leading {
			h.lost()
		}
	}
}

// fetch copies a peer's snapshot, in the time that a few messages take.
func (h *host) fetch(e paxos.Event) {
	from := h.w.hosts[e.Peer-1]
	h.then(4*h.w.exponential(h.w.knobs.delay), func() {
		if from.node == nil || from.disk.state == nil || h.w.net.cut[from.index()][h.index()] {
			return
		}
		app := from.disk.state.clone()
		if app.slot <= h.app.slot {
			return
		}
		h.app = app
		h.disk.state, h.disk.index = app.clone(), app.slot
		if err := h.node.Restored(h.local(), paxos.Snapshot{Slot: app.slot, Members: app.members}); err != nil {
			h.w.fail("host %v: %v", h.id, err)
		}
		h.app.members = h.node.Members()
		h.disk.state.members = h.app.members
		h.w.check.applied(h)
	})
}
