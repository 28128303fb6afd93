package igmp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netlab"
)

// machine is a kernel on the lab's switch, with our Conn beside it.
type machine struct {
	t    *testing.T
	host *netlab.Host
	conn *igmp.Conn
	in   chan igmp.Frame
}

func newMachine(t *testing.T, lab *netlab.Lab, sw *netlab.Switch, name, prefix string, family igmp.Family) *machine {
	t.Helper()
	m := &machine{t: t, host: lab.Host(name), in: make(chan igmp.Frame, 1000)}
	m.host.Attach(sw, "eth0")
	m.host.AddAddr("eth0", netip.MustParsePrefix(prefix))
	if err := m.host.Do(func() (err error) {
		m.conn, err = igmp.Open(t.Context(), "eth0", family)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			f, err := m.conn.ReadFrame()
			if err != nil {
				ended <- err
				return
			}
			m.in <- f
		}
	}()
	t.Cleanup(func() {
		m.conn.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: reading ended with %v", name, err)
		}
	})
	return m
}

// join makes the kernel a member until the socket is closed.
func (m *machine) join(group string) (leave func()) {
	m.t.Helper()
	var fd int
	g := addr(group)
	err := m.host.Do(func() (err error) {
		domain := unix.AF_INET
		if g.Is6() {
			domain = unix.AF_INET6
		}
		if fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if g.Is4() {
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
				&unix.IPMreqn{Multiaddr: g.As4(), Ifindex: int32(ifi.Index)})
		}
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: g.As16(), Interface: uint32(ifi.Index)})
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return func() { unix.Close(fd) }
}

// await returns the first frame that want accepts.
func (m *machine) await(what string, want func(igmp.Frame) bool) igmp.Frame {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case f := <-m.in:
			if want(f) {
				return f
			}
		case <-ctx.Done():
			m.t.Fatalf("no %s within a minute", what)
		}
	}
}

// reports accepts a report about group of version v, from another machine or our own.
func reports(group string, v igmp.Version, own bool) func(igmp.Frame) bool {
	return func(f igmp.Frame) bool {
		r, ok := f.Packet.Message.(*igmp.Report)
		return ok && f.Own == own && r.Version == v && slices.Contains(f.Packet.Groups(), addr(group))
	}
}

func TestConn_HearsTheKernelsReportsAndAsks(t *testing.T) {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	a := newMachine(t, lab, sw, "a", "10.0.0.1/24", igmp.IPv4)
	b := newMachine(t, lab, sw, "b", "10.0.0.2/24", igmp.IPv4)
	if got := a.conn.Addr(igmp.IPv4); got != addr("10.0.0.1") {
		t.Errorf("Addr = %v", got)
	}

	defer b.join("239.1.2.3")()
	f := a.await("report of another kernel", reports("239.1.2.3", 3, false))
	if f.Source != (igmp.HardwareAddr{0x02, 0xae, 0, 0, 2, 1}) || !f.Packet.RouterAlert || f.Packet.TTL != 1 || f.Packet.Src != addr("10.0.0.2") {
		t.Errorf("heard %+v", f)
	}
	b.await("report of our own kernel", reports("239.1.2.3", 3, true))

	// A general query of version 2 turns the kernel to version 2, whose reports go
	// to the group itself: we are no member and hear them all the same.
	q := igmp.NewPacket(a.conn.Addr(igmp.IPv4), igmp.IPv4.AllSystems(), &igmp.Query{Version: 2, MaxResponse: 200 * time.Millisecond})
	if err := a.conn.WritePacket(q); err != nil {
		t.Fatal(err)
	}
	a.await("report of version 2", reports("239.1.2.3", 2, false))

	bad, err := q.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	bad[len(bad)-1]++
	if err := a.conn.WriteBytes(q.Dst, bad); err != nil {
		t.Fatal(err)
	}
	f = b.await("malformed packet", func(f igmp.Frame) bool { return f.Err != nil })
	if !errors.Is(f.Err, igmp.ErrChecksum) || f.Packet.Src != addr("10.0.0.1") {
		t.Errorf("malformed packet: %+v", f)
	}
}

