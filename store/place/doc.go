// Package place says which machines keep a file. Nobody decides it: every machine
// computes the same order of machines for a file from the list of members alone,
// by weighted rendezvous hashing (Thaler & Ravishankar 1998; Schindelhauer &
// Schomaker 2005 for the weights).
//
//	key      16 bytes that name what is placed: the least of the addresses of the
//	         chunks that it begins with, see [Key], so that files alike lie together.
//	score    -ln(u)/w for a machine of weight w, where u in (0, 1) is a hash of
//	         machine and key. The lowest score is preferred.
//	weight   the machine's Space, rounded to a power of the sixteenth root of two so
//	         that small changes of it move nothing; three tenths of that for a laptop.
//	order    all machines by score: the first n that can take a file keep it, and
//	         whoever repairs it goes down the same list.
//
// When a machine joins or leaves, only what moves to or from that machine moves. What
// is placed stays where it is for as long as it can: see [Map.Revise].
//
// The first n of an order are a sample without replacement, which gives small
// machines more than their share and large ones less. Where that matters, that
// is where one machine's share comes near a whole copy, the weights are corrected
// by trying the order on a fixed set of keys; see [New].
//
// All arithmetic is on integers, so that machines of different kinds agree to the
// last bit. Read order.go first, then revise.go.
package place
