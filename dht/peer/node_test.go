package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/tasks"
)

// member is a node of a test.
type member struct {
	*Node
	dir  string
	stop context.CancelFunc
}

// openNode opens a node on loopback that joins list.
func openNode(t *testing.T, dir string, secret string, list ...netip.AddrPort) *member {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("DHT_VERBOSE") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", filepath.Base(dir))
	}
	n, err := Open(ctx, Config{Dir: dir, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Join: list, Secret: []byte(secret), Logger: log})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	m := &member{n, dir, stop}
	t.Cleanup(func() {
		stop()
		if err := n.Wait(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// end ends a node and waits until it has.
func (m *member) end(t *testing.T) {
	t.Helper()
	m.stop()
	if err := m.Wait(); err != nil {
		t.Fatal(err)
	}
}

// openRing opens n nodes that form a ring.
func openRing(t *testing.T, n int) []*member {
	t.Helper()
	list := []*member{openNode(t, filepath.Join(t.TempDir(), "0"), "")}
	for i := 1; i < n; i++ {
		list = append(list, openNode(t, filepath.Join(t.TempDir(), fmt.Sprint(i)), "", list[0].Addr()))
	}
	awaitRing(t, list)
	return list
}

// until waits for what no event tells of.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(40 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// awaitRing waits until each node's first successor and predecessor are right.
func awaitRing(t *testing.T, list []*member) {
	t.Helper()
	until(t, fmt.Sprintf("%d nodes form a ring", len(list)), func() bool {
		next := map[dht.ID]dht.ID{}
		for _, m := range list {
			v := viewOf(t, m)
			if len(v.Successors) < min(len(list)-1, 4) {
				return false
			}
			next[v.Self.ID] = v.Successors[0].ID
		}
		at := list[0].Self().ID
		for range list {
			at = next[at]
		}
		seen := map[dht.ID]bool{}
		for range list {
			seen[at] = true
			at = next[at]
		}
		return len(seen) == len(list)
	})
}

func viewOf(t *testing.T, m *member) (v dht.View) {
	t.Helper()
	if err := m.call(t.Context(), func(l *loop) { v = l.ring.View() }); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNode_FiveFormARingAndAgreeOnOwners(t *testing.T) {
	ring := openRing(t, 5)
	for i := range 20 {
		key := KeyID(fmt.Sprint(i))
		first, err := ring[0].Lookup(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ring[1:] {
			f, err := m.Lookup(t.Context(), key)
			if err != nil || f.Owner.ID != first.Owner.ID {
				t.Fatalf("owner of %d is %v for one and %v for another, %v", i, first.Owner, f.Owner, err)
			}
		}
	}
}

func TestNode_RequestsReachTheOwner(t *testing.T) {
	ring := openRing(t, 3)
	for _, m := range ring {
		m.Serve("where", func(_ context.Context, q Request) ([]byte, error) {
			return []byte(m.Self().Address.String()), nil
		})
		m.Serve("fails", func(context.Context, Request) ([]byte, error) { panic("in a service") })
	}
	for i := range 10 {
		key := KeyID(fmt.Sprint(i))
		f, err := ring[0].Lookup(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ring[1].Send(t.Context(), key, "where", nil)
		if err != nil || string(got) != f.Owner.Address.String() {
			t.Errorf("%q answered, %v; want %v", got, err, f.Owner.Address)
		}
	}
	if _, err := ring[0].Send(t.Context(), KeyID("x"), "fails", nil); err == nil {
		t.Error("a service that panics answered")
	}
	if _, err := ring[0].Send(t.Context(), KeyID("x"), "nosuch", nil); err == nil {
		t.Error("a service that is not there answered")
	}
}

func TestNode_TopicsReachEverybodyOnce(t *testing.T) {
	ring := openRing(t, 4)
	var subs []*Subscription
	for _, m := range ring {
		s, err := m.Subscribe(t.Context(), "news", m == ring[2])
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, s)
	}
	for i := range 5 {
		if _, err := ring[i%4].Publish(t.Context(), "news", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range subs {
		for i := range 5 {
			m, err := s.Next(t.Context())
			if err != nil || string(m.Payload) != fmt.Sprint(i) {
				t.Errorf("message %d is %q, %v", i, m.Payload, err)
			}
		}
	}
	done := make(chan error, 1)
	go func() {
		m, err := subs[2].Next(t.Context())
		subs[2].Answer(m, []byte("taken"), nil)
		done <- err
	}()
	b, by, err := ring[0].Anycast(t.Context(), "news", []byte("one of you"))
	if err = errors.Join(err, <-done); err != nil || string(b) != "taken" || by != ring[2].Self().ID {
		t.Errorf("anycast: %q by %v, %v", b, by, err)
	}
}

func TestNode_ComesBackFromItsDirectory(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 3)
	self, dir := ring[2].Self(), ring[2].dir
	if _, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second node in the directory: %v", err)
	}
	until(t, "the members are written down", func() bool {
		list, err := ring[2].disk.members()
		return err == nil && len(list) == 2
	})
	ring[2].end(t)
	ring[2] = openNode(t, dir, "")
	if now := ring[2].Self(); now.ID != self.ID || now.Incarnation != self.Incarnation+1 || now.Address != self.Address {
		t.Errorf("%v came back as %v", self, now)
	}
	awaitRing(t, ring)
	if s, err := os.Stat(filepath.Join(dir, identityFile)); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", s, err)
	}
}

// A node that is ended hands its records over: the last of a ring has them all, although
// it is no majority of those who kept them before.
func TestNode_HandsOverWhenItLeaves(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 3)
	for i := range 20 {
		if _, err := ring[0].Put(t.Context(), fmt.Sprint("key", i), []byte("value"), 0); err != nil {
			t.Fatal(err)
		}
	}
	ring[1].end(t)
	ring[2].end(t)
	for i := range 20 {
		r, err := ring[0].Get(t.Context(), fmt.Sprint("key", i))
		if err != nil || string(r.Value) != "value" {
			t.Fatalf("key%d is %q, %v", i, r.Value, err)
		}
	}
}

func TestNode_AnotherSecretIsAnotherRing(t *testing.T) {
	a := openNode(t, t.TempDir(), "one")
	b := openNode(t, t.TempDir(), "two", a.Addr())
	until(t, "the stranger is refused and counted", func() bool {
		s, err := a.Status(t.Context())
		return err == nil && s.Refused.NotAdmitted > 0
	})
	if s, err := b.Status(t.Context()); err != nil || s.Size != 1 {
		t.Errorf("size %d, %v", s.Size, err)
	}
}

func TestNode_TwoRingsThatMeetBecomeOne(t *testing.T) {
	a, b := openRing(t, 2), openRing(t, 2)
	a[0].Join(b[1].Addr())
	awaitRing(t, append(a, b...))
}

func TestClient_AsksThroughANode(t *testing.T) {
	ring := openRing(t, 2)
	ring[0].Serve("echo", func(_ context.Context, q Request) ([]byte, error) { return q.Payload, nil })
	ring[1].Serve("echo", func(_ context.Context, q Request) ([]byte, error) { return q.Payload, nil })
	c, err := NewClient(ClientConfig{Nodes: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), ring[0].Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Status(t.Context())
	if err != nil || s.Size != 2 || len(s.Successors) != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	owner, _, _, err := c.Lookup(t.Context(), KeyID("a"))
	if err != nil || owner.ID == "" {
		t.Errorf("owner %v, %v", owner, err)
	}
	if b, err := c.Send(t.Context(), KeyID("a"), "echo", []byte("hello")); err != nil || string(b) != "hello" {
		t.Errorf("echo says %q, %v", b, err)
	}
	heard := make(chan string, 1)
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = c.Subscribe(ctx, "t", false, func() { close(ready) }, func(m Message) ([]byte, error) {
			heard <- string(m.Payload)
			return nil, nil
		})
	}()
	receive(t, "the subscription", ready)
	if _, err := c.Publish(t.Context(), "t", []byte("to all")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "the message", heard); got != "to all" {
		t.Errorf("heard %q", got)
	}
	if _, err := c.Send(t.Context(), KeyID("a"), "nosuch", nil); err == nil {
		t.Error("a service that is not there answered")
	}
}

func TestTasks_RunOnceAndAgainWhenTheirNodeDies(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 4)
	ctx := within(t, 90*time.Second)
	done := make(chan Work, 100)
	working, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		_ = ring[0].Work(working, "print", 2, func(_ context.Context, w Work) ([]byte, error) {
			if string(w.Payload) == "fails once" && w.Attempt == 1 {
				return nil, errors.New("no paper")
			}
			done <- w
			return []byte("printed"), nil
		})
	})
	c, err := NewClient(ClientConfig{Nodes: []netip.AddrPort{ring[1].Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 5 {
		added, err := ring[1].AddTask(ctx, tasks.Task{Queue: "print", ID: fmt.Sprint(i), Payload: []byte("page")})
		if err != nil || !added {
			t.Fatal(added, err)
		}
	}
	if added, err := c.AddTask(ctx, tasks.Task{Queue: "print", ID: "5", Payload: []byte("fails once")}); err != nil || !added {
		t.Fatal(added, err)
	}
	seen := map[string]uint64{}
	for len(seen) < 6 {
		w := receive(t, "the tasks", done)
		seen[w.ID] = w.Attempt
	}
	if seen["5"] != 2 {
		t.Errorf("attempts %v", seen)
	}
	until(t, "all are done", func() bool {
		list, last, err := c.Tasks(ctx, "print", "", 10)
		for _, x := range list {
			if x.State != tasks.Done || string(x.Result) != "printed" {
				return false
			}
		}
		return err == nil && last == "" && len(list) == 6
	})
	// The node that sees to a task dies while nobody works.
	stop()
	wg.Wait()
	name := tasks.Task{Queue: "print", ID: "late"}.Name()
	if _, err := ring[1].AddTask(ctx, tasks.Task{Queue: "print", ID: "late"}); err != nil {
		t.Fatal(err)
	}
	at, err := ring[1].leaderOf(ctx, records.Request{Op: records.Get, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	var worker *member
	for _, m := range ring {
		if m.Self().ID == at.ID {
			m.n().crash()
		} else {
			worker = m
		}
	}
	again, end := context.WithCancel(ctx)
	defer end()
	wg.Go(func() {
		_ = worker.Work(again, "print", 1, func(_ context.Context, w Work) ([]byte, error) { done <- w; return nil, nil })
	})
	if w := receive(t, "the task of the dead node", done); w.ID != "late" {
		t.Errorf("got %+v", w)
	}
	end()
}
