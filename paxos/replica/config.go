package replica

import (
	"crypto/ed25519"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
)

// Config says who a node is. ID, Dir, Listener and Members must be given; a node that
// joins a cluster gives the members that are there without itself.
type Config struct {
	ID  paxos.NodeID
	Dir string
	// Cluster is the name of the cluster; empty is "aether". Nodes of different names
	// or secrets do not hear each other.
	Cluster string
	// Secret is what the machines of the cluster share; empty: everybody who can connect
	// belongs.
	Secret []byte
	// Key is this machine; nil makes one for this run.
	Key ed25519.PrivateKey
	// Listener takes connections of nodes and clients; the replica owns it.
	Listener net.Listener
	// Members is the first membership, with addresses; the same on all its nodes.
	Members map[paxos.NodeID]netip.AddrPort
	// Join: Members are to be joined, and this node is not one of the first.
	Join bool

	Timing paxos.Timing
	Paxos  paxos.Limits
	Map    kv.Limits
	// AcceptQuorum is that of the first membership; 0 is a majority.
	AcceptQuorum int
	// SnapshotEvery is after how many slots a snapshot is made; 0 is 100,000. Keep is how
	// many slots are kept beyond it for nodes that were away; 0 is 10,000.
	SnapshotEvery, Keep paxos.Slot
	// Reserve is the room that is kept on the disk, in bytes: see [log.Config].
	Reserve int64
	// Fatal is called when the disk fails in a way after which nothing goes on, not even
	// Run returns: see [log.Config]. It should end the process; nil panics.
	Fatal func(error)
	// Logger hears what happens; nil is silent.
	Logger *slog.Logger
}

// ClusterID returns the ID of a cluster of that name.
func ClusterID(name string) (id paxos.ClusterID) {
	if name == "" {
		name = "aether"
	}
	sum := sha256.Sum256([]byte("aether paxos cluster name\x00" + name))
	copy(id[:], sum[:])
	return id
}

func (c Config) withDefaults() Config {
	if c.SnapshotEvery == 0 {
		c.SnapshotEvery = 100_000
	}
	if c.Keep == 0 {
		c.Keep = 10_000
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// hashEvery is after how many slots nodes compare their states.
const hashEvery = 1024

// Waits of a replica.
const (
	tickEvery   = 100 * time.Millisecond // how late a lease may end when nothing happens
	fullEvery   = time.Second            // how often the room on the disk is looked at
	pieceLength = 1 << 20                // of a snapshot
	pieceWait   = 10 * time.Second
)
