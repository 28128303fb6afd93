package mdns

import (
	"log/slog"
	"math/rand/v2"
)

// Config says how a [Node] takes part. Its zero value takes part on all interfaces
// with both families.
type Config struct {
	// Interfaces are the names of the interfaces to use. Empty means all that are
	// up, can multicast and are neither loopback nor point-to-point; those that
	// appear later are used too.
	Interfaces []string
	// IPv4 and IPv6 select the families. Both false, the zero value, means both.
	IPv4, IPv6 bool
	// Logger hears what happens. Nil means silence.
	Logger *slog.Logger
	// Queue is how many changes may wait in each Watch, Monitor or Events loop
	// before it is ended with [ErrSlowReader]. Zero means 8192.
	Queue int
	// Explain, when not nil, hears the reason of every decision, from the first
	// probe to the last goodbye. It is called on the goroutine that does the
	// protocol's work and must not wait. See [Node.Explain].
	Explain func(Note)
	// StateFile is where the names of renamed hosts are kept over restarts: a
	// machine that had to become box-2 tries that first the next time (RFC 6762
	// section 9). Its directory must exist. A damaged file is ignored and, at the
	// next rename, replaced. Empty: not kept.
	StateFile string
	// Rand is the source of all delays. Nil means one that is seeded at random.
	Rand *rand.Rand
}

// withDefaults returns c with its zero fields filled in.
func (c Config) withDefaults() Config {
	if !c.IPv4 && !c.IPv6 {
		c.IPv4, c.IPv6 = true, true
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Queue <= 0 {
		c.Queue = 8192
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return c
}
