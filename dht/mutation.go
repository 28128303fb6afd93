package dht

// Mutation is a planted mistake. Only [NewBroken] takes one; it is how the simulator
// is shown to find mistakes. A node of [NewNode] has none.
type Mutation uint8

// The mistakes.
const (
	Sound            Mutation = iota // none
	TrustLists                       // names are used before they have answered
	ForgetDead                       // the dead are never dialled again
	NeverDoubt                       // a late timer is taken for the silence of others
	KeepDeadHead                     // a dead head stays, and so does the list
	NeverNotify                      // a head is never told that it is one
	IgnoreCandidates                 // nobody becomes head but by the death of heads
)

// NewBroken returns a node with a mistake in it.
func NewBroken(cfg Config, m Mutation) *Node {
	n := NewNode(cfg)
	n.broken = m
	return n
}
