package topics

import (
	"time"

	"github.com/aether-lan/aether/dht"
)

// Config is what an [Engine] is made from. Zero means the default in each field but
// Space and Self, which must be given.
type Config struct {
	Space dht.Space
	Self  dht.Peer
	// Seed decides all that is left to chance: jitter, and the order in which
	// subscribers whose distance is unknown are asked.
	Seed uint64
	// MaxChildren is how many children a node has in a tree; 0 means 16.
	MaxChildren int
	// Mirrors is how many successors of a root hold what it publishes; 0 means 2,
	// below zero none.
	Mirrors int
	// Deadline is how long Send, Publish and Anycast go on; 0 means 10 s, at most
	// [MaxDeadline].
	Deadline time.Duration
	// Renew is how often a child renews its place in a tree; 0 means 10 s. A parent
	// forgets a child, and a child its parent, after three of them without a word.
	Renew time.Duration
	// Keep is how long a message is kept for whoever missed it; 0 means 5 minutes.
	Keep   time.Duration
	Limits Limits
}

// Limits bounds what an [Engine] holds. Zero means the default.
type Limits struct {
	// Window and WindowBytes bound what is kept of a topic: 256 messages, 1 MiB.
	Window, WindowBytes int
	// Topics is how many topics a node has a part in; 0 means 4,096. TopicBytes bounds
	// what is kept of all of them; 0 means 64 MiB.
	Topics, TopicBytes int
	// Outstanding is how many own requests wait for their answer; 0 means 1,024.
	Outstanding int
	// Handled is how many requests of others are being handled or remembered; 0 means
	// 16,384, of one node an eighth of them. HandledBytes bounds their answers; 0
	// means 16 MiB.
	Handled, HandledBytes int
	// Offers is how many anycasts of others are under way or remembered; 0 means 4,096.
	Offers int
}

// MaxDeadline bounds how long a request goes on.
const MaxDeadline = time.Minute

func orDefault[T int | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
	*v = max(*v, 0)
}

func (c Config) withDefaults() Config {
	orDefault(&c.MaxChildren, 16)
	c.MaxChildren = max(c.MaxChildren, 2) // a tree of one child each is a chain
	orDefault(&c.Mirrors, 2)
	orDefault(&c.Deadline, 10*time.Second)
	c.Deadline = min(c.Deadline, MaxDeadline)
	orDefault(&c.Renew, 10*time.Second)
	orDefault(&c.Keep, 5*time.Minute)
	l := &c.Limits
	orDefault(&l.Window, 256)
	orDefault(&l.WindowBytes, 1<<20)
	l.WindowBytes = max(l.WindowBytes, MaxPayload)
	orDefault(&l.Topics, 4096)
	orDefault(&l.TopicBytes, 64<<20)
	orDefault(&l.Outstanding, 1024)
	orDefault(&l.Handled, 16384)
	orDefault(&l.HandledBytes, 16<<20)
	orDefault(&l.Offers, 4096)
	return c
}
