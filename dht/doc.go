// Package dht is a ring of nodes that own the points of a circle: Chord (Stoica et
// al., IEEE/ACM ToN 11(1), 2003) as Zave corrected it (IEEE TSE 43(12), 2017).
//
// A node owns the points from behind its predecessor to itself. Whoever looks a
// point up goes from node to node, each time at least halving what is left of the
// way, until one names the owner among its successors.
//
//	        0
//	   28 ─────── 1
//	  /             \
//	21               4      1 asks for 26: its farthest finger before it is 18,
//	20               9      18's is 20, 20's is 21; 21 names its successor 28.
//	  \             /
//	   18 ─ 14 ── 11
//
// Glossary: succ(k) is the first node at or clockwise from k, its owner; the list of
// successors are the next nodes of the ring, which outlive each other's death; the
// fingers are the owners of the points 1, 2, 4, 8 … away; a principal is a node that
// no list of another skips; an incarnation is one life of a node.
//
// [Node] is one such node, a value that a driver feeds with messages and instants.
//
//	     Meet                       answers                  no answer
//	name ─────► unmet ─────────────────────► alive ◄─────────────────► suspect
//	              │ no answer                  ▲   says so or          │ nobody
//	              ▼                   answers  │   another does        │ reaches it
//	          forgotten, but                   │                       ▼
//	          never a contact            left, dead ◄──────────────────┘
//
// What a peer says of itself is believed, because the driver has proven its ID; what
// it says of others is a hint to ask them. So a list of successors is used when all in
// it have answered, a rumour of a death when the dead one does not answer, and a
// forged one costs a question. The dead are dialled for ever, ever less often, so that
// rings that were parted become one again. Up to Config.MaxMembers nodes know all of
// each other, and a lookup asks the owner at once; above, they keep their neighbours
// and fingers.
//
// Read id.go first, then ring.go for what is kept right, table.go and route.go for how
// lookups go, and example.go for the textbook's ring; model_test.go checks the ring's
// rules over all orders of what can happen. Of the node read node.go, then
// stabilize.go (the ring's rules driven), member.go and gossip.go (who is there),
// suspect.go (who is not any more), join.go, lookup.go and finger.go.
package dht
