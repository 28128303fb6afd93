// Package bulk sends one object, a file say, to many machines of a link with one
// transmission.
//
// The object is cut into sections of 1,024 blocks, and a block and its header fill
// an Ethernet frame. A Merkle tree over the sections' hashes names the object: its
// root stands in an offer that the sender signs.
//
//	sender                                                 receivers
//	  │── Offer, to the group, again and again ─────────────► │
//	  │ ◄─────────────────────── Register, with what it has ──│
//	  │── Welcome ──────────────────────────────────────────► │
//	  │── the first blocks at once, Train ──────────────────► │
//	  │ ◄────────────────────── TrainReport: how fast it came │
//	  │── blocks of a section, paced; Solicit ──────────────► │   a pass
//	  │ ◄──────────────────────────── Status, unicast: holes ─│
//	  │   …                                                   │
//	  │── Poll for what was not answered ───────────────────► │   its end
//	  │── what is missing, or parity for it; Solicit ───────► │   a repair pass
//	  │   …                                                   │
//	  │── Pull: fetch the rest by TCP from those named ─────► │   stragglers
//	  │ ◄──────────────────────────────────────── Finished ───│
//	  │── Released; at last Close, to the group ────────────► │
//
// A pass covers at most 2,048 sections, then what is missing is repaired before the
// next ones are sent. Repair is the missing blocks themselves, or, where receivers
// miss different ones, rows of Reed-Solomon parity over 64 blocks, of which each
// row mends another hole in each receiver. Where most groups of blocks need parity
// it goes along in the first pass.
//
// The rate is found by a train of packets, made of the object's first blocks, and
// then held by the median receiver: one bad port slows nobody. A receiver that is
// silent, far behind or never satisfied is no longer waited for; it fetches what it
// lacks by TCP, each section with its proof, from those who have it. If packets to
// the group arrive more slowly than unicast would be for all receivers together,
// multicast is refused and all fetch by TCP, from each other too.
//
// With a secret everything is sealed: control messages by package seal, blocks under
// a key of the session. It proves that the sender is a member of the group. Without
// one anybody on the link can disturb a transfer, but not forge the object:
// every section is verified before it counts.
//
// [Sender] and [Receiver] are engines. [Send] and [Receive] drive them on sockets
// and files:
//
//	result, err := bulk.Send(ctx, bulk.SendConfig{Group: group, Interface: "eth0", Receivers: 9}, "image.iso")
//	files, err := bulk.Receive(ctx, bulk.ReceiveConfig{Group: group, Interface: "eth0", Dir: "."})
//
// Glossary: a section is what is verified and asked about; a group of blocks shares
// parity; a row is one packet of parity; a pass is one way through sections; a
// straggler is a receiver that the group no longer waits for.
//
// Specification: this package's own. Its parts follow UFTP (session), NORM, RFC 5740
// (parity for repair) and RFC 9162 section 2.1 (the tree).
//
// Read message.go first, then sender.go and receiver.go.
package bulk
