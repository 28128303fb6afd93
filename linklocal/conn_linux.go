package linklocal

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/internal/netif"
)

// rawConn is an AF_PACKET socket that hears the ARP packets of one interface. It
// does not hear what this host sends on it.
type rawConn struct {
	c    *packet.Conn
	once sync.Once
	err  error // of Close
	buf  [maxFrame + 1]byte
}

// listen opens a rawConn on i. arp.Dial would fail here: it wants an interface
// that has an IPv4 address already.
func listen(i netif.Interface) (conn, error) {
	filter, err := bpf.Assemble(arpFilter)
	if err != nil {
		return nil, fmt.Errorf("linklocal: assemble filter: %w", err)
	}
	ifi := &net.Interface{Index: i.Index, Name: i.Name, MTU: i.MTU, HardwareAddr: i.HardwareAddr}
	c, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, &packet.Config{Filter: filter})
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("linklocal: raw socket on %s: %w: needs CAP_NET_RAW", i.Name, ErrNotPermitted)
	}
	if err != nil {
		return nil, fmt.Errorf("linklocal: raw socket on %s: %w", i.Name, err)
	}
	return &rawConn{c: c}, nil
}

// arpFilter lets through requests and replies for IPv4 over Ethernet, not those
// which the kernel marks as meant for others: it does so for VLANs that this
// interface is not part of, after it has removed their tags.
var arpFilter = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 9},
	bpf.LoadAbsolute{Off: 12, Size: 2}, // EtherType
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_ARP, SkipTrue: 7},
	bpf.LoadAbsolute{Off: 14, Size: 4}, // hardware and protocol type
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 1<<16 | unix.ETH_P_IP, SkipTrue: 5},
	bpf.LoadAbsolute{Off: 18, Size: 4}, // lengths and operation
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6<<24 | 4<<16 | uint32(Request), SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6<<24 | 4<<16 | uint32(Reply), SkipTrue: 1},
	bpf.Jump{Skip: 1},
	bpf.RetConstant{Val: maxFrame + 1},
	bpf.RetConstant{Val: 0},
}

// ReadPacket waits for the next packet. Frames that do not parse are passed
// over, and so is the error by which the socket tells that the interface was
// switched off: it works again when that is on again.
func (r *rawConn) ReadPacket() (Packet, error) {
	for {
		n, _, err := r.c.ReadFrom(r.buf[:])
		switch {
		case errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return Packet{}, err
		}
		if p, err := ParsePacket(r.buf[:n]); err == nil {
			return p, nil
		}
	}
}

// WritePacket sends p.
func (r *rawConn) WritePacket(p Packet) error {
	b, err := p.Append(nil)
	if err != nil {
		return err
	}
	_, err = r.c.WriteTo(b, &packet.Addr{HardwareAddr: p.Destination[:]})
	return err
}

// Close wakes a waiting ReadPacket.
func (r *rawConn) Close() error {
	r.once.Do(func() { r.err = r.c.Close() })
	return r.err
}

// passing reports whether a packet could not be sent for a cause that the
// protocols survive as they survive its loss.
func passing(err error) bool {
	return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EAGAIN)
}
