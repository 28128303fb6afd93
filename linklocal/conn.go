package linklocal

import (
	"errors"

	"github.com/aether-lan/aether/internal/loop"
)

// ErrNotPermitted reports that the process may not open a raw socket or
// configure the interface; the text around it names the capability.
var ErrNotPermitted = errors.New("not permitted")

// ErrNotSupported reports that this system has no raw Ethernet sockets for us;
// the text around it names what can be done instead.
var ErrNotSupported = errors.New("not supported on this system")

// ErrNoInterface reports that no interface has the name asked for.
var ErrNoInterface = errors.New("no such interface")

// ErrInterface reports an interface that cannot carry ARP, or that changed so
// that work on it cannot go on; the text around it says why.
var ErrInterface = errors.New("unusable interface")

// conn carries ARP packets of one interface.
type conn = loop.Conn[Packet]
