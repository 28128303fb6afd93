package mdns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// start opens a Node with delays from seed; it is closed when the test ends.
func start(t *testing.T, net network, seed uint64) *Node {
	t.Helper()
	n, err := open(t.Context(), Config{Rand: rand.New(rand.NewPCG(seed, 0))}, net)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func record(t testing.TB, zone string, unique bool) Record {
	t.Helper()
	rr, err := dns.NewRR(zone)
	if err != nil {
		t.Fatal(err)
	}
	r, err := FromRR(rr)
	if err != nil {
		t.Fatal(err)
	}
	r.Flush = unique
	return r
}

func TestNode_ClaimsANameWithinItsTimeAndIsFound(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			seg := new(segment)
			a := start(t, newMachine(t, seg, "169.254.1.1/16", "fe80::1/64"), seed)
			b := start(t, newMachine(t, seg, "169.254.1.2/16", "fe80::2/64"), seed+1000)
			began := time.Now()
			claim, err := a.ClaimHost(t.Context(), "Box")
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 1100*time.Millisecond || took < 750*time.Millisecond {
				t.Errorf("seed %d: claimed after %v", seed, took)
			}
			if claim.Name() != "Box.local." || a.Hostname() != "Box.local." {
				t.Errorf("claimed %q, host name %q", claim.Name(), a.Hostname())
			}
			began = time.Now()
			found, err := b.Resolve(t.Context(), "box")
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("seed %d: found after %v", seed, took)
			}
			if s := fmt.Sprint(found); !strings.Contains(s, "169.254.1.1") || !strings.Contains(s, "fe80::1%eth0") {
				t.Errorf("seed %d: found %s", seed, s)
			}
		})
	}
}

func TestNode_OneOfManyKeepsTheName(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			seg := new(segment)
			names := make(chan string)
			const machines = 5
			for i := range machines {
				n := start(t, newMachine(t, seg, fmt.Sprintf("10.0.0.%d/24", i+1)), seed*100+uint64(i))
				go func() {
					c, err := n.ClaimHost(t.Context(), "box")
					if err != nil {
						names <- err.Error()
						return
					}
					names <- c.Name()
				}()
			}
			seen := make(map[string]bool)
			for range machines {
				seen[<-names] = true
			}
			if len(seen) != machines || !seen["box.local."] {
				t.Errorf("seed %d: names %v", seed, seen)
			}
		})
	}
}

func TestNode_PublishConflictsWithAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		b := start(t, newMachine(t, seg, "10.0.0.2/24"), 2)
		mine := record(t, "x._ipp._tcp.local. 120 SRV 0 0 1 a.local.", true)
		if _, err := a.Publish(t.Context(), []Record{mine}); err != nil {
			t.Fatal(err)
		}
		var conflict *ConflictError
		_, err := b.Publish(t.Context(), []Record{record(t, "X._ipp._tcp.local. 120 SRV 0 0 2 b.local.", true)})
		if !errors.As(err, &conflict) || !sameName(conflict.Name, mine.Name) || conflict.From != netip.MustParseAddr("10.0.0.1") {
			t.Errorf("Publish = %v", err)
		}
		// Equal data is no conflict (RFC 6762 section 9).
		if _, err := b.Publish(t.Context(), []Record{mine}); err != nil {
			t.Errorf("the same record: %v", err)
		}
	})
}

func TestNode_WatchTellsOfComingsAndGoings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		b := start(t, newMachine(t, seg, "10.0.0.2/24"), 2)
		p, err := a.Publish(t.Context(), []Record{record(t, "_ipp._tcp.local. 4500 PTR x._ipp._tcp.local.", false)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for c, err := range b.Watch(t.Context(), Question{"_IPP._tcp.local.", dns.TypePTR}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(c.Op, " ", c.Reason, " ", c.From, " ", c.Local))
			if c.Op == Remove {
				break
			}
			p.Close()
		}
		if s := strings.Join(got, ", "); s != "add answered 10.0.0.1 false, remove goodbye 10.0.0.1 false" {
			t.Errorf("heard %s", s)
		}
		// The publisher sees its own.
		if _, err := a.Publish(t.Context(), []Record{record(t, "_x._tcp.local. 4500 PTR y._x._tcp.local.", false)}); err != nil {
			t.Fatal(err)
		}
		for c, err := range a.Watch(t.Context(), Question{"_x._tcp.local.", dns.TypePTR}) {
			if err != nil || !c.Local {
				t.Errorf("own record: %v, %v", c, err)
			}
			break
		}
	})
}

