package multicast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// newSocket makes a socket of cfg's family of pc, with the control messages that
// tell destination, interface and hop limit.
func newSocket(pc net.PacketConn, cfg Config) (socket, error) {
	if cfg.Group.Addr().Is4() {
		p := ipv4.NewPacketConn(pc)
		err := p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true)
		return socket4{p, pc}, tolerate(err)
	}
	p := ipv6.NewPacketConn(pc)
	err := p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst|ipv6.FlagInterface, true)
	return socket6{p, pc}, tolerate(err)
}

// tolerate forgives a system that has no control messages: Windows.
func tolerate(err error) error {
	if err != nil && runtime.GOOS == "windows" {
		return nil
	}
	return err
}

// aim says how datagrams leave s.
func aim(s socket, cfg Config, ifi *net.Interface) (err error) {
	switch s := s.(type) {
	case socket4:
		err = errors.Join(s.p.SetMulticastInterface(ifi), s.p.SetMulticastTTL(cfg.HopLimit),
			s.p.SetTTL(cfg.HopLimit), s.p.SetMulticastLoopback(!cfg.NoLoopback))
	case socket6:
		err = errors.Join(s.p.SetMulticastInterface(ifi), s.p.SetMulticastHopLimit(cfg.HopLimit),
			s.p.SetHopLimit(cfg.HopLimit), s.p.SetMulticastLoopback(!cfg.NoLoopback))
	}
	if err != nil {
		return fmt.Errorf("interface and hop limit: %w", err)
	}
	return nil
}

// join joins m on ifi.
func join(s socket, m Channel, ifi *net.Interface) (err error) {
	group, source := &net.UDPAddr{IP: m.Group.AsSlice()}, &net.UDPAddr{IP: m.Source.AsSlice()}
	switch s := s.(type) {
	case socket4:
		if m.Source.IsValid() {
			err = s.p.JoinSourceSpecificGroup(ifi, group, source)
		} else {
			err = s.p.JoinGroup(ifi, group)
		}
	case socket6:
		if m.Source.IsValid() {
			err = s.p.JoinSourceSpecificGroup(ifi, group, source)
		} else {
			err = s.p.JoinGroup(ifi, group)
		}
	}
	if err != nil {
		return fmt.Errorf("join %v: %w", m, err)
	}
	return nil
}

type socket4 struct {
	p  *ipv4.PacketConn
	pc net.PacketConn
}

func (s socket4) read(b []byte) (int, Datagram, error) {
	n, cm, from, err := s.p.ReadFrom(b)
	if err != nil {
		return 0, Datagram{}, err
	}
	d := Datagram{From: addrPort(from)}
	if cm != nil {
		d.To, _ = netip.AddrFromSlice(cm.Dst)
		d.To, d.IfIndex, d.HopLimit = d.To.Unmap(), cm.IfIndex, cm.TTL
	}
	return n, d, nil
}

func (s socket4) write(b []byte, to netip.AddrPort, ifi *net.Interface) error {
	var cm *ipv4.ControlMessage
	if runtime.GOOS != "windows" {
		cm = &ipv4.ControlMessage{IfIndex: ifi.Index}
	}
	_, err := s.p.WriteTo(b, cm, net.UDPAddrFromAddrPort(to))
	return err
}

func (s socket4) close() error          { return s.pc.Close() }
func (s socket4) conn() net.PacketConn  { return s.pc }
func (s socket4) local() netip.AddrPort { return addrPort(s.pc.LocalAddr()) }

type socket6 struct {
	p  *ipv6.PacketConn
	pc net.PacketConn
}

func (s socket6) read(b []byte) (int, Datagram, error) {
	n, cm, from, err := s.p.ReadFrom(b)
	if err != nil {
		return 0, Datagram{}, err
	}
	d := Datagram{From: addrPort(from)}
	if cm != nil {
		d.To, _ = netip.AddrFromSlice(cm.Dst)
		d.IfIndex, d.HopLimit = cm.IfIndex, cm.HopLimit
	}
	return n, d, nil
}

func (s socket6) write(b []byte, to netip.AddrPort, ifi *net.Interface) error {
	var cm *ipv6.ControlMessage
	if runtime.GOOS != "windows" {
		cm = &ipv6.ControlMessage{IfIndex: ifi.Index}
	}
	if a := to.Addr(); a.Zone() == "" && (a.IsLinkLocalUnicast() || a.IsMulticast()) {
		to = netip.AddrPortFrom(a.WithZone(ifi.Name), to.Port())
	}
	_, err := s.p.WriteTo(b, cm, net.UDPAddrFromAddrPort(to))
	return err
}

func (s socket6) close() error          { return s.pc.Close() }
func (s socket6) conn() net.PacketConn  { return s.pc }
func (s socket6) local() netip.AddrPort { return addrPort(s.pc.LocalAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// isTransient tells errors that a UDP read may report about an earlier write, an
// ICMP answer say, from the end of the socket.
func isTransient(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	return errno == syscall.ECONNREFUSED || errno == syscall.EHOSTUNREACH ||
		errno == syscall.ENETUNREACH || errno == syscall.EINTR
}
