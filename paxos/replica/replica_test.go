package replica

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/log"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pod is a cluster on loopback, each node with its directory.
type pod struct {
	t       *testing.T
	dir     string
	members map[paxos.NodeID]netip.AddrPort
	change  func(*Config)
	running map[paxos.NodeID]*running
}

type running struct {
	*Replica
	stop  context.CancelFunc
	ended chan error
}

func newPod(t *testing.T, n int, change func(*Config)) *pod {
	p := &pod{t: t, dir: t.TempDir(), members: map[paxos.NodeID]netip.AddrPort{}, change: change, running: map[paxos.NodeID]*running{}}
	for id := range paxos.NodeID(n) {
		p.members[id+1] = freePort(t)
	}
	for id := range p.members {
		p.start(id, false)
	}
	t.Cleanup(func() {
		for id := range p.running {
			p.kill(id)
		}
	})
	return p
}

// freePort returns an address that nothing listens at now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return netip.MustParseAddrPort(ln.Addr().String())
}

func (p *pod) config(id paxos.NodeID) Config {
	return Config{
		ID: id, Dir: filepath.Join(p.dir, id.String()), Members: p.members, Secret: []byte("s"), Reserve: -1,
		Timing: paxos.Timing{Heartbeat: 20 * time.Millisecond, Election: 200 * time.Millisecond},
	}
}

func (p *pod) start(id paxos.NodeID, join bool) *running {
	p.t.Helper()
	cfg := p.config(id)
	cfg.Join = join
	addr := p.members[id]
	if join {
		addr = freePort(p.t)
	}
	var err error
	if cfg.Listener, err = net.Listen("tcp", addr.String()); err != nil {
		p.t.Fatal(err)
	}
	if p.change != nil {
		p.change(&cfg)
	}
	ctx, stop := context.WithCancel(context.Background())
	r, err := Open(ctx, cfg)
	if err != nil {
		stop()
		p.t.Fatal(err)
	}
	n := &running{r, stop, make(chan error, 1)}
	go func() { n.ended <- r.Run(ctx) }()
	p.running[id] = n
	return n
}

// kill ends a node and waits for it.
func (p *pod) kill(id paxos.NodeID) {
	p.t.Helper()
	n := p.running[id]
	delete(p.running, id)
	n.stop()
	if err := <-n.ended; err != nil && !errors.Is(err, context.Canceled) {
		p.t.Errorf("node %v: %v", id, err)
	}
	n.Wait()
}

func (p *pod) client() *Client {
	c := ClientConfig{Secret: []byte("s"), Try: time.Second}
	for _, a := range p.members {
		c.Endpoints = append(c.Endpoints, a)
	}
	cl := NewClient(c)
	p.t.Cleanup(func() { cl.Close() })
	return cl
}

func (p *pod) leader(ctx context.Context) paxos.NodeID {
	p.t.Helper()
	var leader paxos.NodeID
	until(p.t, ctx, "no leader", func() bool {
		for id, n := range p.running {
			if s, err := n.Status(ctx); err == nil && s.Role == paxos.Leading {
				leader = id
			}
		}
		return leader != 0
	})
	return leader
}

// until waits until holds is true.
func until(t *testing.T, ctx context.Context, otherwise string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(otherwise)
		}
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, ctx context.Context, c *Client, k, v string) {
	t.Helper()
	if _, err := c.Do(ctx, kv.Command{Op: kv.Put, Key: []byte(k), Value: []byte(v)}); err != nil {
		t.Fatalf("put %s: %v", k, err)
	}
}

func TestReplica_LeadersComeAndGo(t *testing.T) {
	p, ctx := newPod(t, 3, nil), soon(t)
	c := p.client()
	want := map[string]string{}
	for round := range 3 {
		for i := range 30 {
			k, v := fmt.Sprintf("k%d", i), fmt.Sprintf("v%d.%d", round, i)
			put(t, ctx, c, k, v)
			want[k] = v
		}
		id := p.leader(ctx)
		p.kill(id)
		put(t, ctx, c, "while", fmt.Sprint(round)) // two are a majority
		want["while"] = fmt.Sprint(round)
		p.start(id, false)
	}
	pairs, more, _, err := c.Range(ctx, nil, nil, 0, false)
	if err != nil || more || len(pairs) != len(want) {
		t.Fatalf("%d keys, more %v, %v; want %d", len(pairs), more, err, len(want))
	}
	for _, x := range pairs {
		if want[string(x.Key)] != string(x.Value.Value) {
			t.Errorf("%s is %q, want %q", x.Key, x.Value.Value, want[string(x.Key)])
		}
	}
	if _, err := c.Do(ctx, kv.Command{Op: kv.Put, Key: []byte("k1"), Expect: kv.Expect{Condition: kv.Absent}}); !errors.Is(err, kv.ErrMismatch) {
		t.Errorf("a put of what is there: %v", err)
	}
	if _, err := c.Do(ctx, kv.Command{Op: kv.Delete, Key: []byte("nosuch")}); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("a delete of what is not there: %v", err)
	}
}

