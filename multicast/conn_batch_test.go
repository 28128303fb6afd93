package multicast_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/multicast"
)

// batch reads n datagrams, or what comes in a generous second.
func batch(t *testing.T, c *multicast.Conn, n int) (got []multicast.Datagram) {
	t.Helper()
	late := time.AfterFunc(time.Second, func() { c.Close() })
	defer late.Stop()
	for len(got) < n {
		ds := make([]multicast.Datagram, 100)
		k, err := c.ReadBatch(ds)
		if err != nil {
			t.Fatalf("%v after %d of %d datagrams", err, len(got), n)
		}
		got = append(got, ds[:k]...)
	}
	return got
}

func TestBatches_CarryWhatSinglesCarry(t *testing.T) {
	lo := loopback(t)
	for _, group := range []string{"239.77.10.1", "ff12::7710"} {
		c := listen(t, multicast.Config{Interface: lo, Group: netip.AddrPortFrom(addr(group), 0), HopLimit: 7})
		var bs [][]byte
		for i := range 150 {
			bs = append(bs, fmt.Append(nil, "datagram ", i))
		}
		bs = append(bs, nil, make([]byte, 9000))
		n, err := c.WriteBatch(bs, netip.AddrPort{})
		if err != nil && strings.Contains(group, ":") {
			t.Logf("no IPv6 here: %v", err)
			continue
		}
		if n != len(bs) || err != nil {
			t.Fatalf("WriteBatch = %d, %v", n, err)
		}
		got := batch(t, c, len(bs))
		if err := c.Send([]byte("one")); err != nil {
			t.Fatal(err)
		}
		one, ok := read(t, c)
		if !ok {
			t.Fatal("nothing read one by one")
		}
		for i, d := range got {
			if since := time.Since(d.Received); since < 0 || since > time.Minute {
				t.Errorf("received %v ago", since)
			}
			d.Received = time.Time{}
			if string(d.Payload) != string(bs[i]) {
				t.Fatalf("datagram %d is %q, want %q", i, d.Payload, bs[i])
			}
			if d.From != one.From || d.To != one.To || d.IfIndex != one.IfIndex || d.HopLimit != 7 || one.HopLimit != 7 {
				t.Errorf("by batch %v, by one %v", d, one)
			}
		}
		// After ReadPacket the queue is read.
		if err := c.Send([]byte("queued")); err != nil {
			t.Fatal(err)
		}
		if got := batch(t, c, 1); string(got[0].Payload) != "queued" {
			t.Errorf("got %q", got[0].Payload)
		}
	}
}

