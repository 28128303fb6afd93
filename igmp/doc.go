// Package igmp tells who listens to which multicast group: the Internet Group
// Management Protocol, versions 1 (RFC 1112), 2 (RFC 2236) and 3 (RFC 9776,
// formerly 3376), and Multicast Listener Discovery, the same for IPv6 (RFC 2710
// and RFC 9777, formerly 3810). Switches that listen in are RFC 4541.
//
// For the usual jobs there is one function each; they need a packet socket
// (CAP_NET_RAW):
//
//   - [Join] makes this machine a member of groups until its context ends;
//   - [Serve] is the querier of a link, or stands by;
//   - [Open] gives every packet that reaches or leaves an interface.
//
// [ParsePacket] and [Packet.Append] are the codec, for captures as well.
//
// # Engines
//
// [Host] is the listener's side, [Querier] the router's; [Snooper] is a switch that
// listens in, [Monitor] keeps who said what. They are values that eat packets and instants; they have no
// goroutine, clock, socket or randomness of their own.
//
//	Host      Join, Leave, SetFilter ─► reports, leaves        answers ◄─ queries
//	Querier   reports, leaves ─► Groups, events                queries ─►
//
// A Querier begins as querier and may have to yield (RFC 9776 section 6.6.2):
//
//	Start ──► querier ──── query of a lower address ───► non-querier
//	             ▲                                           │
//	             └── 255 s without query of that address ────┘
//
// What it knows of a group is in either mode of this picture, whose arrows are
// the rows of section 6.4; they are in sourceset.go and nowhere else:
//
//	               is_ex, to_ex
//	include (A) ─────────────────► exclude (X, Y)
//	   ▲                              │
//	   └──── group timer runs out ────┘
//
// # Words
//
//   - Querier: the one router of a link that asks.
//   - General query: what does everybody listen to? Group-specific: does anybody
//     listen to this group? Group-and-source-specific: to these sources of it?
//   - Report: what one host listens to; in version 3 made of records.
//   - Filter mode: whether a list of sources is what is wanted (include) or what
//     is not (exclude). To exclude nothing is to want all, as all members of
//     version 2 do; to include nothing is not to be a member.
//   - Robustness: how often everything is said. With 2, one packet may be lost.
//   - Group membership interval: how long a group lives without reports, 260 s.
//     Where nobody asks nobody reports, and switches stop forwarding after it.
//   - Compatibility mode: the old version that is spoken for the sake of others.
//
// # What is refused
//
// MLD packets that certainly came from elsewhere are ignored, as RFC 9777 wants.
// IGMP has no such words: by default queries and leaves with another TTL than 1
// are ignored, and what merely makes a group live longer is believed; Strict
// refuses more. Addresses of 0.0.0.0/8 are never elected, and those of
// 169.254.0.0/16 only on links where no router has another. Every table has a
// bound, and a counter for what did not fit.
//
// Read message.go first, then sourceset.go and querier.go, or host.go; run.go has
// the drivers.
package igmp
