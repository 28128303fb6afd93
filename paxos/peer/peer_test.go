package peer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aether-lan/aether/paxos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var cluster = paxos.ClusterID{7}

// station is a node's end of the network, and what it heard.
type station struct {
	*Mesh
	mu    sync.Mutex
	heard []paxos.Message
	wake  chan struct{}
}

func (s *station) receive(m paxos.Message) {
	s.mu.Lock()
	s.heard = append(s.heard, m)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wait waits until n messages were heard.
func (s *station) wait(t *testing.T, n int) []paxos.Message {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		if len(s.heard) >= n {
			defer s.mu.Unlock()
			return s.heard
		}
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-late:
			t.Fatalf("node %v heard %d messages of %d", s.cfg.ID, len(s.heard), n)
		}
	}
}

func stationOn(t *testing.T, ctx context.Context, id paxos.NodeID, secret string, serve Serve) *station {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &station{wake: make(chan struct{}, 1)}
	if s.Mesh, err = New(ctx, Config{ID: id, Cluster: cluster, Secret: []byte(secret), Listener: ln, Receive: s.receive, Serve: serve}); err != nil {
		t.Fatal(err)
	}
	return s
}

func message(from, to paxos.NodeID, slot paxos.Slot) paxos.Message {
	return paxos.Message{From: from, To: to, Cluster: cluster, Incarnation: 5, Body: paxos.Hello{Chosen: slot}}
}

// until calls send until s has heard something: connections take a moment.
func until(t *testing.T, s *station, send func()) {
	t.Helper()
	for range 2000 {
		send()
		select {
		case <-s.wake:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("nothing arrives")
}

func TestMesh_MessagesArriveInOrder(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a, b := stationOn(t, ctx, 1, "s", nil), stationOn(t, ctx, 2, "s", nil)
	defer func() { stop(); a.Wait(); b.Wait() }()
	a.SetAddress(2, b.Addr())
	until(t, b, func() { a.Send([]paxos.Message{message(1, 2, 0)}) })
	b.mu.Lock()
	b.heard = nil
	b.mu.Unlock()
	const n = 3000
	for i := range paxos.Slot(n) {
		a.Send([]paxos.Message{message(1, 2, i+1)})
	}
	heard := b.wait(t, n)
	for i := range n {
		if got := heard[i].Body.(paxos.Hello).Chosen; heard[i].From != 1 || (got != paxos.Slot(i+1) && got != 0) {
			t.Fatalf("message %d is %+v", i, heard[i])
		}
		if heard[i].Body.(paxos.Hello).Chosen == 0 {
			break // one more of those sent while connecting
		}
	}
	// The way back needs no address: a is known by what it sent.
	until(t, a, func() { b.Send([]paxos.Message{message(2, 1, 9)}) })
}

func TestMesh_StrangersAreRefused(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a, b := stationOn(t, ctx, 1, "one", nil), stationOn(t, ctx, 2, "other", nil)
	defer func() { stop(); a.Wait(); b.Wait() }()
	if _, err := Dial(ctx, b.Addr(), cluster, nil, []byte("one")); err == nil {
		t.Error("a client with another secret was let in")
	}
	other := cluster
	other[0]++
	if _, err := Dial(ctx, b.Addr(), other, nil, []byte("other")); err == nil {
		t.Error("a client of another cluster was let in")
	}
	a.SetAddress(2, b.Addr())
	a.Send([]paxos.Message{message(1, 2, 1)})
	if _, _, err := a.Call(ctx, 2, FirstMethod, nil, nil); err == nil {
		t.Error("a node with another secret was answered")
	}
	if len(b.heard) > 0 {
		t.Error("a message of a stranger was taken")
	}
}

// Who says that it is a node that is connected is not believed.
func TestMesh_NobodySpeaksForANodeThatIsThere(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a, b, c := stationOn(t, ctx, 1, "", nil), stationOn(t, ctx, 2, "", nil), stationOn(t, ctx, 3, "", nil)
	defer func() { stop(); a.Wait(); b.Wait(); c.Wait() }()
	a.SetAddress(2, b.Addr())
	c.SetAddress(2, b.Addr())
	until(t, b, func() { a.Send([]paxos.Message{message(1, 2, 1)}) })
	until(t, b, func() { c.Send([]paxos.Message{message(1, 2, 666), message(3, 2, 3)}) })
	for _, m := range b.wait(t, 2) {
		if m.Body.(paxos.Hello).Chosen == 666 {
			t.Error("a forged message was taken")
		}
	}
}

func TestMesh_CallsAndErrors(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	b := stationOn(t, ctx, 2, "", func(_ context.Context, method uint16, header, body []byte) (h, b []byte, err error) {
		switch method {
		case FirstMethod:
			return body, header, nil
		case FirstMethod + 1:
			return nil, nil, fmt.Errorf("wrapped: %w", &Error{FirstCode + 3, "no"})
		}
		return nil, nil, &Error{1, "unknown"}
	})
	defer func() { stop(); b.Wait() }()
	c, err := Dial(ctx, b.Addr(), cluster, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, body, err := c.Call(ctx, FirstMethod, []byte("h"), []byte("b"))
	if err != nil || string(h) != "b" || string(body) != "h" {
		t.Errorf("Call = %q, %q, %v", h, body, err)
	}
	var e *Error
	if _, _, err := c.Call(ctx, FirstMethod+1, nil, nil); !asError(err, &e) || e.Code != FirstCode+3 {
		t.Errorf("Call = %v", err)
	}
	for _, body := range [][]byte{{1}, {0, 0, 0, 9, 1}, {255, 255, 255, 255}, make([]byte, 100)} {
		if _, _, err := c.Call(ctx, methodBatch, make([]byte, 16), body); err == nil {
			t.Errorf("the batch %x was taken", body)
		}
	}
	if _, _, err := c.Call(ctx, methodBatch, []byte("short"), nil); err == nil {
		t.Error("a batch without its count was taken")
	}
}

func asError(err error, e **Error) bool {
	x, ok := err.(*Error) //nolint:errorlint // Call returns it bare
	*e = x
	return ok
}

func TestMesh_QueueIsBounded(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	a := stationOn(t, ctx, 1, "", nil)
	defer func() { stop(); a.Wait() }()
	a.SetAddress(2, netip.MustParseAddrPort("127.0.0.1:1")) // nobody is there
	a.Mesh.mu.Lock()
	for range maxQueued + 10 {
		a.queueLocked(a.nodeLocked(2), message(1, 2, 1))
	}
	waiting := len(a.nodes[2].queue)
	a.Mesh.mu.Unlock()
	if waiting > maxQueued || a.Dropped() < 10 {
		t.Errorf("%d wait, %d were dropped", waiting, a.Dropped())
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add(appendMessage(appendMessage(nil, message(1, 2, 3)), message(2, 1, 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseBatch(b)
		if err != nil {
			return
		}
		var again []byte
		for _, m := range list {
			again = appendMessage(again, m)
		}
		if back, err := parseBatch(again); err != nil || len(back) != len(list) {
			t.Errorf("%d messages become %d, %v", len(list), len(back), err)
		}
	})
}
