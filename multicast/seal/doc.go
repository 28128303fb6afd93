// Package seal encrypts what the members of a group send each other.
//
// Everybody who knows the group's [Secret] can seal and open: a sealed packet
// proves that a member of the group made it, not which member. Whoever needs to
// know the single sender must sign as well. The price is what multicast needs:
// one packet, readable by all members, with no handshake between any two of them.
//
//	passphrase ── [Stretch] (Argon2id, RFC 9106) ──► Secret
//	Secret, sender's ID, 32 random bytes of this start ── HKDF-SHA256 (RFC 5869) ──► key of one start of one sender
//	key, counter ── AES-256-GCM (NIST SP 800-38D) ──► sealed packet
//
// A sealed packet is
//
//	SenderID (16) ‖ start (32) ‖ counter (8, from 1) ‖ ciphertext ‖ tag (16)
//
// and the nonce is the counter as a 96-bit number. A key is used by one [Sealer]
// only, because its start is random, and each of its nonces once, because the
// Sealer counts. The header needs no further protection: a changed ID or start
// gives another key, a changed counter another nonce, and the tag fails.
//
// An [Opener] keeps, for each start of a sender, which of the last [Window]
// counters it has seen (RFC 4303 section 3.4.3 and RFC 6479 do the same) and opens
// no packet twice. A packet that is not authentic makes it remember nothing.
//
// What an Opener cannot know: a start that it hears for the first time may be a
// recording made before the Opener existed. A protocol that must refuse those lets
// its members repeat something fresh of the receiver's, as package chat does.
//
// Glossary: a start is one life of a Sealer; a window is the stretch of counters
// behind the highest one seen in which single packets may still arrive late.
//
// Read seal.go first, then open.go.
package seal
