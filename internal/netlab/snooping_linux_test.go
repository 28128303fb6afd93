package netlab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/igmp"
)

// snooped is a lab with a snooping switch: a querier that the test plays, and
// kernels as hosts.
type snooped struct {
	t       *testing.T
	sw      *Switch
	snoop   *Snooping
	hosts   []*Host
	querier int // packet socket in the querier's host
}

func newSnooped(t *testing.T, cfg igmp.SnooperConfig, hosts int) *snooped {
	t.Helper()
	lab := New(t)
	s := &snooped{t: t, snoop: NewSnooping(cfg)}
	s.sw = lab.Switch(SwitchConfig{Forwarder: s.snoop})
	q := lab.Host("querier")
	q.Attach(s.sw, "eth0")
	err := q.Do(func() (err error) {
		s.querier, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(s.querier, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.querier) })
	for i := range hosts {
		h := lab.Host(string(rune('a' + i)))
		h.Attach(s.sw, "eth0")
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), 24))
		s.hosts = append(s.hosts, h)
	}
	return s
}

// ask has the querier send a query of version 2 or 3.
func (s *snooped) ask(src netip.Addr, version igmp.Version, group netip.Addr, within time.Duration) {
	s.t.Helper()
	dst := group
	if !group.IsValid() {
		dst = netip.MustParseAddr("224.0.0.1")
		if src.Is6() {
			dst = netip.MustParseAddr("ff02::1")
		}
	}
	q := &igmp.Query{Version: version, Group: group, MaxResponse: within}
	if version == igmp.V3 {
		q.Robustness, q.Interval = 2, 125*time.Second
	}
	ip, err := igmp.NewPacket(src, dst, q).Append(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	last, typ := dst.AsSlice(), uint16(unix.ETH_P_IP)
	hw := []byte{0x01, 0, 0x5e, last[1] & 0x7f, last[2], last[3]}
	if dst.Is6() {
		hw, typ = append([]byte{0x33, 0x33}, last[12:]...), unix.ETH_P_IPV6
	}
	frame := append(hw, 2, 0xae, 0, 0, 1, 1)
	if _, err := unix.Write(s.querier, append(binary.BigEndian.AppendUint16(frame, typ), ip...)); err != nil {
		s.t.Fatal(err)
	}
}

// join has host i join group on UDP port 9.
func (s *snooped) join(i int, group netip.Addr) net.PacketConn {
	s.t.Helper()
	var c *net.UDPConn
	err := s.hosts[i].Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		network := "udp4"
		if group.Is6() {
			network = "udp6"
		}
		c, err = net.ListenMulticastUDP(network, ifi, &net.UDPAddr{IP: group.AsSlice(), Port: 9})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// count counts the UDP frames to group that reach host i, whether it wants them
// or not.
func (s *snooped) count(i int, group netip.Addr) *atomic.Int64 {
	s.t.Helper()
	var fd int
	err := s.hosts[i].Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		m := &unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_PROMISC}
		tv := unix.NsecToTimeval(int64(50 * time.Millisecond))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, m)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	n, quit, done := new(atomic.Int64), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fd)
		b := make([]byte, 2048)
		for {
			select {
			case <-quit:
				return
			default:
			}
			k, from, err := unix.Recvfrom(fd, b, 0)
			if l, ok := from.(*unix.SockaddrLinklayer); err != nil || !ok || l.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if k >= 28 && b[0]>>4 == 4 && b[9] == 17 && netip.AddrFrom4([4]byte(b[16:20])) == group ||
				k >= 48 && b[0]>>4 == 6 && b[6] == 17 && netip.AddrFrom16([16]byte(b[24:40])) == group {
				n.Add(1)
			}
		}
	}()
	s.t.Cleanup(func() { close(quit); <-done })
	return n
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// send has host i send n datagrams to group, a little apart.
func (s *snooped) send(i int, group netip.Addr, n int) {
	s.t.Helper()
	local := "192.0.2.10:0"
	to := &net.UDPAddr{IP: group.AsSlice(), Port: 9}
	if group.Is6() {
		local, to.Zone = "[::]:0", "eth0"
	}
	c := listen(s.t, s.hosts[i], local)
	defer c.Close()
	for range n {
		send(s.t, c, to, "x")
	}
}

// until waits for what happens soon.
func (s *snooped) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("in 10 s it did not happen: %s; the table is %v", what, s.snoop.Table())
		}
	}
}

// Port numbers: the querier has 1, host a 2, b 3 and so on.

