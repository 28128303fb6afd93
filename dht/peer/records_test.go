package peer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/records"
)

// within is a context for what must not take long.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRecords_PutGetSwapDelete(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 3)
	ctx := within(t, 60*time.Second)
	if _, err := ring[0].Get(ctx, "colour"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	if r, err := ring[1].Put(ctx, "colour", []byte("blue"), 0); err != nil || r.Version != 1 {
		t.Fatalf("put: %+v, %v", r, err)
	}
	for _, m := range ring {
		if r, err := m.Get(ctx, "colour"); err != nil || string(r.Value) != "blue" {
			t.Errorf("get: %+v, %v", r, err)
		}
	}
	if r, err := ring[2].Swap(ctx, "colour", 1, []byte("green")); err != nil || r.Version != 2 {
		t.Errorf("swap: %+v, %v", r, err)
	}
	_, err := ring[0].Swap(ctx, "colour", 1, []byte("red"))
	var e *RecordError
	if !errors.Is(err, ErrConflict) || !errors.As(err, &e) || e.Record.Version != 2 || string(e.Record.Value) != "green" {
		t.Errorf("swap of an old version: %v", err)
	}
	if _, err := ring[0].Swap(ctx, "shape", 0, []byte("round")); err != nil {
		t.Errorf("swap of what is not there: %v", err)
	}
	list, more, err := ring[1].Scan(ctx, "", "", 10)
	if err != nil || more || len(list) != 2 || list[0].Name != "colour" || list[1].Name != "shape" {
		t.Errorf("scan: %+v, %v, %v", list, more, err)
	}
	if _, err := ring[1].Delete(ctx, "colour", 0); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := ring[2].Get(ctx, "colour"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of what was deleted: %v", err)
	}
	if _, err := ring[2].Put(ctx, "big", make([]byte, records.MaxValue+1), 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("put of too much: %v", err)
	}
}

func TestRecords_AnswerAgainAfterTheirLeaderDied(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 5)
	ctx := within(t, 90*time.Second)
	for i := range 20 {
		if _, err := ring[i%5].Put(ctx, fmt.Sprint(i), []byte(fmt.Sprint(i)), 0); err != nil {
			t.Fatal(err)
		}
	}
	dead := ring[4]
	dead.n().crash()
	began := time.Now()
	for i := range 20 {
		if r, err := ring[i%4].Get(ctx, fmt.Sprint(i)); err != nil || string(r.Value) != fmt.Sprint(i) {
			t.Errorf("record %d after a death: %+v, %v", i, r, err)
		}
	}
	t.Logf("all answered %.2f s after the death", time.Since(began).Seconds())
	if r, err := ring[0].Put(ctx, "0", []byte("again"), 0); err != nil || r.Version != 2 {
		t.Errorf("put: %+v, %v", r, err)
	}
}

// n is the node, for what only tests do.
func (m *member) n() *Node { return m.Node }

// crash ends a node without a farewell.
func (n *Node) crash() {
	n.stop(errLeft)
	<-n.ended
}

func TestRecords_OutliveTheEndOfAllNodes(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 3)
	ctx := within(t, 90*time.Second)
	if _, err := ring[0].Put(ctx, "a", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	until(t, "the members are written down", func() bool {
		for _, m := range ring {
			if list, err := m.disk.members(); err != nil || len(list) != 2 {
				return false
			}
		}
		return true
	})
	for _, m := range ring {
		m.n().crash()
	}
	for i, m := range ring {
		ring[i] = openNode(t, m.dir, "")
	}
	if r, err := ring[1].Get(ctx, "a"); err != nil || string(r.Value) != "kept" {
		t.Errorf("after all came back: %+v, %v", r, err)
	}
}

func TestRecords_OneHolderOfALease(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 3)
	ctx := within(t, 60*time.Second)
	var mu sync.Mutex
	holders, most, fences := 0, 0, map[uint64]bool{}
	var wg sync.WaitGroup
	for i, m := range ring {
		wg.Go(func() {
			for range 5 {
				q := records.Request{Op: records.Acquire, Name: "printer", Holder: fmt.Sprint(i), TTL: 30 * time.Second}
				r, err := m.do(ctx, q)
				for errors.Is(err, ErrConflict) && ctx.Err() == nil {
					r, err = m.do(ctx, q)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				holders++
				most = max(most, holders)
				if fences[r.Fence] {
					t.Errorf("fence %d twice", r.Fence)
				}
				fences[r.Fence] = true
				mu.Unlock()
				mu.Lock()
				holders--
				mu.Unlock()
				if _, err := m.do(ctx, records.Request{Op: records.Release, Name: "printer", Version: r.Fence, Holder: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most != 1 || len(fences) != 15 {
		t.Errorf("%d holders at once, %d fences", most, len(fences))
	}
}

func TestRecords_WatchesFollowTheirLeader(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 4)
	ctx := within(t, 90*time.Second)
	if _, err := ring[0].Put(ctx, "w/a", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	at, err := ring[0].leaderOf(ctx, records.Request{Op: records.Get, Name: "w/a"})
	if err != nil {
		t.Fatal(err)
	}
	var leader *member
	var others []*member
	for _, m := range ring {
		if m.Self().ID == at.ID {
			leader = m
		} else {
			others = append(others, m)
		}
	}
	one, all := make(chan records.Record, 100), make(chan records.Record, 100)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		_ = others[0].Watch(watching, "w/a", func(r records.Record) error { one <- r; return nil })
	})
	wg.Go(func() {
		_ = others[1].WatchPrefix(watching, "w/", func(r records.Record) error { all <- r; return nil })
	})
	for _, c := range []chan records.Record{one, all} {
		if r := receive(t, "the present state", c); r.Version != 1 {
			t.Errorf("first is %+v", r)
		}
	}
	leader.n().crash()
	if _, err := others[0].Put(ctx, "w/a", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []chan records.Record{one, all} {
		if r := receive(t, "the change under another leader", c); r.Version != 2 || string(r.Value) != "1" {
			t.Errorf("then %+v", r)
		}
	}
}

func TestClient_RecordsThroughADyingNode(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 3)
	ctx := within(t, 60*time.Second)
	c, err := NewClient(ClientConfig{Nodes: []netip.AddrPort{ring[2].Addr(), ring[0].Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 20 {
		r, err := c.Put(ctx, "n", []byte(fmt.Sprint(i)), 0)
		if err != nil || r.Version != uint64(i+1) {
			t.Fatalf("put %d: %+v, %v", i, r, err)
		}
		if i == 10 {
			ring[2].n().crash()
		}
	}
	if _, err := c.Swap(ctx, "n", 3, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("swap of an old version: %v", err)
	}
}

// The first write of a ring is led by whoever owns the point 0, which most nodes of a ring
// of this size do not have among their successors.
func TestRecords_FirstWriteComesFromAnywhere(t *testing.T) {
	t.Parallel()
	ring := openRing(t, 14)
	ctx := within(t, 100*time.Second)
	var wg sync.WaitGroup
	for i, m := range ring {
		wg.Go(func() {
			if r, err := m.Put(ctx, fmt.Sprint(i), []byte("first"), 0); err != nil || r.Version != 1 {
				t.Errorf("put through node %d: %+v, %v", i, r, err)
			}
		})
	}
	wg.Wait()
}
