package node

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/replicate"
)

// servePool starts n machines that keep every file on so many of them, all connected.
func servePool(t *testing.T, n, copies int, cfg ServeConfig) (hosts []*host) {
	t.Helper()
	dir := t.TempDir()
	secret := pool.NewSecret()
	for i := range n {
		d := filepath.Join(dir, string(rune('a'+i)))
		if _, err := Init(Config{Dir: d, Set: Settings{Name: filepath.Base(d), Space: 1 << 30, Copies: copies}}, secret); err != nil {
			t.Fatal(err)
		}
		c := cfg
		c.Peers = peersOf(hosts...)
		hosts = append(hosts, serveWith(t, d, pool.Secret{}, c))
	}
	for _, h := range hosts {
		eventually(t, "all know all", func() bool {
			s, err := h.client.Status(t.Context())
			return err == nil && len(s.Machines) == n && len(h.sources(nil)) == n-1
		})
	}
	return hosts
}

// A large file to three receivers: the writer does not send it to each of them, and what
// arrives is what was written.
func TestSwarm_ReceiversHelpEachOther(t *testing.T) {
	hosts := servePool(t, 4, 4, ServeConfig{})
	body := randomBytes(1, 48<<20)
	hosts[0].put(t, "large", body)
	hosts[0].flush(t)
	var sent []float64
	for _, h := range hosts {
		s, err := h.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, float64(s.Sent.Bytes)/float64(len(body)))
	}
	t.Logf("copies sent: %.2f", sent)
	if sent[0] > 2 {
		t.Errorf("the writer sent %.2f copies to 3 receivers", sent[0])
	}
	for _, h := range hosts[1:] {
		if got := h.cat(t, "/large"); !bytes.Equal(got, body) {
			t.Errorf("%s: wrong bytes", h.Name())
		}
	}
}

// What is here already is not fetched again: a fetch that was cut goes on where it was.
func TestSwarm_Resumes(t *testing.T) {
	hosts := servePool(t, 2, 1, ServeConfig{}) // one copy: nothing is fetched by itself
	a, b := hosts[0], hosts[1]
	body := randomBytes(1, 32<<20)
	a.put(t, "large", body)
	a.flush(t)
	eventually(t, "b knows the file", func() bool { return len(b.names(t)) == 1 })
	e, err := b.drive.Stat("/large")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(e.Version.Holders, b.ID()) {
		a, b = b, a
	}
	drop(t, b.Machine, e.Version.Content)
	v := replicate.Assignment{Dot: e.Version.Dot, File: e.ID, Content: e.Version.Content, Holders: []store.MachineID{a.ID()}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for received(b) < 8<<20 {
			runtime.Gosched()
		}
		cancel()
	}()
	_, _ = b.fetchLarge(ctx, a.ID(), v)
	before := received(b)
	if whole, err := b.fetchLarge(t.Context(), a.ID(), v); !whole || err != nil {
		t.Fatalf("whole %v, %v", whole, err)
	}
	if total := received(b); total > int64(len(body))+(8<<20) {
		t.Errorf("%d bytes came for %d, %d of them before the cut", total, len(body), before)
	}
	if got := b.cat(t, "/large"); !bytes.Equal(got, body) {
		t.Error("wrong bytes")
	}
}

