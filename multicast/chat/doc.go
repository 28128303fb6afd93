// Package chat lets people on a link talk in a room that no machine keeps.
//
// [Room] is the protocol as a value; [Join] runs one on the interfaces of this
// machine. All rooms share one group and port; a datagram carries a hash of the
// room's name. A room with a passphrase is sealed by package seal: its members
// prove that they know the passphrase, not who they are, so any member can speak
// as any other. In an open room anybody on the link can.
//
// What members send each other, in datagrams of at most 1,232 bytes:
//
//	hello    I am here, I hear these members, I have these messages
//	goodbye  I leave
//	piece    a message, or one of up to 64 parts of a long one
//	request  I miss these messages, or these pieces
//
// A message has an author and the author's sequence; from that everything follows.
// Hellos claim what their sender has, so that who comes late, was away behind a
// partition or lost a datagram knows what there is to ask for, and asks after a
// short random delay unless somebody else has just asked. Whoever has a message may
// repeat it: its author at once, others after a random delay unless they hear it
// meanwhile (suppression, as in RFC 5740 section 5.1). One member's messages are
// shown in their order. One that nobody present has is waited for, then given up
// and reported as lost.
//
//	            hello heard,
//	            it lists us           5 beats missed
//	candidate ──────────────► present ◄────────────► vanished
//	                              │  any packet            │
//	                              └──────► gone ◄──────────┘
//	                              goodbye    │ later hello: present
//
// A sealed packet may be a recording from before we came. So in a sealed room a
// sender stays a candidate, of which nothing but hellos is taken, until a hello of
// its lists our ID, which is random and new with each start: no recording has it.
//
// Bounds: members and authors 256, history 512 messages and 1 MiB, messages 64 kB,
// unfinished and waiting messages 2 MiB, 300 packets a second of one sender, 150
// sent. [Stats] counts what was refused.
//
// Glossary: a beat is a hello of the regular ones; a claim is a line of a hello: an
// author and which of its messages the sender has; a stamp is Lamport's clock,
// which sorts the messages of all authors.
//
// Read message.go first, then room.go.
package chat
