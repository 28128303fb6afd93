package igmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/multicast"
)

// maxPacket is the longest IP packet.
const maxPacket = 65535

// Conn hears every IGMP and MLD packet that reaches or leaves one interface,
// whatever its group, and sends others. What it sends itself it does not hear;
// what the kernel and other programs send it does, marked [Frame].Own. Reading and writing may be done at once,
// each by one goroutine.
type Conn struct {
	ifi  netif.Interface
	f    *os.File
	raw  syscall.RawConn
	echo *echo
	stop func() bool // of the context
	once sync.Once
	shut atomic.Bool
	err  error // of Close
	buf  [maxPacket]byte
}

// Open opens a Conn on the interface called name, for one family or, with 0, for
// both. It ends when ctx does. It needs CAP_NET_RAW; errors wrap
// [ErrNotPermitted], [ErrNoInterface] or a system's error.
//
// The socket belongs to the network namespace of the calling thread.
func Open(ctx context.Context, name string, family Family) (*Conn, error) {
	ifi, err := netif.ByName(name)
	if errors.Is(err, netif.ErrNoInterface) {
		return nil, fmt.Errorf("igmp: %q: %w", name, ErrNoInterface)
	}
	if err != nil {
		return nil, fmt.Errorf("igmp: open %s: %w", name, err)
	}
	fd, err := packetSocket(ifi.Index, family)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("igmp: packet socket on %s: %w: needs CAP_NET_RAW", name, ErrNotPermitted)
	}
	if err != nil {
		return nil, fmt.Errorf("igmp: packet socket on %s: %w", name, err)
	}
	c := &Conn{ifi: ifi, f: os.NewFile(uintptr(fd), "packet socket on "+name), echo: newEcho(name, ifi.Index, family)}
	if c.raw, err = c.f.SyscallConn(); err != nil {
		c.f.Close()
		c.echo.close()
		return nil, fmt.Errorf("igmp: packet socket on %s: %w", name, err)
	}
	c.stop = context.AfterFunc(ctx, func() { c.Close() })
	return c, nil
}

// packetSocket opens a socket that hears what the filter lets through. It is
// bound last, so that nothing from other interfaces or unfiltered gets in.
func packetSocket(index int, family Family) (int, error) {
	filter, err := bpf.Assemble(packetFilter(family))
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	prog := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}),
		// Reports of version 2 go to their group: only with all groups let
		// through by the network card are they heard.
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_ALLMULTI}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// packetFilter lets through IPv4 packets of protocol 2, and IPv6 packets with
// hop-by-hop options or one of the four ICMPv6 types; not those for VLANs that
// this interface is not part of, which the kernel marks as meant for others.
func packetFilter(family Family) []bpf.Instruction {
	v4, v6 := uint32(unix.ETH_P_IP), uint32(unix.ETH_P_IPV6)
	const never = 0xffff // no EtherType
	switch family {
	case IPv4:
		v6 = never
	case IPv6:
		v4 = never
	}
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 13},
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: v4, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v6, SkipTrue: 10},
		bpf.LoadAbsolute{Off: 6, Size: 1}, // next header
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolHopByHop, SkipTrue: 9},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMPv6, SkipTrue: 7},
		bpf.LoadAbsolute{Off: ipv6Len, Size: 1}, // ICMPv6 type
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeMLDv2, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: typeMLDQuery, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: typeMLDDone, SkipTrue: 3, SkipFalse: 4},
		bpf.LoadAbsolute{Off: 9, Size: 1}, // IPv4 protocol
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolIGMP, SkipTrue: 2},
		bpf.Jump{Skip: 0},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: maxPacket},
	}
}