func TestConn_HearsMLD(t *testing.T) {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	a := newMachine(t, lab, sw, "a", "2001:db8::1/64", igmp.IPv6)
	b := newMachine(t, lab, sw, "b", "2001:db8::2/64", igmp.IPv6)
	if got := a.conn.Addr(igmp.IPv6); !got.IsLinkLocalUnicast() {
		t.Errorf("Addr = %v", got)
	}
	defer b.join("ff05::77")()
	a.await("report", reports("ff05::77", 3, false))
	q := igmp.NewPacket(a.conn.Addr(igmp.IPv6), addr("ff05::77"), &igmp.Query{Version: 3, Group: addr("ff05::77"), MaxResponse: 100 * time.Millisecond, Robustness: 2})
	if err := a.conn.WritePacket(q); err != nil {
		t.Fatal(err)
	}
	a.await("answer", func(f igmp.Frame) bool {
		r, ok := f.Packet.Message.(*igmp.Report)
		return ok && !f.Own && len(r.Records) == 1 && r.Records[0].Type == igmp.ModeIsExclude
	})
}

// Queries are put to our own kernel as well, which answers, and are not heard by
// the Conn that sent them; another Conn on the same machine hears them once.
func TestConn_AsksItsOwnKernel(t *testing.T) {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	m := newMachine(t, lab, sw, "a", "10.0.0.1/24", 0)
	other := newMachine(t, lab, sw, "b", "10.0.0.2/24", 0)
	defer m.join("239.1.2.3")()
	defer m.join("ff05::77")()
	m.await("report", reports("239.1.2.3", 3, true))
	m.await("report", reports("ff05::77", 3, true))
	isQuery := func(f igmp.Frame) bool { return f.Packet.Message.Kind() == "query" }
	for _, family := range []igmp.Family{igmp.IPv4, igmp.IPv6} {
		group := "239.1.2.3"
		if family == igmp.IPv6 {
			group = "ff05::77"
		}
		q := igmp.NewPacket(m.conn.Addr(family), family.AllSystems(), &igmp.Query{Version: 3, MaxResponse: 100 * time.Millisecond, Robustness: 2})
		if err := m.conn.WritePacket(q); err != nil {
			t.Fatal(err)
		}
		answer := m.await("answer of our own kernel", func(f igmp.Frame) bool {
			if isQuery(f) {
				t.Errorf("the Conn hears its own query: %v", f.Packet)
			}
			r, ok := f.Packet.Message.(*igmp.Report)
			return ok && f.Own && slices.ContainsFunc(r.Records, func(r igmp.Record) bool {
				return r.Group == addr(group) && r.Type == igmp.ModeIsExclude
			})
		})
		if answer.Packet.TTL != 1 {
			t.Errorf("answer %v", answer.Packet)
		}
		f := other.await("query on the wire", isQuery)
		if f.Packet.Src != q.Src || f.Packet.Dst != q.Dst || f.Packet.TTL != 1 || !f.Packet.RouterAlert || f.Packet.TOS != q.TOS {
			t.Errorf("on the wire: %+v", f.Packet)
		}
	}
	for quiet := time.After(300 * time.Millisecond); ; {
		select {
		case f := <-other.in:
			if isQuery(f) {
				t.Errorf("a second query on the wire: %v", f.Packet)
			}
			continue
		case <-quiet:
		}
		break
	}
}

func TestOpen_Errors(t *testing.T) {
	if _, err := igmp.Open(t.Context(), "none", igmp.IPv4); !errors.Is(err, igmp.ErrNoInterface) && !errors.Is(err, igmp.ErrNotSupported) {
		t.Errorf("Open of an interface that is not there: %v", err)
	}
}
