//go:build !linux

package igmp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

// Conn would hear IGMP and MLD packets; this system has no packet sockets for us
// and [Open] always fails.
type Conn struct{}

// Open fails with [ErrNotSupported].
func Open(_ context.Context, name string, _ Family) (*Conn, error) {
	return nil, fmt.Errorf("igmp: packet socket on %s: %w: %s has none for us; capture with tcpdump -w FILE and decode that",
		name, ErrNotSupported, runtime.GOOS)
}

// ReadFrame fails with net.ErrClosed.
func (*Conn) ReadFrame() (Frame, error) { return Frame{}, net.ErrClosed }

// ReadPacket fails with net.ErrClosed.
func (*Conn) ReadPacket() (Packet, error) { return Packet{}, net.ErrClosed }

// WritePacket fails with net.ErrClosed.
func (*Conn) WritePacket(Packet) error { return net.ErrClosed }

// WriteBytes fails with net.ErrClosed.
func (*Conn) WriteBytes(netip.Addr, []byte) error { return net.ErrClosed }

// Close does nothing.
func (*Conn) Close() error { return nil }

// Interface returns nothing.
func (*Conn) Interface() string { return "" }

// HardwareAddr returns the zero address.
func (*Conn) HardwareAddr() HardwareAddr { return HardwareAddr{} }

// MTU returns 0.
func (*Conn) MTU() int { return 0 }

// Addr returns the zero Addr.
func (*Conn) Addr(Family) netip.Addr { return netip.Addr{} }

func passing(error) bool { return false }
