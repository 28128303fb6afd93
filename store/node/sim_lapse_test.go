package node

import (
	"context"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// tends has the machine look every minute what is due of leases, as upkeep does.
func (h *simHost) tends() {
	h.every(upkeepEvery, "tend", func() {
		_ = h.do("tends", func() error { h.m.tend(context.Background(), h.m.now()); return nil })
	})
}

// remembered returns how many nodes the machine's tree has, shown or not.
func (h *simHost) remembered() (n int) {
	if err := h.m.tree.Nodes(h.m.kv, nil, func(tree.NodeHash) bool { n++; return true }); err != nil {
		h.w.fail("%s: %v", h, err)
	}
	return n
}

// A machine is away for longer than the lease and works meanwhile. The others retire it
// and forget what was removed. When it is back all its work is there, nothing that was
// removed has come back, and all three have the same drive.
func TestSim_LongAbsence(t *testing.T) {
	w := newSimWorld(t, 1)
	hosts := []*simHost{w.add(w.settings()), w.add(w.settings()), w.add(w.settings())}
	a, b, c := hosts[0], hosts[1], hosts[2]
	for _, h := range hosts {
		h.start()
	}
	w.run(20 * time.Second)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for _, name := range []string{"/gone", "/stays", "/dir/x", "/dir/y"} {
		must(a.do("works", func() error {
			if err := a.m.drive.MkdirAll(ctx, "/dir"); err != nil {
				return err
			}
			_, err := a.m.drive.Put(ctx, name, strings.NewReader("first"), drive.Attributes{})
			return err
		}))
	}
	w.run(time.Minute)
	c.side = -1
	w.rewire()
	w.run(time.Minute)
	for _, name := range []string{"/gone", "/stays", "/new", "/dir/z", "/made/n"} {
		must(c.do("works", func() error {
			if err := c.m.drive.MkdirAll(ctx, "/made"); err != nil {
				return err
			}
			_, err := c.m.drive.Put(ctx, name, strings.NewReader("by c"), drive.Attributes{})
			return err
		}))
	}
	for _, name := range []string{"/gone", "/dir"} {
		must(a.do("works", func() error { return a.m.drive.Remove(ctx, name, true) }))
	}
	w.run(time.Minute)
	before := a.remembered()
	for _, h := range hosts {
		h.stop()
	}
	w.run(100 * 24 * time.Hour)
	for _, h := range []*simHost{a, b} {
		h.start()
		h.tends()
	}
	w.run(15 * time.Minute)
	for _, h := range []*simHost{a, b} {
		s, err := h.m.tree.Standing(h.m.kv, c.id)
		if err != nil || !s.Closed {
			t.Fatalf("%s: %+v %v %s", h, s, err, w.cause)
		}
		if n := h.remembered(); n != 1 {
			t.Errorf("%s remembers %d nodes of %d", h, n, before)
		}
	}
	c.side = 0
	c.start()
	c.tends()
	w.run(10 * time.Minute)
	if w.cause != "" {
		t.Fatalf("%s\n%s", w.cause, w.trace.last())
	}
	day := c.m.now().UTC().Format(time.DateOnly)
	want := map[string]string{"/stays": "by c", "/new": "by c", "/made/n": "by c",
		"/Recovered/" + c.set.Name + "/" + day + "/gone":  "by c",
		"/Recovered/" + c.set.Name + "/" + day + "/dir/z": "by c"}
	for _, h := range hosts {
		got := map[string]string{}
		must(h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
			if !e.Dir {
				b, err := io.ReadAll(h.m.drive.OpenEntry(h.m.background, e))
				if err != nil {
					t.Errorf("%s: %s, version %v, kept by %v: %v", h, e.Path, e.Version.Dot, e.Version.Holders, err)
				}
				got[e.Path] = string(b)
			}
			return true
		}))
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", h, d)
		}
		ours, err := h.m.tree.RootHash(h.m.kv)
		must(err)
		theirs, err := a.m.tree.RootHash(a.m.kv)
		must(err)
		if ours != theirs || !maps.Equal(h.vector(), a.vector()) {
			t.Errorf("%s and %s are not the same", h, a)
		}
		if s, _ := h.m.tree.Standing(h.m.kv, c.id); s.Closed || s.Retired {
			t.Errorf("%s: c is not back: %+v", h, s)
		}
	}
}
