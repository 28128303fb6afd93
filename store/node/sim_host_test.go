package node

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/replicate"
)

// simHost is a machine of a simulation: what outlives a crash, and while it runs the
// Machine itself.
type simHost struct {
	w       *simWorld
	i       int
	id      store.MachineID
	pool    *pool.Pool
	set     Settings
	kv      *simKV
	fs      *vfs.MemFS
	skew    time.Duration      // of the time that its clock shows
	side    int                // of the network; negative: unplugged
	m       *Machine           // nil: it is off
	life    int                // counts the times that it was on
	peers   map[int]uint64     // whom it believes to be connected with
	armed   time.Time          // when it will look at its timers; zero: not
	acked   uint64             // its last operation that was said to be safe
	losers  map[store.Dot]bool // the versions that it last showed as conflict copies
	leaving bool               // for good
	hasty   bool               // what was done last does not wait for the disk
	robbed  bool               // of its index
	parted  bool               // it has left, and nobody works with it any more
	gone    bool               // for ever
}

func (h *simHost) String() string { return fmt.Sprintf("m%d", h.i) }

// clock returns what the machine takes for the time. As in life a clock that is set
// leaves time spans alone.
func (h *simHost) clock() time.Time {
	return simTime(h.w.now.Add(h.skew), h.w.now.Sub(h.w.began)+time.Hour)
}