// ReadFrame waits for the next packet, malformed ones included. After Close its
// error wraps net.ErrClosed.
func (c *Conn) ReadFrame() (Frame, error) {
	for {
		n, from, err := c.receive()
		switch {
		case err != nil && c.shut.Load():
			return Frame{}, fmt.Errorf("igmp: read from %s: %w", c.ifi.Name, net.ErrClosed)
		case errors.Is(err, unix.ENETDOWN): // it works again when the interface is up again
			continue
		case err != nil:
			return Frame{}, fmt.Errorf("igmp: read from %s: %w", c.ifi.Name, err)
		}
		f := Frame{Bytes: slices.Clone(c.buf[:n]), Own: from.Pkttype == unix.PACKET_OUTGOING}
		if from.Halen == uint8(len(f.Source)) {
			f.Source = HardwareAddr(from.Addr[:])
		}
		f.Packet, f.Err = ParsePacket(f.Bytes)
		if !errors.Is(f.Err, ErrNotGroupProtocol) && (!f.Own || !c.echo.take(f.Bytes)) {
			return f, nil
		}
	}
}

func (c *Conn) receive() (n int, from *unix.SockaddrLinklayer, err error) {
	from = new(unix.SockaddrLinklayer)
	readErr := c.raw.Read(func(fd uintptr) bool {
		var sa unix.Sockaddr
		n, sa, err = unix.Recvfrom(int(fd), c.buf[:], 0)
		if ll, ok := sa.(*unix.SockaddrLinklayer); ok {
			from = ll
		}
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return n, from, errors.Join(readErr, err)
}

// ReadPacket waits for the next well-formed packet and is otherwise like
// [Conn.ReadFrame].
func (c *Conn) ReadPacket() (Packet, error) {
	for {
		f, err := c.ReadFrame()
		if err != nil || f.Err == nil {
			return f.Packet, err
		}
	}
}

// WritePacket sends p to the group that it is addressed to. A query with a source
// is, where the system lets us, also put to this machine's own kernel.
func (c *Conn) WritePacket(p Packet) error {
	b, err := p.Append(nil)
	if err != nil {
		return err
	}
	if c.echo.send(p, b) {
		return nil
	}
	return c.WriteBytes(p.Dst, b)
}

// WriteBytes sends an IP packet as it is to the hardware address of the group
// dst.
func (c *Conn) WriteBytes(dst netip.Addr, ip []byte) error {
	hw, err := multicast.EthernetAddr(dst)
	if err != nil {
		return fmt.Errorf("igmp: send on %s: %w", c.ifi.Name, err)
	}
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: c.ifi.Index, Halen: uint8(len(hw))}
	if dst.Is6() {
		to.Protocol = bigEndian(unix.ETH_P_IPV6)
	}
	copy(to.Addr[:], hw[:])
	writeErr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), ip, 0, to)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if writeErr != nil && c.shut.Load() {
		writeErr = net.ErrClosed
	}
	if err = errors.Join(writeErr, err); err != nil {
		return fmt.Errorf("igmp: send on %s: %w", c.ifi.Name, err)
	}
	return nil
}

// Close wakes a waiting read. It may be called more than once.
func (c *Conn) Close() error {
	c.once.Do(func() {
		if c.stop != nil {
			c.stop()
		}
		c.shut.Store(true)
		c.err = c.f.Close()
		c.echo.close()
	})
	return c.err
}

// Interface returns the name of the interface.
func (c *Conn) Interface() string { return c.ifi.Name }

// HardwareAddr returns that of the interface; zero on links without.
func (c *Conn) HardwareAddr() HardwareAddr {
	if len(c.ifi.HardwareAddr) == len(HardwareAddr{}) {
		return HardwareAddr(c.ifi.HardwareAddr)
	}
	return HardwareAddr{}
}

// MTU returns the size of the largest packet that the interface carries, in bytes.
func (c *Conn) MTU() int { return c.ifi.MTU }

// Addr returns the address that the interface had, when it was opened, to send
// from: of IPv4 one that routers use, if there is one, and of IPv6 the link-local one
// (RFC 9777 section 5.1.14).
// It is the zero Addr when there is none.
func (c *Conn) Addr(family Family) netip.Addr {
	return sourceAddr(c.ifi, family)
}

// passing reports whether a packet could not be sent for a cause that the
// protocols survive as they survive its loss.
func passing(err error) bool {
	return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EAGAIN)
}
