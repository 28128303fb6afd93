package multicast_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aether-lan/aether/multicast"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback returns the loopback interface's name, where groups can be joined.
func loopback(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("joins groups on the loopback interface, which only Linux allows; run on Linux")
	}
	return "lo"
}

func listen(t *testing.T, cfg multicast.Config) *multicast.Conn {
	t.Helper()
	c, err := multicast.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// read returns the next datagram, or false after a generous second.
func read(t *testing.T, c *multicast.Conn) (multicast.Datagram, bool) {
	t.Helper()
	type result struct {
		d   multicast.Datagram
		err error
	}
	got := make(chan result, 1)
	go func() { d, err := c.ReadPacket(); got <- result{d, err} }()
	select {
	case r := <-got:
		return r.d, r.err == nil
	case <-time.After(time.Second):
		c.Close()
		<-got
		return multicast.Datagram{}, false
	}
}

func TestListen_TellsWhereADatagramCameFrom(t *testing.T) {
	lo := loopback(t)
	for _, group := range []string{"239.77.1.1", "ff12::7711"} {
		a := listen(t, multicast.Config{Interface: lo, Group: netip.AddrPortFrom(addr(group), 0), HopLimit: 255})
		b := listen(t, multicast.Config{Interface: lo, Group: a.Group(), HopLimit: 9})
		if err := b.Send([]byte("hello")); err != nil {
			if strings.Contains(group, ":") {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		d, ok := read(t, a)
		if !ok || string(d.Payload) != "hello" {
			t.Fatalf("%s: got %+v", group, d)
		}
		if d.To != addr(group) || d.IfIndex != a.IfIndex() || d.HopLimit != 9 || d.From.Port() != a.Group().Port() {
			t.Errorf("%s: got %+v", group, d)
		}
		if err := a.SendTo([]byte("back"), d.From); err != nil {
			t.Errorf("%s: answer to %v: %v", group, d.From, err)
		}
	}
}

// Two groups on one port: golang/go issue 34728.
func TestListen_HearsNoOtherGroup(t *testing.T) {
	lo := loopback(t)
	a := listen(t, multicast.Config{Interface: lo, Group: netip.MustParseAddrPort("239.77.2.1:0")})
	other := listen(t, multicast.Config{Interface: lo, Group: netip.AddrPortFrom(addr("239.77.2.2"), a.Group().Port())})
	if err := other.Send([]byte("not for a")); err != nil {
		t.Fatal(err)
	}
	if d, ok := read(t, other); !ok || string(d.Payload) != "not for a" {
		t.Fatalf("the other group's own member got %+v", d)
	}
	if err := a.Send([]byte("for a")); err != nil {
		t.Fatal(err)
	}
	if d, ok := read(t, a); !ok || string(d.Payload) != "for a" {
		t.Errorf("got %q, want what was sent to the own group", d.Payload)
	}
}

func TestListen_NoLoopback(t *testing.T) {
	lo := loopback(t)
	// On the loopback interface itself the kernel delivers by the device, so the
	// option can only be seen to be accepted.
	c := listen(t, multicast.Config{Interface: lo, Group: netip.MustParseAddrPort("239.77.3.1:0"), NoLoopback: true})
	if err := c.Send([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestListen_UnicastGoesToTheFirst(t *testing.T) {
	lo := loopback(t)
	// Find a port that is free for both sockets of the first Conn.
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(probe.LocalAddr().(*net.UDPAddr).Port)
	group := netip.AddrPortFrom(addr("239.77.4.1"), port)
	taken := listen(t, multicast.Config{Interface: lo, Group: group, Unicast: true})
	if !taken.Shared() {
		t.Error("Shared is false although another socket has the port")
	}
	if taken.Unicast() {
		t.Error("Unicast is true although another socket has the port")
	}
	taken.Close()
	probe.Close()

	first := listen(t, multicast.Config{Interface: lo, Group: group, Unicast: true})
	second := listen(t, multicast.Config{Interface: lo, Group: group, Unicast: true})
	if first.Shared() || !second.Shared() {
		t.Errorf("Shared: first %v, second %v; want false, true", first.Shared(), second.Shared())
	}
	if !first.Unicast() || second.Unicast() {
		t.Errorf("Unicast: first %v, second %v; want true, false", first.Unicast(), second.Unicast())
	}
	if err := second.SendTo([]byte("direct"), netip.AddrPortFrom(addr("127.0.0.1"), port)); err != nil {
		t.Fatal(err)
	}
	if d, ok := read(t, first); !ok || string(d.Payload) != "direct" || d.To != addr("127.0.0.1") {
		t.Errorf("got %+v", d)
	}
}

func TestListen_SourceSpecific(t *testing.T) {
	lo := loopback(t)
	cfg := multicast.Config{Interface: lo, Group: netip.MustParseAddrPort("232.77.5.1:0")}
	if _, err := multicast.Listen(t.Context(), cfg); err == nil {
		t.Error("a group of 232.0.0.0/8 was joined without a source")
	}
	// The loopback interface may send with any address of the machine: ask which.
	asker := listen(t, multicast.Config{Interface: lo, Group: netip.MustParseAddrPort("239.77.5.1:0")})
	if err := asker.Send(nil); err != nil {
		t.Fatal(err)
	}
	d, ok := read(t, asker)
	if !ok {
		t.Fatal("heard nothing")
	}
	cfg.Source = d.From.Addr()
	c := listen(t, cfg)
	if err := c.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if d, ok := read(t, c); !ok || d.From.Addr() != cfg.Source {
		t.Errorf("got %+v", d)
	}
}

func TestListen_Refuses(t *testing.T) {
	group := netip.MustParseAddrPort("239.77.6.1:0")
	for name, cfg := range map[string]multicast.Config{
		"no interface":      {Group: group},
		"unknown interface": {Interface: "no-such-interface", Group: group},
		"no group":          {Interface: "lo", Group: netip.MustParseAddrPort("10.0.0.1:1")},
		"hop limit":         {Interface: "lo", Group: group, HopLimit: 256},
		"families":          {Interface: "lo", Group: group, Source: addr("::1")},
	} {
		if c, err := multicast.Listen(t.Context(), cfg); err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConn_CloseWakesReaders(t *testing.T) {
	c := listen(t, multicast.Config{Interface: loopback(t), Group: netip.MustParseAddrPort("239.77.7.1:0")})
	done := make(chan error, 1)
	go func() { _, err := c.ReadPacket(); done <- err }()
	c.Close()
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadPacket = %v, want net.ErrClosed", err)
	}
}
