package node

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

func (h *host) holders(t *testing.T, name string) []store.MachineID {
	t.Helper()
	e, err := h.drive.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return e.Version.Holders
}

func (h *host) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.client.Flush(ctx, "/"); err != nil {
		t.Fatal(err)
	}
}

// A machine that is away for longer than the grace has its copies made anew, and only
// those; nothing happens before.
func TestHeal_CopiesOfALostMachineAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	const grace = 2 * time.Second
	a := serveWith(t, filepath.Join(dir, "a"), secret, ServeConfig{Grace: grace})
	b := serveWith(t, filepath.Join(dir, "b"), secret, ServeConfig{Grace: grace, Peers: peersOf(a)})
	c := serveWith(t, filepath.Join(dir, "c"), secret, ServeConfig{Grace: grace, Peers: peersOf(a, b)})
	hosts := []*host{a, b, c}
	for _, h := range hosts {
		eventually(t, "all know all", func() bool {
			s, err := h.client.Status(t.Context())
			return err == nil && len(s.Machines) == 3
		})
	}
	const files = 24
	body := func(i int) []byte { return randomBytes(byte(i), 100<<10) }
	for i := range files {
		hosts[i%3].put(t, fmt.Sprint("f", i), body(i))
	}
	eventually(t, "a sees all", func() bool { return len(a.names(t)) == files })
	for _, h := range hosts[:2] {
		eventually(t, "the same names", func() bool { return len(h.names(t)) == files })
		h.flush(t)
	}
	before := map[string][]store.MachineID{}
	for i := range files {
		n := fmt.Sprint("/f", i)
		before[n] = a.holders(t, n)
	}
	gone := time.Now()
	c.stop()
	eventually(t, "new holders", func() bool {
		for n := range before {
			if slices.Contains(a.holders(t, n), c.ID()) || slices.Contains(b.holders(t, n), c.ID()) {
				return false
			}
		}
		return true
	})
	if d := time.Since(gone); d < grace {
		t.Errorf("copies were made anew after %v, the grace is %v", d, grace)
	}
	a.flush(t)
	b.flush(t)
	for n, old := range before {
		if now := a.holders(t, n); !slices.Contains(old, c.ID()) && !slices.Equal(now, old) {
			t.Errorf("%s moved though none of its machines was lost: %v, was %v", n, now, old)
		}
	}
	a.stop() // what b shows from here on is b's own
	for i := range files {
		if got := b.cat(t, fmt.Sprint("/f", i)); !bytes.Equal(got, body(i)) {
			t.Errorf("f%d: %d bytes", i, len(got))
		}
	}
}

// A machine alone does not take its loneliness for the loss of all others.
func TestHeal_AloneNothingIsReassigned(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serveWith(t, filepath.Join(dir, "a"), secret, ServeConfig{Grace: 50 * time.Millisecond})
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	a.await(t, func(ev Event) bool { return ev.Kind == EventConnected })
	a.put(t, "f", []byte("x"))
	eventually(t, "two holders", func() bool { return len(a.holders(t, "/f")) == 2 })
	a.flush(t)
	b.stop()
	lost := func() (n int) {
		_ = a.core.call(t.Context(), func() { _, away := a.core.lostMachines(); n = len(away) })
		return n
	}
	eventually(t, "b counts as lost", func() bool { return lost() == 1 })
	if err := a.reassign(t.Context(), a.core.lost); err != nil {
		t.Fatal(err)
	}
	if h := a.holders(t, "/f"); len(h) != 2 {
		t.Errorf("holders %v", h)
	}
	a.put(t, "g", []byte("y")) // better one that may come back than none
	if h := a.holders(t, "/g"); len(h) != 2 {
		t.Errorf("holders of a new file %v", h)
	}
}

func peersOf(hosts ...*host) (addrs []netip.AddrPort) {
	for _, h := range hosts {
		addrs = append(addrs, h.addr)
	}
	return addrs
}