// A receiver that has rot is left alone by the others, who still get the whole file.
func TestSwarm_RottenSource(t *testing.T) {
	hosts := servePool(t, 3, 2, ServeConfig{})
	body := randomBytes(1, 24<<20)
	hosts[0].put(t, "large", body)
	hosts[0].flush(t)
	holders := hosts[0].holders(t, "/large")
	var good, bad, third *host
	for _, h := range hosts {
		switch {
		case !slices.Contains(holders, h.ID()):
			third = h
		case bad == nil:
			bad = h
		default:
			good = h
		}
	}
	eventually(t, "the third knows the file", func() bool { return len(third.names(t)) == 1 })
	e, err := third.drive.Stat("/large")
	if err != nil {
		t.Fatal(err)
	}
	for ref := range refsOf(t, bad.Machine, e.Version.Content) { // the lists stay as they are
		if b, err := bad.bodies.Get(ref); err == nil {
			b[0] ^= 1
			if err := bad.bodies.Delete(ref); err != nil {
				t.Fatal(err)
			}
			if err := bad.bodies.Put(ref, b, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	drop(t, third.Machine, e.Version.Content)
	good.limits.set(16<<20, 0) // else all may have come from it before the other is asked
	whole, err := third.fetchLarge(t.Context(), good.ID(), replicate.Assignment{Dot: e.Version.Dot, File: e.ID, Content: e.Version.Content, Holders: holders})
	if !whole || err != nil {
		t.Fatalf("whole %v, %v", whole, err)
	}
	faults := third.faults.list()
	if len(faults) != 1 || faults[0].Machine != bad.ID() || faults[0].What != FaultRot || faults[0].Count > 4 {
		n, _ := bad.traffic.sent.read(time.Now())
		g, _ := good.traffic.sent.read(time.Now())
		t.Errorf("faults %+v; author %v, rotten %s sent %d, good %s sent %d, third %s received %d", faults, e.Version.Dot.Machine == third.ID(), bad.Name(), n, good.Name(), g, third.Name(), received(third))
	}
}

// drop takes the data of c, as far as it is there, from a machine's disk.
func drop(t *testing.T, m *Machine, c store.Content) {
	t.Helper()
	if _, err := m.partsOf(c, 0); err != nil {
		return
	}
	for ref := range refsOf(t, m, c) {
		if err := m.bodies.Delete(ref); err != nil {
			t.Fatal(err)
		}
	}
}

// refsOf returns the chunks of data of c.
func refsOf(t *testing.T, m *Machine, c store.Content) map[store.Ref]bool {
	t.Helper()
	parts, err := m.partsOf(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	refs := map[store.Ref]bool{}
	for _, p := range parts {
		refs[p.Ref] = true
	}
	return refs
}

func TestWindow_OutOfRange(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
	a.put(t, "f", randomBytes(1, 3<<20))
	e, err := a.drive.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint32{1, 1 << 31, 1<<32 - 1} {
		if _, err := a.windowOf(e.Version.Content, n); err == nil {
			t.Errorf("window %d of a small file", n)
		}
	}
	for i := range maxWindows + 5 {
		a.put(t, fmt.Sprint("g", i), randomBytes(byte(i), 1<<20))
		e, err := a.drive.Stat(fmt.Sprint("/g", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.windowOf(e.Version.Content, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.windows.all); n > maxWindows {
		t.Errorf("%d windows are kept", n)
	}
}

func received(h *host) int64 {
	n, _ := h.traffic.received.read(time.Now())
	return n
}

// Limits hold on average.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Machine{outside: outside{now: time.Now}}
		m.limits.set(1<<20, 2<<20)
		began := time.Now()
		for range 80 {
			if err := m.sending(t.Context(), 128<<10); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("10 MiB at 1 MiB/s took %v", d)
		}
		began = time.Now()
		if err := m.receiving(t.Context(), 10<<20); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("10 MiB at 2 MiB/s took %v", d)
		}
		if m.limits.room(1<<30) > 1<<20 {
			t.Error("one answer takes the link for long")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.sending(ctx, 100<<20); err == nil {
			t.Error("a wait that cannot end in time does not fail")
		}
	})
}

func FuzzParsePiecesRequest(f *testing.F) {
	for _, r := range []piecesRequest{
		{Content: store.Content{Size: 1}},
		{Content: store.Content{Size: 9 << 20, Depth: 1, Root: store.Ref{1}}, Window: 3, Want: []byte{1, 2}, Fresh: true, Known: -1, Limit: 1 << 20},
	} {
		b, err := cbor.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parsePiecesRequest(b)
		if err != nil {
			return
		}
		again, err := cbor.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsePiecesRequest(again); err != nil {
			t.Fatalf("%+v is not read again: %v", r, err)
		}
	})
}

func FuzzParsePiecesReply(f *testing.F) {
	for _, r := range []piecesReply{{}, {Has: []byte{3}, Taken: []byte{1}, Given: 2, Pieces: []int{0, 1}, Sizes: []int32{5, 7}}} {
		b, err := cbor.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 2, 12)
	}
	f.Fuzz(func(t *testing.T, b []byte, n, body int) {
		if n < 1 || n > replicate.MaxPieces || body < 0 {
			return
		}
		r, err := parsePiecesReply(b, n, body)
		if err != nil {
			return
		}
		sum := 0
		for i, p := range r.Pieces {
			if p < 0 || p >= n {
				t.Fatalf("piece %d of %d", p, n)
			}
			sum += int(r.Sizes[i])
		}
		if sum > body {
			t.Fatalf("%d bytes of %d", sum, body)
		}
	})
}