func TestSnooping_KernelHosts(t *testing.T) {
	v4 := netip.MustParseAddr("239.7.8.9")
	for _, c := range []struct {
		name    string
		source  string
		group   netip.Addr
		version igmp.Version
		sysctl  string
	}{
		{"IGMPv2", "192.0.2.1", v4, igmp.V2, ""},
		{"IGMPv3", "192.0.2.1", v4, igmp.V3, ""},
		{"IGMPv1 hosts", "192.0.2.1", v4, igmp.V2, "1"},
		{"MLDv1", "fe80::ae:ff:fe00:101", netip.MustParseAddr("ff05::7:8:9"), igmp.V2, ""},
		{"MLDv2", "fe80::ae:ff:fe00:101", netip.MustParseAddr("ff05::7:8:9"), igmp.V3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSnooped(t, igmp.SnooperConfig{}, 4)
			if c.sysctl != "" {
				for _, h := range s.hosts {
					h.Sysctl("net.ipv4.conf.eth0.force_igmp_version", c.sysctl)
				}
			}
			src := netip.MustParseAddr(c.source)
			b, d := s.join(1, c.group), s.count(3, c.group)
			other := s.join(2, c.group)
			s.ask(src, c.version, netip.Addr{}, 400*time.Millisecond)
			s.until("both members answer, and the switch begins to prune", func() bool {
				return slices.Equal(s.snoop.Ports(c.group), []int{3, 4})
			})
			<-time.After(500 * time.Millisecond)
			s.send(0, c.group, 20)
			for range 20 {
				expect(t, b, "x")
				expect(t, other, "x")
			}
			if n := d.Load(); n != 0 {
				t.Errorf("a host that has not joined was sent %d of 20", n)
			}
			if got := s.snoop.RouterPorts(src.Is6()); !slices.Equal(got, []int{1}) {
				t.Errorf("router ports %v", got)
			}

			// One of the two leaves. Its port is served until the querier has asked.
			b.Close()
			s.until("the leave is heard", func() bool { return c.sysctl == "1" || leftHeard(s.snoop.Stats(), c.version) })
			for range 2 {
				s.ask(src, c.version, c.group, 300*time.Millisecond)
				<-time.After(300 * time.Millisecond)
			}
			want := []int{4}
			if c.sysctl == "1" {
				want = []int{3, 4} // hosts of version 1 leave without a word
			}
			s.until("the port of the host that has left is removed", func() bool { return slices.Equal(s.snoop.Ports(c.group), want) })
			s.send(0, c.group, 20)
			for range 20 {
				expect(t, other, "x")
			}
			if n := d.Load(); n != 0 {
				t.Errorf("a host that has not joined was sent %d", n)
			}
		})
	}
}

// leftHeard reports whether somebody has left, as hosts of the version do.
func leftHeard(st igmp.SnooperStats, v igmp.Version) bool { return v == igmp.V3 || st.Leaves > 0 }

func TestSnooping_AsksByItselfAndKernelsAnswer(t *testing.T) {
	t.Parallel()
	s := newSnooped(t, igmp.SnooperConfig{
		Querier: true, HardwareAddr: igmp.HardwareAddr{2, 0xae, 0, 0, 0xff, 1},
		Timers: igmp.SnooperTimers{QueryInterval: 4 * time.Second, QueryResponse: 500 * time.Millisecond, LastMemberQuery: 200 * time.Millisecond},
	}, 3)
	g4, g6 := netip.MustParseAddr("239.7.8.10"), netip.MustParseAddr("ff05::10")
	b4, b6 := s.join(1, g4), s.join(1, g6)
	stranger := s.count(2, g4)
	s.until("the member is known by both protocols", func() bool {
		return slices.Equal(s.snoop.Ports(g4), []int{3}) && slices.Equal(s.snoop.Ports(g6), []int{3})
	})
	<-time.After(time.Second)
	s.send(0, g4, 5)
	s.send(0, g6, 5)
	for range 5 {
		expect(t, b4, "x")
		expect(t, b6, "x")
	}
	if n := stranger.Load(); n != 0 {
		t.Errorf("a host that has not joined was sent %d", n)
	}
	b4.Close()
	s.until("the switch's own question remains unanswered", func() bool { return len(s.snoop.Ports(g4)) == 0 })
	if !slices.Equal(s.snoop.Ports(g6), []int{3}) {
		t.Error("the other group was removed too")
	}
}

// A switch that looks at Ethernet addresses only lets 32 groups through for one.
func TestSnooping_ByHardwareAddrSharesAliases(t *testing.T) {
	t.Parallel()
	s := newSnooped(t, igmp.SnooperConfig{Key: igmp.KeyHardwareAddr}, 3)
	g, alias := netip.MustParseAddr("239.7.8.11"), netip.MustParseAddr("238.135.8.11")
	s.join(1, g)
	member, stranger := s.count(1, alias), s.count(2, alias)
	s.ask(netip.MustParseAddr("192.0.2.1"), igmp.V2, netip.Addr{}, 300*time.Millisecond)
	s.until("the member answers", func() bool { return slices.Equal(s.snoop.Ports(g), []int{3}) })
	<-time.After(400 * time.Millisecond)
	s.send(0, alias, 10)
	s.until("the alias arrives at the member's card", func() bool { return member.Load() == 10 })
	if n := stranger.Load(); n != 0 {
		t.Errorf("a host that has not joined was sent %d", n)
	}
}
