package node

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/pool"
)

// rogue is a member of a pool that does what no machine should: it has the keys and the
// connections, and another program.
type rogue struct {
	*Machine
	mesh *link.Mesh

	mu   sync.Mutex
	said *gossip.Engine
}

// invade gives a pool of two machines that serve a third one that is a rogue.
func invade(t *testing.T) (a, b *host, r *rogue) {
	t.Helper()
	dir, secret := t.TempDir(), pool.NewSecret()
	a = serve(t, filepath.Join(dir, "a"), secret)
	b = serve(t, filepath.Join(dir, "b"), secret, a.addr)
	h := serve(t, filepath.Join(dir, "rogue"), secret, a.addr, b.addr) // so that it is known
	for _, h := range []*host{a, b} {
		eventually(t, "all know all", func() bool {
			s, err := h.client.Status(t.Context())
			return err == nil && len(s.Machines) == 3
		})
	}
	h.stop()
	m, err := Open(Config{Dir: filepath.Join(dir, "rogue")})
	if err != nil {
		t.Fatal(err)
	}
	r = &rogue{Machine: m}
	if r.said, err = gossip.New(m.kv, gossip.Config{Self: m.ID(), Key: m.pool.Key()}); err != nil {
		t.Fatal(err)
	}
	id, err := link.NewIdentity(m.pool.Key())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.mesh, err = link.NewMesh(ctx, link.MeshConfig{
		Config: link.Config{Identity: id, Admit: m.admission(), Handler: r.answer},
		Up: func(p link.PeerID, _ *link.Conn) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.said.PeerUp(time.Now(), store.MachineID(p))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		r.mesh.Wait()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	r.mesh.AddAddress(link.PeerID(a.ID()), a.addr)
	r.mesh.AddAddress(link.PeerID(b.ID()), b.addr)
	eventually(t, "the rogue is connected", func() bool { return len(r.mesh.Connected()) == 2 })
	return a, b, r
}

// answer hears gossip, and knows nothing else.
func (r *rogue) answer(_ context.Context, peer link.PeerID, req link.Message) (link.Message, error) {
	if req.Method != methodGossip {
		return link.Message{}, &link.Error{Code: link.CodeNoMethod, Text: "no"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.HandlePacket(time.Now(), gossip.Packet{Peer: store.MachineID(peer), Message: bytes.Clone(req.Header)})
	return link.Message{}, nil
}

// tell sends all that its engine has to say.
func (r *rogue) tell(ctx context.Context) {
	r.mu.Lock()
	out := r.said.Outgoing()
	r.mu.Unlock()
	for _, p := range out {
		r.call(ctx, link.PeerID(p.Peer), methodGossip, p.Message)
	}
}

func (r *rogue) call(ctx context.Context, to link.PeerID, method uint16, header []byte) {
	if resp, err := r.mesh.Call(ctx, to, link.Message{Method: method, Header: header}); err == nil {
		resp.Release()
	}
}

// flood runs f in many goroutines again and again until the end of what meanwhile does.
func flood(t *testing.T, f func(ctx context.Context, i int), meanwhile func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				f(ctx, i+100*n)
			}
		})
	}
	meanwhile()
	cancel()
	wg.Wait()
}

// unaffected is how long a file may take to another machine while a third one floods.
const unaffected = 5 * time.Second

// goOn has a and b work: each writes, and the other has it soon.
func goOn(t *testing.T, a, b *host, name string) {
	t.Helper()
	for i, h := range []*host{a, b, a, b} {
		other := []*host{b, a}[i%2]
		f, body := fmt.Sprint(name, i), randomBytes(byte(i), 200<<10)
		began := time.Now()
		h.put(t, f, body)
		eventually(t, f+" is there", func() bool { return slices.Contains(other.names(t), "/"+f) })
		if got := other.cat(t, "/"+f); !bytes.Equal(got, body) {
			t.Errorf("%s came as other bytes", f)
		}
		if took := time.Since(began); took > unaffected {
			t.Errorf("%s took %v", f, took)
		}
	}
}

// blames waits until the status of a machine names the rogue, with a kind of alarm and a
// word of its text.
func blames(t *testing.T, h *host, id store.MachineID, kind, word string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s tells of %s, %s", h.Name(), kind, word), func() bool {
		s, err := h.client.Status(t.Context())
		return err == nil && slices.ContainsFunc(s.Alarms, func(a Alarm) bool {
			return a.Kind == kind && a.Machine == id.String() && strings.Contains(a.Text, word)
		})
	})
}

// A member that asks without end, whatever it asks, waits for itself: the others work as
// before, and status says who it is.
func TestRogue_FloodOfRequests(t *testing.T) {
	proof, err := cbor.Marshal(proofRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		name   string
		method uint16
		header []byte
	}{
		{"gossip", methodGossip, []byte{1, 2, 3}},
		{"clock", methodClock, nil},
		{"proofs", methodProof, proof},
	} {
		t.Run(q.name, func(t *testing.T) {
			a, b, r := invade(t)
			flood(t, func(ctx context.Context, i int) {
				r.call(ctx, []link.PeerID{link.PeerID(a.ID()), link.PeerID(b.ID())}[i%2], q.method, q.header)
			}, func() {
				goOn(t, a, b, "f")
				blames(t, a, r.ID(), AlarmFlood, "refused")
				blames(t, b, r.ID(), AlarmFlood, "refused")
			})
			if a.demands.totals()[r.ID()] == 0 || a.demands.totals()[b.ID()] != 0 {
				t.Errorf("refused: %v", a.demands.totals())
			}
		})
	}
}

