package igmp

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Tap hears the frames of groups on one interface: those with IGMP and MLD, and
// the heads of those with UDP to a group. It joins nothing and sends nothing.
type Tap struct {
	name string
	conn *packet.Conn
	once sync.Once
}

// flowHead is how much of a UDP frame is read: its headers.
const flowHead = 96

// OpenTap opens a tap on the interface called name. It needs CAP_NET_RAW; errors wrap
// [ErrNotPermitted] or a system's error. The tap belongs to the network namespace of
// the calling thread.
func OpenTap(name string) (*Tap, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("igmp: listen on %s: %w", name, err)
	}
	filter, err := bpf.Assemble(tapFilter())
	if err != nil {
		return nil, fmt.Errorf("igmp: listen on %s: %w", name, err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("igmp: packet socket on %s: %w: needs CAP_NET_RAW", name, ErrNotPermitted)
	}
	if err != nil {
		return nil, fmt.Errorf("igmp: listen on %s: %w", name, err)
	}
	t := &Tap{name: name, conn: conn}
	// Groups that nobody here has joined shall pass the card too.
	if err := t.filter(&unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_ALLMULTI}); err != nil {
		return nil, errors.Join(fmt.Errorf("igmp: listen on %s: %w", name, err), conn.Close())
	}
	return t, nil
}

func (t *Tap) filter(m *unix.PacketMreq) error {
	raw, err := t.conn.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, m)
	}); err != nil {
		return err
	}
	return setErr
}

// tapFilter lets pass what inspect understands. Offsets are those of an Ethernet
// frame without VLAN tag, which the kernel takes off.
func tapFilter() []bpf.Instruction {
	const whole, head, nothing = 0xffff, flowHead, 0
	return []bpf.Instruction{
		/* 0 */ bpf.LoadAbsolute{Off: 12, Size: 2},
		/* 1 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipTrue: 7},
		/* 2 */ bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: 14},
		/* 3 */ bpf.LoadAbsolute{Off: 30, Size: 1}, // the destination
		/* 4 */ bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 224, SkipTrue: 12},
		/* 5 */ bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 239, SkipTrue: 11},
		/* 6 */ bpf.LoadAbsolute{Off: 23, Size: 1}, // the protocol
		/* 7 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolIGMP, SkipTrue: 7},
		/* 8 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 7, SkipFalse: 8},
		/* 9 */ bpf.LoadAbsolute{Off: 38, Size: 1}, // the destination
		/* 10 */ bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0xff, SkipTrue: 6},
		/* 11 */ bpf.LoadAbsolute{Off: 20, Size: 1}, // the next header
		/* 12 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 3},
		/* 13 */ bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolHopByHop, SkipTrue: 1},
		/* 14 */ bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolICMPv6, SkipTrue: 2},
		/* 15 */ bpf.RetConstant{Val: whole},
		/* 16 */ bpf.RetConstant{Val: head},
		/* 17 */ bpf.RetConstant{Val: nothing},
	}
}

// Interface returns the name of the interface.
func (t *Tap) Interface() string { return t.name }

// Read waits for the next frame and writes it to b. After Close it returns an error
// that wraps [net.ErrClosed].
func (t *Tap) Read(b []byte) (int, error) {
	n, _, err := t.conn.ReadFrom(b)
	if err != nil {
		return 0, fmt.Errorf("igmp: read from %s: %w", t.name, err)
	}
	return n, nil
}

// Close wakes a waiting Read. It may be called more than once.
func (t *Tap) Close() (err error) {
	t.once.Do(func() { err = t.conn.Close() })
	return err
}

// isDown reports whether err says that the interface is down, from which it may come
// back.
func isDown(err error) bool { return errors.Is(err, unix.ENETDOWN) }
