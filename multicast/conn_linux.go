package multicast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openSockets opens the group's socket, and one for unicast datagrams when they
// are wanted and nobody else has them. shared says that somebody has the port.
//
// Every socket is tied to the interface (SO_BINDTODEVICE, open to all since Linux
// 5.7), so that several interfaces of one process do not compete for unicast
// datagrams: without it SO_REUSEPORT deals them out by hash, to sockets that have
// to refuse them.
func openSockets(_ context.Context, cfg Config, ifi *net.Interface) (opened sockets, err error) {
	port, at := cfg.Group.Port(), cfg.Group
	switch {
	case cfg.sendOnly:
		at = netip.AddrPortFrom(anyAddr(cfg), 0)
	case len(cfg.channels()) > 1:
		at = netip.AddrPortFrom(anyAddr(cfg), port)
	}
	opened.shared = !cfg.sendOnly && port != 0 && !portIsFree(cfg, ifi)
	group, err := openBound(cfg, ifi, at)
	if err != nil {
		return sockets{}, err
	}
	opened.read = []socket{group}
	if err := opened.prepare(cfg, ifi); err != nil {
		return sockets{}, opened.close(err)
	}
	if opened.unicast = cfg.sendOnly; opened.unicast {
		return opened, nil
	}
	if !cfg.Unicast || port == 0 || opened.shared || at != cfg.Group {
		return opened, nil
	}
	own, err := openBound(cfg, ifi, netip.AddrPortFrom(anyAddr(cfg), port))
	if err != nil {
		return sockets{}, opened.close(err)
	}
	opened.read, opened.unicast = append(opened.read, own), true
	return opened, nil
}

// prepare sets up the first socket and joins what cfg says.
func (o *sockets) prepare(cfg Config, ifi *net.Interface) error {
	if err := aim(o.read[0], cfg, ifi); err != nil {
		return err
	}
	if cfg.ReadBuffer > 0 {
		if err := setReadBuffer(o.read[0].conn(), cfg.ReadBuffer); err != nil {
			return err
		}
	}
	if cfg.sendOnly {
		return nil
	}
	return o.join(cfg, ifi)
}

// join joins all channels of cfg. A socket may have 20 memberships of 10 sources
// each (net.ipv4.igmp_max_memberships, igmp_max_msf); what is beyond that is held
// by further sockets. The first socket then hears every group that the interface
// has, and [Conn.wanted] picks.
func (o *sockets) join(cfg Config, ifi *net.Interface) error {
	holder := o.read[0]
	for _, m := range cfg.channels() {
		err := join(holder, m, ifi)
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
			if err = setHearAll(o.read[0].conn(), cfg); err != nil {
				return err
			}
			if holder, err = openBound(cfg, ifi, netip.AddrPortFrom(anyAddr(cfg), 0)); err != nil {
				return err
			}
			o.holders = append(o.holders, holder)
			err = join(holder, m, ifi)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setHearAll turns IP_MULTICAST_ALL on again.
func setHearAll(pc net.PacketConn, cfg Config) error {
	level, option := unix.IPPROTO_IP, unix.IP_MULTICAST_ALL
	if cfg.Group.Addr().Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL
	}
	return onDescriptor(pc, func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, 1))
	})
}

// setReadBuffer asks for a receive buffer of n bytes: beyond net.core.rmem_max when
// the process may (CAP_NET_ADMIN), else as near as the kernel lets it.
func setReadBuffer(pc net.PacketConn, n int) error {
	return onDescriptor(pc, func(fd int) error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) == nil {
			return nil
		}
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n))
	})
}

// socketCounts returns the size of pc's receive buffer, without the half that Linux
// adds for its own bookkeeping (socket(7)), and how many datagrams were dropped at
// the socket. SO_MEMINFO gives the counter of SO_RXQ_OVFL also when nothing more
// arrives to carry it.
func socketCounts(pc net.PacketConn) (buffer int, drops uint64) {
	_ = onDescriptor(pc, func(fd int) error { // a closed socket has no counts
		var info [memInfoLen]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		buffer, drops = int(info[unix.SK_MEMINFO_RCVBUF])/2, uint64(info[unix.SK_MEMINFO_DROPS])
		return nil
	})
	return buffer, drops
}

// memInfoLen is the number of values that SO_MEMINFO gives (linux/sock_diag.h).
const memInfoLen = unix.SK_MEMINFO_DROPS + 1

func onDescriptor(pc net.PacketConn, f func(fd int) error) error {
	sc, ok := pc.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
}

// portIsFree reports whether no other socket on ifi has cfg's port: a bind without
// the reuse options succeeds only then (RFC 6762 section 15.1).
func portIsFree(cfg Config, ifi *net.Interface) bool {
	fd, err := bindSocket(cfg, ifi, netip.AddrPortFrom(anyAddr(cfg), cfg.Group.Port()), false)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

func anyAddr(cfg Config) netip.Addr {
	if cfg.Group.Addr().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// openBound returns a socket bound to exactly at. net.ListenPacket would bind the
// wildcard address instead when at is a group.
func openBound(cfg Config, ifi *net.Interface, at netip.AddrPort) (socket, error) {
	fd, err := bindSocket(cfg, ifi, at, true)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "udp")
	defer f.Close()
	pc, err := net.FilePacketConn(f) // has its own copy of the descriptor
	if err != nil {
		return nil, err
	}
	s, err := newSocket(pc, cfg)
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	return s, nil
}

func bindSocket(cfg Config, ifi *net.Interface, at netip.AddrPort, reuse bool) (fd int, err error) {
	family := unix.AF_INET6
	var to unix.Sockaddr
	if cfg.Group.Addr().Is4() {
		family = unix.AF_INET
		to = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: uint32(ifi.Index)}
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := setOptions(fd, cfg, ifi, reuse); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	if err := unix.Bind(fd, to); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %v: %w", at, err)
	}
	return fd, nil
}

func setOptions(fd int, cfg Config, ifi *net.Interface, reuse bool) error {
	if err := unix.BindToDevice(fd, ifi.Name); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("bind to %s: %w", ifi.Name, err)
	}
	var err error
	if reuse {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	if cfg.Group.Addr().Is4() {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0))
	} else {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
		// IPV6_MULTICAST_ALL came with Linux 4.20; the destination check stands in.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	}
	if err != nil {
		return fmt.Errorf("socket options: %w", err)
	}
	return nil
}