// Increments by compare-and-set from several clients while nodes are killed: each
// that was answered counts once.
func TestReplica_EveryAnsweredCommandIsMadeOnce(t *testing.T) {
	p, ctx := newPod(t, 3, nil), soon(t)
	put(t, ctx, p.client(), "n", "0")
	var wg sync.WaitGroup
	const clients, each = 4, 25
	for range clients {
		c := p.client()
		wg.Go(func() {
			for done := 0; done < each; {
				v, _, err := c.Get(ctx, []byte("n"), false)
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if _, err := fmt.Sscan(string(v.Value), &n); err != nil {
					t.Error(err)
					return
				}
				_, err = c.Do(ctx, kv.Command{Op: kv.Put, Key: []byte("n"), Value: fmt.Append(nil, n+1), Expect: kv.Expect{Condition: kv.HasVersion, Version: v.Version}})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, kv.ErrMismatch):
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		id := p.leader(ctx)
		p.kill(id)
		p.start(id, false)
		put(t, ctx, p.client(), "goes on", id.String())
	}
	wg.Wait()
	if v, _, err := p.client().Get(ctx, []byte("n"), false); err != nil || string(v.Value) != fmt.Sprint(clients*each) {
		t.Errorf("n is %q, %v, want %d", v.Value, err, clients*each)
	}
}

// A node that was away for longer than the others remember, or whose disk is gone or
// damaged, gets a snapshot and what came after.
func TestReplica_CatchesUpBySnapshot(t *testing.T) {
	p := newPod(t, 3, func(c *Config) { c.SnapshotEvery, c.Keep = 50, 10 })
	ctx := soon(t)
	c := p.client()
	put(t, ctx, c, "first", "1")
	lead := p.leader(ctx)
	away := lead%3 + 1
	for _, harm := range []string{"away", "gone", "damaged"} {
		p.kill(away)
		switch dir := p.config(away).Dir; harm {
		case "gone":
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		case "damaged":
			if err := os.WriteFile(filepath.Join(dir, "identity"), []byte("?"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 120 {
			put(t, ctx, c, fmt.Sprintf("%s%d", harm, i), strings.Repeat("x", 1000))
		}
		n := p.start(away, false)
		if got := n.Wiped() != ""; got != (harm == "damaged") {
			t.Errorf("%s: put aside at %q", harm, n.Wiped())
		}
		until(t, ctx, harm+": it does not catch up", func() bool {
			s, err := n.Status(ctx)
			if err != nil {
				t.Fatalf("%s: %v", harm, err)
			}
			other, err := p.running[lead].Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			m, _ := s.Members.Find(away)
			return s.Slots.Applied >= other.Slots.Applied && s.Map.Hash == other.Map.Hash && !m.Learner
		})
	}
}

// Bits of the state rot: a node finds it when it is opened, or stops when somebody
// reads them, and learns all anew when it is started again.
func TestReplica_BitRotIsHealed(t *testing.T) {
	p := newPod(t, 3, func(c *Config) { c.SnapshotEvery, c.Keep = 20, 5 })
	ctx := soon(t)
	c := p.client()
	noise := make([]byte, 8_000) // Pebble looks long for the bit that rotted in a large block
	for i := range 30 {
		_, _ = crand.Read(noise)
		put(t, ctx, c, fmt.Sprint("k", i), string(noise))
	}
	id := p.leader(ctx)%3 + 1
	p.kill(id)
	p.start(id, false) // what Pebble's log had is in tables now
	p.kill(id)
	tables, err := filepath.Glob(filepath.Join(p.config(id).Dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < info.Size()-5_000; at += 5_000 {
			if _, err := f.WriteAt([]byte("rot"), at); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	n := p.start(id, false)
	if n.Wiped() == "" {
		var ended error
		until(t, ctx, "the rot is not found", func() bool {
			_, err := n.rangeOf(ctx, rangeRequest{Stale: true})
			_ = n.coded(err)
			select {
			case ended = <-n.ended:
				return true
			default:
				return false
			}
		})
		var damaged *log.DamagedError
		if !errors.As(ended, &damaged) {
			t.Fatalf("it ended with %v", ended)
		}
		n.ended <- context.Canceled // for kill
		p.kill(id)
		n = p.start(id, false)
	}
	if n.Wiped() == "" {
		t.Error("it goes on with a damaged directory")
	}
	until(t, ctx, "it does not learn anew", func() bool {
		s, err := n.Status(ctx)
		o, oerr := p.running[id%3+1].Status(ctx)
		if err != nil || oerr != nil {
			t.Fatal(err, oerr)
		}
		m, ok := s.Members.Find(id)
		return ok && !m.Learner && s.Map.Keys == 30 && s.Map.Hash == o.Map.Hash
	})
}

// A node that goes away while it is asked says nothing that would keep a client from
// asking another one.
func TestClient_AsksAgainWhatANodeThatGoesAwayRefuses(t *testing.T) {
	r, c := &Replica{}, NewClient(ClientConfig{})
	for _, err := range []error{
		context.Canceled, context.DeadlineExceeded, net.ErrClosed, io.EOF, ErrEnded, paxos.ErrStopped, paxos.ErrBusy, ErrUncertain,
		fmt.Errorf("get: %w", log.ErrClosed),
	} {
		if err := r.coded(err); !c.again(err) {
			t.Errorf("%v ends the client", err)
		}
	}
	for _, err := range []error{ErrFull, errRequest, kv.ErrLagging} {
		if err := r.coded(err); c.again(err) {
			t.Errorf("%v is asked for again", err)
		}
	}
}

func TestReplica_MembersComeAndGo(t *testing.T) {
	p, ctx := newPod(t, 3, nil), soon(t)
	c := p.client()
	put(t, ctx, c, "k", "v")
	n := p.start(4, true)
	if err := c.Member(ctx, "add", 4, n.Addr().String(), false); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, "it does not become a voter", func() bool {
		s, err := n.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := s.Members.Find(4)
		return ok && !m.Learner && s.Slots.Applied > 0
	})
	if v, ok, err := n.state.Get([]byte("k")); err != nil || !ok || string(v.Value) != "v" {
		t.Errorf("the new node has %q, %v, %v", v.Value, ok, err)
	}
	if err := c.Member(ctx, "add", 4, n.Addr().String(), false); err == nil {
		t.Error("a member is added again")
	}
	until(t, ctx, "node 4 does not lead", func() bool { return c.Member(ctx, "lead", 4, "", false) == nil })
	until(t, ctx, "node 1 does not lead", func() bool { return c.Member(ctx, "lead", 1, "", false) == nil })
	lead := p.leader(ctx)
	if err := c.Member(ctx, "remove", 4, "", false); err != nil {
		t.Fatal(err)
	}
	if lead != 4 {
		put(t, ctx, c, "k", "w")
	}
	select {
	case err := <-n.ended:
		if !errors.Is(err, paxos.ErrStopped) {
			t.Errorf("the removed node ended with %v", err)
		}
		n.ended <- context.Canceled // for kill
	case <-ctx.Done():
		t.Error("the removed node goes on")
	}
}

func TestReplica_WatchAndLeases(t *testing.T) {
	p, ctx := newPod(t, 1, nil), soon(t)
	c, w := p.client(), p.client()
	// The shortest lease that lives until the key is there, however slow the disk is.
	var r kv.Result
	err := kv.ErrLease
	for ttl := 300 * time.Millisecond; errors.Is(err, kv.ErrLease); ttl *= 2 {
		if r, err = c.Do(ctx, kv.Command{Op: kv.Grant, TTL: ttl}); err != nil {
			t.Fatal(err)
		}
		_, err = c.Do(ctx, kv.Command{Op: kv.Put, Key: []byte("here"), Lease: r.Lease})
	}
	if err != nil {
		t.Fatal(err)
	}
	errDone := errors.New("done")
	var got []string
	err = w.Watch(ctx, []byte("he"), r.Version, func(e kv.Event) error {
		got = append(got, fmt.Sprintf("%s %v", e.Key, e.Deleted))
		if e.Deleted {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) || fmt.Sprint(got) != "[here false here true]" {
		t.Errorf("changes %v, %v", got, err)
	}
}
