package multicast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// openSockets opens the group's socket, and one for unicast datagrams when they
// are wanted and nobody else has them. shared says that somebody has the port.
//
// Every socket is tied to the interface (SO_BINDTODEVICE, open to all since Linux
// 5.7), so that several interfaces of one process do not compete for unicast
// datagrams: without it SO_REUSEPORT deals them out by hash, to sockets that have
// to refuse them.
func openSockets(_ context.Context, cfg Config, ifi *net.Interface) (socks []socket, unicast, shared bool, err error) {
	port := cfg.Group.Port()
	shared = port != 0 && !portIsFree(cfg, ifi)
	group, err := openBound(cfg, ifi, cfg.Group)
	if err != nil {
		return nil, false, false, err
	}
	if err := join(group, cfg, ifi); err != nil {
		return nil, false, false, errors.Join(err, group.close())
	}
	if !cfg.Unicast || port == 0 || shared {
		return []socket{group}, false, shared, nil
	}
	own, err := openBound(cfg, ifi, netip.AddrPortFrom(anyAddr(cfg), port))
	if err != nil {
		return nil, false, false, errors.Join(err, group.close())
	}
	return []socket{group, own}, true, false, nil
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