func TestNode_RecordsFollowAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		m := newMachine(t, seg)
		a := start(t, m, 1)
		b := start(t, newMachine(t, seg, "169.254.0.9/16"), 2)
		claimed := make(chan error)
		go func() { _, err := a.ClaimHost(t.Context(), "late"); claimed <- err }()
		time.Sleep(time.Minute)
		select {
		case err := <-claimed:
			t.Fatalf("claimed without an address: %v", err)
		default:
		}
		m.change("169.254.0.1/16")
		if err := <-claimed; err != nil {
			t.Fatal(err)
		}
		if got, err := b.Resolve(t.Context(), "late.local"); err != nil || len(got) != 1 || got[0].Addr != netip.MustParseAddr("169.254.0.1") {
			t.Errorf("resolved %v, %v", got, err)
		}
		// The other machine hears of the address change without asking.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var got []string
		go func() { time.Sleep(2 * time.Second); m.change("169.254.0.1/16", "169.254.0.2/16") }()
		go func() { time.Sleep(5 * time.Second); m.change() }()
		for c, err := range b.Watch(ctx, Question{"late.local.", dns.TypeA}) {
			if err != nil {
				t.Fatal(err)
			}
			addr, _ := c.Record.Addr()
			got = append(got, fmt.Sprint(c.Op, " ", addr))
		}
		if s := strings.Join(got, ", "); s != "add 169.254.0.1, add 169.254.0.2, remove 169.254.0.1, remove 169.254.0.2" {
			t.Errorf("heard %s", s)
		}
	})
}

// One context that ends a Node and a Watch of it is the end of both, no failure of either.
func TestQueue_TheEndOfBothIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := make(chan struct{})
	close(ended)
	for range 100 { // select takes either
		newQueue[int](1).drain(ctx, ended, func(_ int, err error) bool {
			t.Fatalf("told %v", err)
			return false
		})
	}
}

func TestNode_CloseSaysGoodbyeAndEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		b := start(t, newMachine(t, seg, "10.0.0.2/24"), 2)
		if _, err := a.ClaimHost(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			var last error
			for _, err := range a.Watch(t.Context(), Question{"none.local.", dns.TypeA}) {
				last = err
			}
			ended <- last
		}()
		time.Sleep(100 * time.Millisecond) // so that the announcement is there before the goodbye
		a.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Watch ended with %v", err)
		}
		if _, err := a.ClaimHost(t.Context(), "box"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ClaimHost after Close = %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		if _, err := b.Resolve(t.Context(), "box"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Resolve after the goodbye = %v", err)
		}
	})
}

func TestNode_ASlowReaderIsEndedAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		b, err := open(t.Context(), Config{Queue: 3, Rand: rand.New(rand.NewPCG(3, 3))}, newMachine(t, seg, "10.0.0.2/24"))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var records []Record
		for i := range 20 {
			records = append(records, record(t, fmt.Sprintf("_x._tcp.local. 4500 PTR y%d._x._tcp.local.", i), false))
		}
		if _, err := a.Publish(t.Context(), records[:1]); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err = range b.Watch(ctx, Question{"_x._tcp.local.", dns.TypePTR}) {
			if err != nil {
				break
			}
			// While this body runs, the Node goes on.
			if _, err := a.Publish(ctx, records); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Resolve(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
		if !errors.Is(err, ErrSlowReader) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestOpen_RefusesAnInterfaceThatIsNotThere(t *testing.T) {
	if n, err := Open(t.Context(), Config{Interfaces: []string{"no-such-if"}}); err == nil {
		n.Close()
		t.Error("no error")
	}
}
