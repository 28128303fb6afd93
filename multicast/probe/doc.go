// Package probe measures multicast: who sends to a group, what of it arrives, and
// whether multicast between hosts is as good as unicast.
//
// Three engines share one wire format (message.go):
//
//   - [Sender] sends numbered test datagrams to one or many groups.
//   - [Receiver] counts what arrives per sender: loss, order, duplicates, jitter
//     (RFC 3550 section 6.4.1) and distance in hops.
//   - [Pinger] asks other hosts by unicast and by multicast at the same time and
//     answers them; what it finds ends in a [Verdict].
//
// [Send], [Receive] and [Ping] run them on a real network.
//
// # Glossary
//
// A stream is what one run of one sender sends to one group. It is known by the
// sender's address, an identity drawn at random and the sender's epoch: the
// instant at which it started, in milliseconds since 1970, 48 bits. Two senders
// behind one address differ in identity; a sender that restarted has a later epoch.
//
// A datagram is lost when a later one arrived and it did not; a duplicate arrives
// again; a reordered one arrives after one that was sent later; a late one arrives
// so long after the fact (more than 1,024 numbers) that it stays counted as lost,
// since it cannot be told from a duplicate any more.
//
// A ping takes three paths between two hosts. On the path "unicast" question and
// answer go by unicast. On the path "multicast" the answer to the same question comes
// by multicast, which shows whether multicast reaches us. On the path "outward" the
// question goes out by multicast and the answer comes back by unicast, which shows
// whether ours reaches them.
//
// The first datagram of a path may be lost while switches and routers learn that
// there are members; verdicts leave it out, as "seq>=2" says.
//
// Read message.go first, then stream.go, receiver.go and pinger.go.
package probe
