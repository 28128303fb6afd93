package replicate

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/store"
)

// Config sets the bounds of an [Engine]. Self must be set, all else may be zero.
type Config struct {
	// Self is this machine.
	Self store.MachineID
	// Rand is where jitter comes from. Nil means a sequence that follows from
	// Self.
	Rand *rand.Rand
	// MaxFetches and PerPeer bound the fetches under way, in all and from one
	// peer. Zero means 4 and 2.
	MaxFetches, PerPeer int
	// BatchFiles and BatchBytes bound one fetch, which is smaller where little is to be
	// fetched. A file larger than BatchBytes is fetched alone. Zero means 64 files and
	// 8 MiB.
	BatchFiles int
	BatchBytes int64
	// BackoffMin and BackoffMax bound the pause after a peer has failed. It
	// doubles with each failure in a row, and a random half of it is taken off.
	// Zero means 1 s and 2 min.
	BackoffMin, BackoffMax time.Duration
	// RetryMissing is how long a peer that lacks a version is not asked for it
	// again. Zero means 30 s.
	RetryMissing time.Duration
	// MaxMissing bounds the versions of which it is remembered who lacks them.
	// While it is reached only likely sources are asked. Zero means 4096.
	MaxMissing int
	// Window bounds the queue entries that one HandleTimeout looks at for one
	// peer. Zero means 512.
	Window int
}

func (c Config) withDefaults() (Config, error) {
	if c.Self.IsZero() {
		return c, errors.New("replicate: config: no machine")
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(binary.BigEndian.Uint64(c.Self[:]), binary.BigEndian.Uint64(c.Self[8:])))
	}
	orDefault(&c.MaxFetches, 4)
	orDefault(&c.PerPeer, 2)
	orDefault(&c.BatchFiles, 64)
	orDefault(&c.BatchBytes, 8<<20)
	orDefault(&c.BackoffMin, time.Second)
	orDefault(&c.BackoffMax, 2*time.Minute)
	orDefault(&c.RetryMissing, 30*time.Second)
	orDefault(&c.MaxMissing, 4096)
	orDefault(&c.Window, 512)
	return c, nil
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
