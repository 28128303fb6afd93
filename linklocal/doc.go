// Package linklocal gives a machine an IPv4 address without a server: it picks
// one of 169.254/16, makes sure that nobody else on the link has it, announces
// it and defends it, as RFC 3927 says. The conflict detection underneath is that
// of RFC 5227 and works for any IPv4 address.
//
// For the usual jobs there is one function each, and they need a raw socket
// (CAP_NET_RAW) and, to configure the interface, CAP_NET_ADMIN:
//
//   - [Claim] gets an address, puts it on the interface, keeps it until its
//     context ends and takes it off again;
//   - [Probe] tells whether an address is in use;
//   - [Watch] listens and reports who claims what, and who quarrels.
//
// # Engines
//
// [Detector] tests, announces and defends one address. [Claimer] chooses
// addresses and leads a Detector through the life of a link. [Monitor] only
// listens. They are values that eat packets and instants; they have no
// goroutine, clock, socket or randomness of their own.
//
//	 Start
//	   │
//	   ▼      nobody answers until ANNOUNCE_WAIT
//	Probing ───────────────────────────────────► Announcing ──────────► Bound
//	   │         announce; event claimed          │       announce      │   ▲
//	   │                                 conflict │            conflict │   │ DEFEND_INTERVAL
//	   │ conflict                                 ▼                     ▼   │ passes
//	   ▼                                       Defending (announce once) ───┘
//	Failed ◄──────────────────────────────────────┘
//	                 another conflict; event lost
//
// A Claimer adds [Idle] (no link, or a routable address makes this one needless),
// [Waiting] (MAX_CONFLICTS reached, one attempt a minute) and [Deprecated] (a
// routable address has appeared: the address serves existing connections for a
// while and is then released; RFC 3927 section 1.9).
//
// # Words
//
//   - Probe: an ARP request for an address with sender address 0.0.0.0.
//   - Announcement: an ARP request whose sender and target address are both the
//     address announced.
//   - Candidate: the address that is being probed.
//   - Conflict: a packet by which another host claims our address; which packets
//     those are is in conflict.go and nowhere else.
//   - Own: the hardware addresses of all interfaces of this host. Their packets
//     are echoes and never conflicts (RFC 5227 section 2.1.1).
//
// # Answers are broadcast
//
// RFC 3927 section 2.5 wants every ARP packet with a link-local sender, replies
// included, broadcast: two hosts that hold the same address after their links
// were joined then hear each other's replies. A Detector therefore answers
// requests for its address itself, by broadcast. Linux answers too, by unicast,
// and has no switch that silences it for one address only. With
// [Config].BroadcastOnly, Claim sets arp_ignore=8 on the interface while the
// link-local address is the only IPv4 address there, so that the broadcast is
// the only answer, and makes the kernel's neighbour checks broadcast as well. It
// is not the default because a process that is killed leaves the setting behind,
// and an interface that later gets another address would not answer for it.
//
// Read conflict.go first, then detector.go and claimer.go; run.go is the driver.
package linklocal
