package igmp

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// echo sends queries so that this machine's own kernel hears them too, which what
// is sent on a packet socket does not: through a raw IP socket, whose multicasts
// the kernel loops back. A querier's machine may be a member like any other (RFC
// 9776 section 6), and its kernel has to be asked.
//
// The packet socket then hears what went out as if another program had sent it;
// echo knows which packets those are.
type echo struct {
	raw4, raw6 int // -1: there is none
	index      int

	mu   sync.Mutex
	sent [32]string // keys of what was sent last
	next int
}

// newEcho opens the sockets. Without them queries go out on the packet socket
// alone.
func newEcho(name string, index int, family Family) *echo {
	e := &echo{raw4: -1, raw6: -1, index: index}
	if family != IPv6 {
		e.raw4 = rawSocket(unix.AF_INET, name, func(fd int) error {
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)})
		})
	}
	if family != IPv4 {
		e.raw6 = rawSocket(unix.AF_INET6, name, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index)
		})
	}
	return e
}

func rawSocket(domain int, name string, prepare func(fd int) error) int {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1
	}
	if unix.BindToDevice(fd, name) != nil || prepare(fd) != nil {
		unix.Close(fd)
		return -1
	}
	return fd
}

// send sends the IP packet b and reports whether that was possible. The kernel
// would replace an unspecified source.
func (e *echo) send(p Packet, b []byte) bool {
	if _, query := p.Message.(*Query); !query || !p.Src.IsValid() || p.Src.IsUnspecified() {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := echoKey(b)
	e.sent[e.next] = key // before it can be heard
	var err error
	switch {
	case p.Dst.Is4() && e.raw4 >= 0:
		err = unix.Sendto(e.raw4, b, 0, &unix.SockaddrInet4{Addr: p.Dst.As4()})
	case p.Dst.Is6() && e.raw6 >= 0:
		err = unix.Sendto(e.raw6, b, 0, &unix.SockaddrInet6{Addr: p.Dst.As16(), ZoneId: uint32(e.index)})
	default:
		err = unix.EAFNOSUPPORT
	}
	if err != nil { // no route, a firewall: the packet socket asks neither
		e.sent[e.next] = ""
		return false
	}
	e.next = (e.next + 1) % len(e.sent)
	return true
}

// take reports whether the IP packet b, heard as this machine's own, was sent by
// send, and forgets it.
func (e *echo) take(b []byte) bool {
	key := echoKey(b)
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, s := range e.sent {
		if s != "" && s == key {
			e.sent[i] = ""
			return true
		}
	}
	return false
}

func (e *echo) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, fd := range []*int{&e.raw4, &e.raw6} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// echoKey is what the kernel leaves alone of a packet: the addresses and what
// comes after the IP header. It is empty for what is no packet.
func echoKey(b []byte) string {
	switch {
	case len(b) >= ipv6Len && b[0]>>4 == 6:
		return string(b[8:])
	case len(b) >= ipv4Len && b[0]>>4 == 4 && len(b) >= int(b[0]&15)*4:
		src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		return src.String() + " " + dst.String() + " " + string(b[int(b[0]&15)*4:])
	}
	return ""
}