func TestReadBatch_UsesThePayloadsMemory(t *testing.T) {
	c := listen(t, multicast.Config{Interface: loopback(t), Group: netip.MustParseAddrPort("239.77.11.1:0")})
	memory := make([]byte, 0, 100)
	ds := []multicast.Datagram{{Payload: memory}}
	if err := c.Send([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.ReadBatch(ds); n != 1 || err != nil || &ds[0].Payload[0] != &memory[:1][0] {
		t.Errorf("%d, %v, in other memory", n, err)
	}
}

func TestReadBatch_CloseWakes(t *testing.T) {
	for _, unicast := range []bool{false, true} {
		c := listen(t, multicast.Config{Interface: loopback(t), Group: netip.MustParseAddrPort("239.77.12.1:17712"), Unicast: unicast})
		done := make(chan error, 1)
		go func() { _, err := c.ReadBatch(make([]multicast.Datagram, 8)); done <- err }()
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadBatch = %v, want net.ErrClosed", err)
		}
	}
}

// One socket hears more groups than it may have memberships, and no others.
func TestListen_ManyGroupsOnOnePort(t *testing.T) {
	lo := loopback(t)
	base := addr("239.78.0.1")
	cfg := multicast.Config{Interface: lo, Group: netip.AddrPortFrom(base, 0), ReadBuffer: 1 << 20}
	for a, i := base, 0; i < 99; i++ {
		a = a.Next()
		cfg.More = append(cfg.More, multicast.Channel{Group: a})
	}
	c := listen(t, cfg)
	port := c.Group().Port()
	other := listen(t, multicast.Config{Interface: lo, Group: netip.AddrPortFrom(addr("239.78.1.1"), port)})
	s, err := multicast.Dial(t.Context(), multicast.Config{Interface: lo, Group: c.Group()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for a := base.Prev(); a != addr("239.78.0.102"); a = a.Next() { // one too low, one too high
		if err := s.SendTo([]byte(a.String()), netip.AddrPortFrom(a, port)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SendTo([]byte("to another program's group"), other.Group()); err != nil {
		t.Fatal(err)
	}
	if _, ok := read(t, other); !ok {
		t.Fatal("the other program heard nothing")
	}
	want := base
	for _, d := range batch(t, c, 100) {
		if d.To != want || string(d.Payload) != want.String() {
			t.Fatalf("got %q to %v, want %v", d.Payload, d.To, want)
		}
		want = want.Next()
	}
	if s := c.Stats(); s.Foreign > 1 || s.KernelDrops != 0 || s.ReadBuffer < 1<<20 {
		t.Errorf("%+v", s)
	}
}

// The sources of a channel are checked although another channel's are joined too.
func TestListen_ChannelsOfOneGroup(t *testing.T) {
	lo := loopback(t)
	asker := listen(t, multicast.Config{Interface: lo, Group: netip.MustParseAddrPort("239.78.2.1:0")})
	if err := asker.Send(nil); err != nil {
		t.Fatal(err)
	}
	d, ok := read(t, asker)
	if !ok {
		t.Fatal("heard nothing")
	}
	me, group := d.From.Addr(), addr("232.78.2.1")
	c := listen(t, multicast.Config{
		Interface: lo, Group: netip.AddrPortFrom(group, 0), Source: addr("192.0.2.9"),
		More: []multicast.Channel{{Group: group, Source: me}, {Group: addr("232.78.2.2"), Source: addr("192.0.2.9")}, {Group: group, Source: me}},
	})
	for _, to := range []string{"232.78.2.2", "232.78.2.1"} {
		if err := c.SendTo([]byte(to), netip.AddrPortFrom(addr(to), c.Group().Port())); err != nil {
			t.Fatal(err)
		}
	}
	if got := batch(t, c, 1); string(got[0].Payload) != group.String() {
		t.Errorf("got %q", got[0].Payload)
	}
}

// A receive buffer that overflows is loss at the own socket, and is counted there.
func TestStats_KernelDrops(t *testing.T) {
	c := listen(t, multicast.Config{Interface: loopback(t), Group: netip.MustParseAddrPort("239.77.13.1:0"), ReadBuffer: 4096})
	const sent = 200
	for range sent {
		if err := c.Send(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	drops := c.Stats().KernelDrops
	got := 0
	late := time.AfterFunc(time.Second, func() { c.Close() })
	defer late.Stop()
	for ds := make([]multicast.Datagram, 64); got+int(drops) < sent; {
		n, err := c.ReadBatch(ds)
		if err != nil {
			t.Fatalf("%v: read %d, dropped %d of %d", err, got, drops, sent)
		}
		got += n
	}
	if drops == 0 || got == 0 || got+int(drops) != sent {
		t.Errorf("read %d, dropped %d of %d", got, drops, sent)
	}
	c.Close()
	if after := c.Stats().KernelDrops; after != drops {
		t.Errorf("%d drops after closing, %d before", after, drops)
	}
}

func TestDial_JoinsNothingAndHearsAnswers(t *testing.T) {
	lo := loopback(t)
	group := listen(t, multicast.Config{Interface: lo, Group: netip.MustParseAddrPort("239.77.14.1:0")})
	s, err := multicast.Dial(t.Context(), multicast.Config{Interface: lo, Group: group.Group(), HopLimit: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send([]byte("question")); err != nil {
		t.Fatal(err)
	}
	d, ok := read(t, group)
	if !ok || d.HopLimit != 3 || d.From.Port() != s.LocalPort() {
		t.Fatalf("got %+v, %v", d, ok)
	}
	if err := group.SendTo([]byte("answer"), d.From); err != nil {
		t.Fatal(err)
	}
	if d, ok := read(t, s); !ok || string(d.Payload) != "answer" {
		t.Errorf("got %+v, %v", d, ok)
	}
}
