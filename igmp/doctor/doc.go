// Package doctor says whether multicast works on a link, and why not.
//
// [Examine] reads what an [igmp.Monitor] has heard and gives a [Diagnosis]: a
// verdict, and findings with their evidence and cure. It is a pure function; who
// listens, and for how long, is its caller's affair. [Solicit] shortens the waiting:
// it joins a group that nobody uses and leaves it, which a querier must answer with
// a group-specific query at once (RFC 2236 section 3, RFC 9776 section 6.4.2).
//
// [Prove] finds out with a second machine, which runs [Serve], what the switch
// between them does to groups:
//
//  1. The peer sends to a group that it has joined; we open our network card to
//     it, but join nothing. It arrives: the switch floods.
//  2. We join an alias, another group with the same Ethernet address. It arrives:
//     the switch looks at Ethernet addresses only.
//  3. We join the group. It must arrive now.
//
// Glossary: the cliff is the instant when a switch forgets a member that nobody has
// asked since, 260 s after its last report by default (RFC 9776 section 8.4).
//
// Read finding.go first, then doctor.go; proof.go and run_peer.go are about the
// proof.
package doctor