// After an end that was not clean nothing counts before it was looked at, and what is
// missing is fetched again.
func TestProve_WhatIsMissingIsFetchedAgain(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	a.await(t, func(ev Event) bool { return ev.Kind == EventConnected })
	body := randomBytes(1, 5<<20)
	a.put(t, "big", body)
	a.put(t, "other", randomBytes(2, 1<<20))
	eventually(t, "two holders", func() bool { return len(a.holders(t, "/big")) == 2 })
	a.flush(t)
	b.stop()
	breakMachine(t, b.cfg.Dir, func(m *Machine) {
		n := 0
		var doomed []store.Ref
		if err := m.bodies.Each(store.Ref{}, func(ref store.Ref, size int64, _ segment.Class) bool {
			if n++; n%3 == 0 && size > 1<<10 {
				doomed = append(doomed, ref)
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if len(doomed) == 0 {
			t.Fatal("nothing to lose")
		}
		for _, ref := range doomed {
			if err := m.bodies.Delete(ref); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.bodies.Sync(); err != nil {
			t.Fatal(err)
		}
	})
	m, err := Open(Config{Dir: b.cfg.Dir}) // without a network: it stays known to be missing
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the check", func() bool {
		n, proving := 0, true
		_ = m.core.call(t.Context(), func() { n, _ = m.core.copying.Pending(); proving = m.core.proving })
		return n > 0 && !proving
	})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	b = serve(t, b.cfg.Dir, pool.Secret{}, a.addr)
	eventually(t, "all is fetched again", func() bool {
		n := 1
		_ = b.core.call(t.Context(), func() { n, _ = b.core.copying.Pending() })
		return n == 0
	})
	a.stop()
	if got := b.cat(t, "/big"); !bytes.Equal(got, body) {
		t.Errorf("%d bytes", len(got))
	}
}

// Until it has looked, a machine that was not closed properly claims nothing.
func TestProve_NothingIsClaimedBefore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	a := serve(t, dir, pool.NewSecret())
	a.put(t, "f", []byte("x"))
	_ = a.core.call(t.Context(), func() {
		a.core.proving = true
		if got := a.core.provedInventory(); len(got) != 2 {
			t.Errorf("claims %d bytes of inventory", len(got))
		}
		a.core.proving = false
		if got := a.core.provedInventory(); len(got) <= 2 {
			t.Errorf("claims nothing once it is proved")
		}
	})
}

// breakMachine opens the machine in dir, lets f harm it, and leaves it as a crash does.
func breakMachine(t *testing.T, dir string, f func(*Machine)) {
	t.Helper()
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f(m)
	_ = m.core.call(t.Context(), func() { m.core.proving = true }) // Close leaves the mark
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// Versions is what recheck goes by: all that is shown, once each.
func TestTree_VersionsAreThoseShown(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
	for i := range 700 {
		a.put(t, fmt.Sprint("f", i%350), []byte(fmt.Sprint(i)))
	}
	seen := map[store.Dot]bool{}
	var after store.FileID
	for more := true; more; {
		more = false
		n := 0
		if err := a.tree.Versions(a.kv, after, func(id store.FileID, v tree.Version) bool {
			if n == 100 && id != after {
				more = true
				return false
			}
			n++
			after = id
			seen[v.Dot] = true
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 350 {
		t.Errorf("%d versions, want 350", len(seen))
	}
}

// A machine that is reached only by way of another does not count as lost: it gives
// signs of life, which the one between passes on.
func TestHeal_HeardOfThroughAThird(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	cfg := func(peers ...*host) ServeConfig {
		return ServeConfig{Grace: 12 * time.Second, Peers: peersOf(peers...), apart: true}
	}
	a := serveWith(t, filepath.Join(dir, "a"), secret, cfg())
	between := serveWith(t, filepath.Join(dir, "between"), secret, cfg(a))
	b := serveWith(t, filepath.Join(dir, "b"), secret, cfg(between))
	since := func() (at time.Time) {
		_ = a.core.call(t.Context(), func() {
			a.core.lostMachines()
			at = a.core.absent.since[b.ID()]
		})
		return at
	}
	eventually(t, "a knows b, and that it is not connected", func() bool { return !since().IsZero() })
	first := since()
	eventually(t, "a sign of life", func() bool { return since().After(first.Add(time.Second)) })
	if !slices.Contains(a.sources(nil), between.ID()) || slices.Contains(a.sources(nil), b.ID()) {
		t.Errorf("a is connected to %v", a.sources(nil))
	}
}
