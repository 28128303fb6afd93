// Package topics carries messages over the ring: a request to whoever owns an ID,
// a message to all subscribers of a topic, a message to one of them. It has no
// specification but this page; its tree is Scribe's (Castro et al., IEEE JSAC 20(8),
// 2002) without nodes that have no part in the topic, its memory of requests is that
// of RIFL (Lee et al., SOSP 2015).
//
// # Requests
//
// [Engine.Send] asks the owner of an ID. A request has a number, is sent again with
// back-off, to the next owner when the first died, and gives up at its deadline. Who
// is asked handles each number once and answers repetitions from memory. Each request
// tells the lowest number that its sender still waits for, and what is below is
// forgotten and never handled again. So a request is handled exactly once by a node
// while that node lives and the sender waits; it is handled again, by another node,
// only when the first died or lost its place before its answer came through.
//
// # Topics
//
// The owner of a topic's ID is its root. Subscribers hang below it in a tree in which
// no node has more than [Config].MaxChildren children; a full node sends a newcomer
// on to the child with the fewest nodes below it.
//
//	publisher ──Request──► root ──Forward──► its next 2 successors (mirrors)
//	                        │ then Forward to its children, they to theirs
//	      ┌─────────────────┼────────────┐
//	   child ◄─Attach─┐   child        child        Ack: how far a child is
//	      │           └ grandchild …                Redirect: ask that one
//
// The root gives each message a [Position]: its epoch, which grows whenever another
// root takes over, and a sequence number. It answers the publisher when its mirrors
// hold the message, and only then sends it to its children. Each node keeps the last
// messages of its topics ([Config].Window), and sends a child what comes behind the
// position that the child names: what got lost, what it missed when its parent died.
//
// A subscriber gets each message once, because it remembers the last 1,024 message
// IDs, and in the order of the root. A root that takes over goes on from what it holds
// as a mirror. One that holds nothing, because it has just joined the ring, is given what
// the root before it has ("hands over"), and lets that one's subscribers wait for it a
// few seconds. Two roots that meet after a partition become one: the one that is not the
// owner hands over, what it gives gets new positions behind the others, and a subscriber
// that has had it does not get it again.
//
// What is told as [Published] survives the death of any one node at a time; with Copies 1,
// which is told when the mirrors have not answered for 4 s, it is lost with its root.
// Whoever is slower than the window, or loses its place for longer than it lasts, hears
// a [Gap].
//
// A member of the ring is believed as far as its own ID goes: it can refuse service to
// those below it in a tree, and forge the publisher of what it forwards.
//
// # States of a node in a topic
//
//	           Subscribe            Attached                   parent dies, loops, refuses
//	(nothing) ───────────► seeking ──────────► attached ─┐ ◄──────────────┐
//	                          ▲                          └────────────► seeking, with its subtree
//	  owner of the ID: root, whatever it was; no owner any more: seeking, and hands over
//
// # Anycast
//
// The root offers the message to one subscriber after the other, nearest first where
// round-trip times are known, each child seeing to its own subtree, until one accepts.
//
// Read message.go for what is sent and engine.go for the verbs; outbox.go and inbox.go
// are requests; topic.go, window.go, tree.go (places), feed.go (sending) and receive.go
// are topics; then anycast.go.
package topics
