package gossip

import (
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/store"
)

// Bounds that every machine of a pool must share, since a message beyond them
// is dropped whole.
const (
	// MaxPayload bounds the bytes of one entry.
	MaxPayload = 256 << 10
	// MaxMachines bounds the authors of a vector.
	MaxMachines = 4096
	// MaxInventory bounds the bytes of one machine's inventory.
	MaxInventory = 64 << 10
	// MaxMessage bounds the bytes of one message.
	MaxMessage = 1 << 20
	// maxRun bounds the payload bytes of one run: what a machine sends under one
	// head must fit into a message of whoever passes it on.
	maxRun = 640 << 10
)

// Config says who the engine is and how eager. Self and Key must be given; all else
// may be zero.
type Config struct {
	// Self is this machine.
	Self store.MachineID
	// Key is the key of which Self is the hash. It signs what this machine writes.
	Key ed25519.PrivateKey
	// Member says whose entries are taken. Nil means everybody's. Entries of others
	// are refused, whoever brings them; what has come before stays.
	Member func(store.MachineID) bool
	// Rand chooses peers and jitter. Nil means a generator seeded from Self.
	Rand *rand.Rand
	// Fanout is how many peers are pushed news at once; the rest hear of it from
	// those, or by exchange. Zero means 4.
	Fanout int
	// Interval is the mean time between exchanges with one random peer. Each is
	// up to a quarter earlier or later. Zero means 5 s.
	Interval time.Duration
	// Calm is the same while nothing has changed for a few exchanges. Zero means four
	// times Interval.
	Calm time.Duration
	// Window is how many Entries messages one peer may have unacknowledged.
	// Zero means 8.
	Window int
	// MessageSize is where an Entries message is cut, in bytes of payload; one
	// entry may exceed it. Zero means 256 KiB, which is also the most.
	MessageSize int
	// Retry is how long to wait for an acknowledgement before what is in flight
	// counts as lost. Zero means 20 s.
	Retry time.Duration
	// Inbox bounds the payload bytes that have come and are not stored. Zero
	// means 16 MiB.
	Inbox int
	// Batch bounds the entries that one Received hands over. Zero means 4096.
	Batch int
	// Inventories bounds the bytes of all inventories kept. Zero means 16 MiB.
	Inventories int
}

func (c Config) withDefaults() (Config, error) {
	if c.Self.IsZero() {
		return c, errors.New("gossip: config: no Self")
	}
	if len(c.Key) != ed25519.PrivateKeySize || store.MachineIDOf(c.Key.Public().(ed25519.PublicKey)) != c.Self {
		return c, errors.New("gossip: config: Key is not the key of Self")
	}
	if c.Fanout < 0 || c.Interval < 0 || c.Calm < 0 || c.Window < 0 || c.Retry < 0 || c.Inbox < 0 || c.Batch < 0 || c.Inventories < 0 {
		return c, errors.New("gossip: config: negative value")
	}
	c.Fanout = cmp.Or(c.Fanout, 4)
	c.Interval = cmp.Or(c.Interval, 5*time.Second)
	c.Calm = cmp.Or(c.Calm, 4*c.Interval)
	c.Window = cmp.Or(c.Window, 8)
	c.MessageSize = cmp.Or(c.MessageSize, 256<<10)
	c.Retry = cmp.Or(c.Retry, 20*time.Second)
	c.Inbox = cmp.Or(c.Inbox, 16<<20)
	c.Batch = cmp.Or(c.Batch, 4096)
	c.Inventories = cmp.Or(c.Inventories, 16<<20)
	if c.MessageSize < 1 || c.MessageSize > 256<<10 {
		return c, fmt.Errorf("gossip: config: message size %d", c.MessageSize)
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(binary.BigEndian.Uint64(c.Self[:8]), binary.BigEndian.Uint64(c.Self[8:])))
	}
	return c, nil
}