// A member that says its state anew thousands of times a second is heard a few times.
func TestRogue_FloodOfSoftState(t *testing.T) {
	a, b, r := invade(t)
	before := a.core.gossip.Counters().Flooded
	one := make(chan struct{}, 1) // its engine is one
	flood(t, func(ctx context.Context, i int) {
		one <- struct{}{}
		defer func() { <-one }()
		state, err := soft{Beat: int64(i)}.append(nil)
		r.mu.Lock()
		if err == nil {
			err = r.said.SetInventory(time.Now(), state)
		}
		r.mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		r.tell(ctx)
	}, func() {
		goOn(t, a, b, "f")
		blames(t, a, r.ID(), AlarmFlood, "state")
		blames(t, b, r.ID(), AlarmFlood, "state")
	})
	var dropped uint64
	if err := a.core.call(t.Context(), func() { dropped = a.core.gossip.Counters().Flooded - before }); err != nil || dropped == 0 {
		t.Errorf("%d dropped, %v", dropped, err)
	}
}

// A member that changes the drive as fast as it can has its changes taken in turn with
// those of others.
func TestRogue_FloodOfOperations(t *testing.T) {
	dir, secret := t.TempDir(), pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	r := serve(t, filepath.Join(dir, "rogue"), secret, a.addr, b.addr)
	flood(t, func(ctx context.Context, i int) {
		_ = r.Drive().Mkdir(ctx, fmt.Sprintf("/d%d", i%1000)) // most are there already, some fail
		_ = r.Drive().Remove(ctx, fmt.Sprintf("/d%d", i%1000), false)
	}, func() { goOn(t, a, b, "f") })
	eventually(t, "all show the same", func() bool {
		want := strings.Join(a.names(t), "\n")
		return strings.Join(b.names(t), "\n") == want && strings.Join(r.names(t), "\n") == want
	})
}

// What a member sends and is larger than anything may be is dropped by who gets it, and
// named; what can be said within the bounds and makes no sense is passed over by all.
func TestRogue_OversizeEverything(t *testing.T) {
	a, b, r := invade(t)
	to := link.PeerID(a.ID())
	t.Run("message", func(t *testing.T) {
		r.call(t.Context(), to, methodGossip, make([]byte, gossip.MaxMessage))
		blames(t, a, r.ID(), AlarmFault, "cannot be read")
	})
	t.Run("operation", func(t *testing.T) {
		huge, err := cbor.Marshal([]any{12, []any{1, 1, []any{}, []any{[]any{r.ID(), 1, make([]byte, 32), make([]byte, 96), [][]byte{make([]byte, gossip.MaxPayload+1)}}}}})
		if err != nil {
			t.Fatal(err)
		}
		before := garbage(t, a)
		r.call(t.Context(), to, methodGossip, huge)
		eventually(t, "it is dropped", func() bool { return garbage(t, a) > before })
	})
	t.Run("inventory", func(t *testing.T) {
		huge, err := cbor.Marshal([]any{14, []any{r.ID(), 1, []any{}, make([]byte, gossip.MaxInventory+1), make([]byte, 96)}})
		if err != nil {
			t.Fatal(err)
		}
		before := garbage(t, a)
		r.call(t.Context(), to, methodGossip, huge)
		eventually(t, "it is dropped", func() bool { return garbage(t, a) > before })
	})
	t.Run("state", func(t *testing.T) { // within the bound of gossip, and no state
		r.mu.Lock()
		err := r.said.SetInventory(time.Now(), bytes.Repeat([]byte{0xff}, gossip.MaxInventory))
		r.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		r.tell(t.Context())
		blames(t, a, r.ID(), AlarmFault, "state cannot be read")
	})
	t.Run("name", func(t *testing.T) { // an operation that no honest machine can write
		tx := r.kv.Begin()
		defer tx.Discard()
		r.mu.Lock()
		d := store.Dot{Machine: r.ID(), Seq: r.said.Vector()[r.ID()] + 1}
		err := r.said.Append(tx, d, bytes.Repeat([]byte("name"), gossip.MaxPayload/4))
		if err == nil {
			err = tx.Commit(true)
		}
		r.said.Committed()
		r.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		r.tell(t.Context())
		for _, h := range []*host{a, b} {
			blames(t, h, r.ID(), AlarmFault, "makes no sense")
		}
	})
	t.Run("request", func(t *testing.T) {
		refs := make([]store.Ref, maxAsk+1)
		h, err := cbor.Marshal(bodiesRequest{Refs: refs})
		if err != nil {
			t.Fatal(err)
		}
		r.call(t.Context(), to, methodBodies, h)
		blames(t, a, r.ID(), AlarmFault, "chunks, at most")
	})
	goOn(t, a, b, "after")
	sa, err := a.client.Status(t.Context())
	if err != nil || sa.State == Offline {
		t.Errorf("in the end: %v, %v", sa.State, err)
	}
}

func garbage(t *testing.T, h *host) (n uint64) {
	t.Helper()
	if err := h.core.call(t.Context(), func() { n = h.core.gossip.Counters().Garbage }); err != nil {
		t.Fatal(err)
	}
	return n
}
