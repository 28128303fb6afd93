package records

import (
	"time"

	"github.com/aether-lan/aether/dht"
)

// Config says how an engine works. Its zero value works in a ring of 160 bits, for a
// node whose ID is zero; Space and Self are what a real one sets.
type Config struct {
	// Space is the circle; zero is that of 160 bits.
	Space dht.Space
	// Self is this node in this life.
	Self dht.Peer
	// Seed makes lineages and waits differ; a real node draws it at random.
	Seed uint64
	// Copies is r, how many nodes keep a record: 0 is 5, at most MaxMembers.
	Copies int
	// MaxBytes bounds what this node keeps, names and values and an allowance for
	// each: 0 is 256 MiB.
	MaxBytes int64
	// MaxWaiting bounds the requests that wait for a majority: 0 is 16,384.
	MaxWaiting int
	// MaxWatches bounds the watches: 0 is 4,096.
	MaxWatches int
	// Settle is how long the ring's view must be unchanged before a group is changed:
	// 0 is half a second. A first lineage waits four times as long.
	Settle time.Duration
	// Patience is after what time a request that finds no majority is told so: 0 is 2
	// seconds.
	Patience time.Duration
	// Resend is after what time an unanswered message is sent again: 0 is 200 ms.
	Resend time.Duration
	// Tombstone is for how long a deleted record's version is remembered: 0 is an hour.
	Tombstone time.Duration
}

func (c Config) withDefaults() Config {
	if c.Space == (dht.Space{}) {
		c.Space, _ = dht.NewSpace(dht.MaxBits)
	}
	def(&c.Copies, 5)
	c.Copies = min(c.Copies, MaxMembers)
	def(&c.MaxBytes, 256<<20)
	def(&c.MaxWaiting, 16<<10)
	def(&c.MaxWatches, 4<<10)
	def(&c.Settle, 500*time.Millisecond)
	def(&c.Patience, 2*time.Second)
	def(&c.Resend, 200*time.Millisecond)
	def(&c.Tombstone, time.Hour)
	return c
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
