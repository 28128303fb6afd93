package peer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/link"
)

// stuck are goroutines that Pebble leaves behind when its disk has failed.
var stuck []goleak.Option

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(stuck...); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

// end is one node's links in a test, and what they heard.
type end struct {
	*links
	self  dht.Peer
	stop  context.CancelFunc
	heard chan []parcel
	gone  chan dht.Peer
}

// newEnd starts the links of the n-th node, which answers each parcel with reply.
func newEnd(t *testing.T, n byte, secret string, reply ...parcel) *end {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	e := &end{stop: stop, heard: make(chan []parcel, 64), gone: make(chan dht.Peer, 64)}
	e.self = dht.Peer{ID: IDOf(key.Public().(ed25519.PublicKey)), Incarnation: 7, Address: listensAt(ln)}
	e.links, err = newLinks(ctx, linksConfig{
		key: key, secret: []byte(secret), listener: ln, self: e.self, logger: slog.New(slog.DiscardHandler),
		hear: func(_ context.Context, from dht.Peer, list []parcel, answer bool) []parcel {
			e.heard <- list
			if answer {
				return reply
			}
			return nil
		},
		gone: func(p dht.Peer, _ error) { e.gone <- p },
		serve: func(context.Context, uint16, []byte, []byte) (h, b []byte, err error) {
			return nil, []byte("served"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		e.wait()
	})
	return e
}

func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func TestLinks_AnswerComesInTheSameExchange(t *testing.T) {
	a := newEnd(t, 1, "")
	b := newEnd(t, 2, "", parcel{layerRing, []byte("pong")})
	a.send(b.self, parcel{layerRing, []byte("ping")})
	if got := receive(t, "the question", b.heard); string(got[0].body) != "ping" {
		t.Errorf("heard %v", got)
	}
	if got := receive(t, "the answer", a.heard); string(got[0].body) != "pong" {
		t.Errorf("heard %v", got)
	}
	if n := b.traffic.dials.Load(); n != 0 {
		t.Errorf("the answer made %d connections", n)
	}
	// What b says later goes the same way back.
	b.send(a.self, parcel{layerRecords, []byte("later")})
	receive(t, "the later word", a.heard)
	if n := b.traffic.dials.Load(); n != 0 {
		t.Errorf("a word to a connected node made %d connections", n)
	}
	if got, err := a.call(t.Context(), b.self, firstMethod, nil, nil); err != nil || string(got) != "served" {
		t.Errorf("a request: %q, %v", got, err)
	}
}

func TestLinks_AForgedIDIsRefused(t *testing.T) {
	a, b := newEnd(t, 1, ""), newEnd(t, 2, "")
	claimed := dht.Peer{ID: IDOf(bytes.Repeat([]byte{9}, 32)), Address: b.self.Address}
	a.send(claimed, parcel{layerRing, []byte("who are you")})
	if p := receive(t, "the news that it is another", a.gone); p.ID != claimed.ID {
		t.Errorf("gone is %v", p)
	}
	if a.traffic.wrong.Load() != 1 || len(b.heard) != 0 {
		t.Errorf("%d wrong nodes counted, b heard %d", a.traffic.wrong.Load(), len(b.heard))
	}
}

func TestLinks_AnotherSecretStaysOutside(t *testing.T) {
	a, b := newEnd(t, 1, "one"), newEnd(t, 2, "two")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := a.probe(ctx, b.self.Address)
	if !errors.Is(err, link.ErrNotAdmitted) {
		t.Error(err)
	}
	until(t, "the stranger is counted", func() bool { return b.listener.Counters().NotAdmitted == 1 })
}

func TestLinks_ADeathIsHeardAtOnce(t *testing.T) {
	a, b := newEnd(t, 1, ""), newEnd(t, 2, "")
	p, err := a.probe(t.Context(), b.self.Address)
	if err != nil || p != b.self {
		t.Fatalf("probe says %v, %v", p, err)
	}
	b.stop()
	b.wait()
	if p := receive(t, "the end of the connection", a.gone); p != b.self {
		t.Errorf("gone is %v", p)
	}
	a.send(b.self, parcel{layerRing, []byte("are you there")})
	receive(t, "the refusal", a.gone)
	until(t, "the parcel is counted as dropped", func() bool { return a.traffic.dropped.Load() == 1 })
}

func TestLinks_ClosesWhatNobodyUses(t *testing.T) {
	a, b := newEnd(t, 1, ""), newEnd(t, 2, "")
	if _, err := a.probe(t.Context(), b.self.Address); err != nil || a.connections() != 1 {
		t.Fatal(err, a.connections())
	}
	a.sweepOnce(time.Now().Add(2 * idleAfter))
	if n := a.connections(); n != 0 {
		t.Errorf("%d connections after the sweep", n)
	}
}

func TestBatch_UnspecifiedAddressIsWhereItIsSeen(t *testing.T) {
	id := IDOf(bytes.Repeat([]byte{1}, 32))
	for _, c := range []struct{ told, want string }{
		{"0.0.0.0:7", "192.0.2.9:7"}, {"[::]:7", "192.0.2.9:7"}, {"192.0.2.1:7", "192.0.2.1:7"},
	} {
		b, err := parseBatch(batch{3, netip.MustParseAddrPort(c.told), nil}.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		got := b.sender(id, netip.MustParseAddr("192.0.2.9"))
		if want := (dht.Peer{ID: id, Incarnation: 3, Address: netip.MustParseAddrPort(c.want)}); got != want {
			t.Errorf("%s: %v, want %v", c.told, got, want)
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(batch{}.append(nil))
	f.Add(batch{1, netip.MustParseAddrPort("127.0.0.1:80"), []parcel{{layerRing, []byte("a")}, {layerTopics, nil}}}.append(nil))
	f.Add(batch{1 << 63, netip.MustParseAddrPort("[fe80::1]:80"), nil}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseBatch(b)
		if err != nil {
			return
		}
		y, err := parseBatch(x.append(nil))
		if err != nil || y.incarnation != x.incarnation || y.address != x.address || len(y.parcels) != len(x.parcels) {
			t.Fatalf("%+v became %+v, %v", x, y, err)
		}
		for i := range x.parcels {
			if !reflect.DeepEqual(x.parcels[i].layer, y.parcels[i].layer) || !bytes.Equal(x.parcels[i].body, y.parcels[i].body) {
				t.Fatalf("%+v became %+v", x, y)
			}
		}
	})
}
