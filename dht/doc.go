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
// Read id.go first, then ring.go for what is kept right, table.go for how lookups
// go, and example.go for the textbook's ring. model_test.go checks the ring's rules
// over all orders of what can happen.
package dht
