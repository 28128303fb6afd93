package dht

import "time"

// Config is what a [Node] is made of. Its zero value but for Self works.
type Config struct {
	Space Space // of IDs; zero means 160 bits
	// Self is the node: its ID, which life of it this is, and where others reach it.
	// The driver proves IDs by keys; the engine believes the ones it is given.
	Self Peer
	Seed uint64 // of all the node draws by lot: tokens, whom to tell, when exactly
	// Successors is the length of the list. Zero lets it grow with the ring: 2 log2 N,
	// at least 8 and at most MaxSuccessors (Chord, theorem IV.5).
	Successors int
	// MaxMembers is up to how many nodes every node knows all of them, so that a
	// lookup is one hop. Zero means 1,024. Above, it keeps neighbours and fingers.
	MaxMembers int
	Period     time.Duration // between two queries of the head; zero means 1.2 s
	// Timeout is how long an answer may take; zero means 500 ms. Who does not answer is
	// asked again and through others, and is dead after as long again.
	Timeout time.Duration
	Redial  time.Duration // longest wait between attempts at who is dead; zero means 60 s
}

// Bounds of what a node keeps and sends.
const (
	MaxSuccessors  = 64      // of a list
	MaxIncarnation = 1 << 48 // beyond, a number is a lie: nobody starts so often
	MaxRumors      = 64      // in a message
	MaxListed      = 512     // peers in a message of members
	maxCalls       = 8192    // questions not answered yet
	maxLookups     = 4096    // under way
	maxMeeting     = 64      // names asked for the first time, at once
	maxNames       = 4096    // names that wait for that
	maxGhosts      = 1024    // names remembered because nobody answered to them
	maxHeld        = 8       // views that wait until their names have answered
	maxAsked       = 256     // nodes asked in one lookup: 64 are too few with half of 2^20 dead
	lookupTime     = 10 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Space.bits == 0 {
		c.Space.bits = MaxBits
	}
	if c.MaxMembers == 0 {
		c.MaxMembers = 1024
	}
	if c.Period == 0 {
		c.Period = 1200 * time.Millisecond
	}
	if c.Timeout == 0 {
		c.Timeout = 500 * time.Millisecond
	}
	if c.Redial == 0 {
		c.Redial = time.Minute
	}
	c.Successors = min(c.Successors, MaxSuccessors)
	return c
}