// simPool returns the membership of the n-th machine: the same in every run.
func simPool(t testing.TB, n int) *pool.Pool {
	t.Helper()
	text := func(prefix string, seed [32]byte) string {
		sum := sha256.Sum256(append([]byte(prefix), seed[:]...))
		return prefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(seed[:], sum[:3]...)))
	}
	secret, err := pool.ParseSecret(text("aether-pool-1-", sha256.Sum256([]byte("simulation"))))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key := text("aether-machine-1-", sha256.Sum256(fmt.Appendf(nil, "machine %d", n)))
	if err := os.WriteFile(filepath.Join(dir, pool.KeyFile), []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := pool.Join(dir, secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// add makes a new machine, which is off.
func (w *simWorld) add(set Settings) *simHost {
	i := len(w.hosts)
	h := &simHost{w: w, i: i, set: set, pool: simPool(w.t, i), kv: newSimKV(), fs: newSimFS(w.t)}
	h.id = h.pool.Machine
	h.set.Name = h.String()
	w.hosts = append(w.hosts, h)
	return h
}

func (w *simWorld) find(id store.MachineID) *simHost {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

// start switches the machine on.
func (h *simHost) start() {
	if h.m != nil || h.gone || h.w.cause != "" {
		return
	}
	m := &Machine{cfg: Config{Dir: "/sim"}, settings: h.set, log: slog.New(slog.DiscardHandler), pool: h.pool, kv: h.kv,
		outside: outside{fs: h.fs, now: h.clock, network: h, single: true, misread: h.w.wrong.misread}}
	m.background, m.end = context.WithCancel(context.Background())
	h.life++
	h.peers, h.armed = map[int]uint64{}, time.Time{}
	h.w.note("%s starts", h)
	if h.w.wrong.starts != nil {
		h.w.wrong.starts(h)
	}
	if err := m.furnish(); err != nil {
		h.w.fail("%s does not open: %v", h, err)
		return
	}
	clean, err := m.openedClean()
	if err != nil {
		h.w.fail("%s does not open: %v", h, err)
		return
	}
	m.core.proving = !clean
	if err := m.core.begin(h.clock()); err != nil && !errors.Is(err, store.ErrFull) {
		h.w.fail("%s does not begin: %v", h, err)
		return
	}
	h.m = m
	h.w.past.returned(h)
	h.w.rewire()
	h.every(logEvery, "names", func() { _ = h.m.names.write() }) // it says so itself when the disk is full
	if !clean {
		h.later(h.w.within(5*time.Second), "prove", h.prove)
	}
	if h.w.grace > 0 {
		var healing healing
		m.core.absent.begin(h.w.grace)
		h.every(healEvery, "heal", func() {
			h.losers = h.shownLosers()
			if err := h.m.healOnce(h.m.background, &healing); err != nil && !excused(err) {
				h.w.fail("%s cannot heal: %v", h, err)
			}
			h.issued(nil)
		})
	}
	h.every(upkeepEvery, "upkeep", h.upkeep)
	h.turn()
}

// prove does what Machine.proveHoldings does.
func (h *simHost) prove() {
	if err := h.m.proveOnce(h.m.background); errors.Is(err, store.ErrFull) {
		h.later(stallTime, "prove", h.prove)
	} else if err != nil {
		h.w.fail("%s cannot prove what it holds: %v", h, err)
	}
}

// upkeep does what Machine.upkeep does now and then.
func (h *simHost) upkeep() {
	m := h.m
	m.forget(m.background, m.retention())
	c, err := m.drive.Collect(m.background)
	if err != nil && !errors.Is(err, store.ErrFull) {
		h.w.fail("%s: garbage: %v", h, err)
	}
	h.w.count.garbage += int(c.Removed)
	m.compact(m.background, 0)
}

// excused reports whether err, of what a machine does by itself, is no mistake: it
// tries again when its disk has room, or its own operations are back.
func excused(err error) bool { return errors.Is(err, store.ErrFull) || !writable(err) }

// every calls f as long as the machine is not switched off.
func (h *simHost) every(d time.Duration, what string, f func()) {
	life := h.life
	h.w.after(d, what, func() {
		if h.m == nil || h.life != life {
			return
		}
		f()
		h.turn()
		h.every(d, what, f)
	})
}

// stop switches the machine off as its owner does.
func (h *simHost) stop() {
	if h.m == nil {
		return
	}
	h.w.note("%s is switched off", h)
	m := h.m
	if err := errors.Join(m.core.sync(), m.names.write(), m.bodies.Close(), m.closedClean(nil)); err != nil && !errors.Is(err, store.ErrFull) {
		h.w.fail("%s does not close: %v", h, err)
	}
	h.off()
}

// crash cuts the power: what was not forced to the disk is gone, or is not.
func (h *simHost) crash() {
	if h.m == nil {
		return
	}
	loose := len(h.kv.loose)
	keep := h.w.rng.IntN(loose + 1)
	h.w.note("%s crashes: %d of %d commits are lost", h, loose-keep, loose)
	h.w.count.crashes++
	h.kv.crash(keep)
	h.fs = h.fs.CrashClone(vfs.CrashCloneCfg{})
	h.off()
}

// lose crashes the machine and takes its index; the segments are there.
func (h *simHost) lose() {
	if h.m == nil || h.leaving || slices.ContainsFunc(h.w.hosts, (*simHost).waits) {
		return
	}
	h.crash()
	h.w.note("%s has lost its index", h)
	h.kv, h.robbed = newSimKV(), true
	h.w.count.robbed++
}

func (h *simHost) off() {
	h.m.end()
	h.m = nil
	h.w.rewire()
}

// loses tells the machine, a while later, that a connection is gone.
func (h *simHost) loses(k int, link uint64) {
	life := h.life
	h.w.after(h.w.within(10*time.Second), "disconnected", func() {
		if h.m != nil && h.life == life && h.peers[k] == link {
			h.forgets(k)
			h.turn()
		}
	})
}

func (h *simHost) forgets(k int) {
	delete(h.peers, k)
	h.w.note("%s has lost m%d", h, k)
	h.m.core.peerDown(h.w.hosts[k].id)
}

func (h *simHost) meets(k int, link uint64) {
	if h.peers[k] != 0 {
		h.forgets(k)
	}
	h.peers[k] = link
	h.m.core.peerUp(h.w.hosts[k].id)
	h.m.core.met(h.w.hosts[k].id, nil)
	h.turn()
}

// turn carries out what the machine wants done after an input.
func (h *simHost) turn() {
	c := h.m.core
	if h.w.wrong.sends != nil {
		h.w.wrong.sends(h)
	}
	for _, p := range c.Outgoing() {
		h.w.send(h, p)
	}
	for _, f := range c.Events() {
		h.fetch(f)
	}
	if c.err != nil {
		h.w.fail("%s: %v", h, c.err)
	}
	if c.unknown && !c.doubt {
		h.w.fail("%s has told of changes that it has lost, or they of two", h)
	}
	select {
	case <-c.balanceWanted:
		h.later(balanceDelay, "balance", func() { h.balance() })
	default:
	}
	h.arm()
}

// later calls f unless the machine is switched off meanwhile.
func (h *simHost) later(d time.Duration, what string, f func()) {
	life := h.life
	h.w.after(d, what, func() {
		if h.m != nil && h.life == life {
			f()
			if h.m != nil {
				h.turn()
			}
		}
	})
}

// arm sees to it that HandleTimeout is called when it is due.
func (h *simHost) arm() {
	next, ok := h.m.core.NextTimeout()
	if !ok {
		return
	}
	next = h.w.now.Add(max(0, next.Sub(h.clock())))
	if !h.armed.IsZero() && !next.Before(h.armed) {
		return
	}
	h.armed = next
	h.later(next.Sub(h.w.now), "timeout", func() {
		if h.armed.Equal(next) {
			h.armed = time.Time{}
		}
		h.m.core.HandleTimeout(h.clock())
	})
}

// fetch carries out what replicate orders; see core.carryOut.
func (h *simHost) fetch(f replicate.Fetch) {
	h.w.count.fetches++
	h.later(5*time.Millisecond+h.w.within(500*time.Millisecond), "fetch", func() {
		r := h.m.fetch(h.m.background, f)
		if h.w.wrong.fetched != nil {
			h.w.wrong.fetched(h, f, &r)
		}
		h.w.note("%s fetched %d of %d from %s: %v and more", h, len(r.Fetched), len(f.Assignments), h.w.find(f.Peer), f.Assignments[0].Dot)
		h.land(r)
	})
}

func (h *simHost) land(r replicate.FetchResult) {
	if errors.Is(h.m.core.landed(r), index.ErrFull) {
		h.later(stallTime, "land", func() { h.land(r) })
	}
}

func (h *simHost) balance() {
	h.losers = h.shownLosers()
	if err := h.m.reassign(h.m.background, nil); err != nil && !excused(err) {
		h.w.fail("%s cannot balance: %v", h, err)
	}
	h.issued(nil)
}

// Call implements network: in no time, or not at all.
func (h *simHost) Call(ctx context.Context, peer link.PeerID, req link.Message) (link.Message, error) {
	to := h.w.find(store.MachineID(peer))
	l := h.w.net.links[simPair(h.i, to.i)]
	if l == nil || l.life != h.peers[to.i] || to.m == nil || h.w.chance(h.w.net.fruitles) {
		return link.Message{}, link.ErrNotConnected
	}
	return to.m.serve(ctx, link.PeerID(h.id), req)
}

// Connected implements network.
func (h *simHost) Connected() (all []link.PeerID) {
	for k := range h.w.hosts {
		if h.peers[k] != 0 {
			all = append(all, link.PeerID(h.w.hosts[k].id))
		}
	}
	return all
}
