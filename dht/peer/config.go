package peer

import (
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config says who a node is and whom it knows. Dir must be given, everything else may be
// zero.
type Config struct {
	// Dir is the node's directory: its key, whom it knows, its records. It is made, for
	// its owner alone, where it is not there.
	Dir string
	// Listen is where the node listens. Without an address that is all of the machine's;
	// without a port it is the one of the last time when that is free, else any.
	Listen netip.AddrPort
	// Listener, when not nil, takes the place of Listen. The Node owns it.
	Listener net.Listener
	// Advertise is the address under which others reach the node. Zero means that of
	// Listen, or the address from which the first of Join is reached, or one of the
	// machine's.
	Advertise netip.Addr
	// Join are nodes of the ring to join. They are tried for ever. None: a ring of one,
	// or that of the last time.
	Join []netip.AddrPort
	// Secret is what the machines of the ring share, of any length. Empty: everybody
	// who can connect belongs.
	Secret []byte
	// Copies is how many nodes keep a record; zero means 5.
	Copies int
	// MaxBytes bounds the records that the node keeps; zero means 256 MiB.
	MaxBytes int64
	// Workers is how many requests the node's services answer at a time; zero means 64.
	Workers int
	// Logger hears what happens; nil is silent.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Copies <= 0 {
		c.Copies = 5
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 256 << 20
	}
	if c.Workers <= 0 {
		c.Workers = 64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Waits of a node.
const (
	tickEvery    = time.Second      // at the latest, the loop looks around
	membersEvery = time.Second      // members are written down
	contactEvery = 10 * time.Second // contacts that are no members are tried again
	leaveGrace   = 3 * time.Second  // for the hand-over at the end
)
