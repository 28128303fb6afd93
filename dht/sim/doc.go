// Package sim runs rings of package dht in a made-up world, from a seed that always
// leads to the same run.
//
// [Static] is a ring in which every pointer is right, of up to 2^24 nodes: it shows
// what the routing of package dht costs, and what half the nodes dying at once does
// to lookups before anything is repaired. Its nodes route by dht.OwnerBy and
// dht.NextBy, which real nodes route by; only their pointers are not kept but worked
// out, so that a million nodes need some 45 MB. [Load] counts who gets how many keys.
// paper.go has what Stoica et al., "Chord" (IEEE/ACM ToN 11(1), 2003), measured in
// the same set-ups.
//
// [Tell] and [Churn] run real nodes, all of whose messages go through a network that
// loses, delays and cuts. A [Story] is a minute of faults drawn by lot and then quiet,
// after which an observer that sees everything wants one right ring, all members known
// and all lookups answered by the owner. Churn measures lookups and traffic while nodes
// come and go.
//
// Read static.go first, then static_lookup.go; of the other half event.go, then event_story.go.
package sim
