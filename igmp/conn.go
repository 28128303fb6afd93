package igmp

import (
	"errors"

	"github.com/aether-lan/aether/internal/loop"
)

// Errors of [Open]; the text around them says more.
var (
	// ErrNotPermitted reports that the process may not open a packet socket.
	ErrNotPermitted = errors.New("not permitted")
	// ErrNotSupported reports that this system has no packet sockets for us.
	ErrNotSupported = errors.New("not supported on this system")
	// ErrNoInterface reports that no interface has the name asked for.
	ErrNoInterface = errors.New("no such interface")
)

// A Conn is what the loop drives engines on.
var _ loop.Conn[Packet] = (*Conn)(nil)

// Frame is what a [Conn] heard: a packet with what its frame tells, or what is
// wrong with it.
type Frame struct {
	// Source is the hardware address of the sender; zero on links without.
	Source HardwareAddr
	// Own tells that this machine sent it: its kernel or another program.
	Own bool
	// Packet is what was heard. When Err is set, only the fields of its header
	// are there, if that.
	Packet Packet
	// Err is the error of [ParsePacket], never [ErrNotGroupProtocol].
	Err error
	// Bytes is the IP packet.
	Bytes []byte
}
