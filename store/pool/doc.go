// Package pool says who belongs: it keeps a machine's key and the pool's secret.
//
// A machine is an Ed25519 key (RFC 8032); its ID is the hash of the public half
// ([store.MachineIDOf]). A pool is a secret of 32 random bytes that all its
// machines know. Whoever knows the secret may join, so it is shown to people and
// typed in on another machine, and never printed by accident: a [Secret] hides
// itself from formatting, and no error repeats what it could not read.
//
// Both lie in the machine's directory, readable by their owner only:
//
//	machine.key   aether-machine-1-xxxx-xxxx-...  the seed of the key
//	pool.secret   aether-pool-1-xxxx-xxxx-...     the secret
//	              aether-generation-1-1-xxxx-...  and those that came later
//
// What is written is sealed under the newest generation of the secret ([Ring]). A new
// one begins when somebody who knows the old ones shall not read on.
//
// The text is 14 groups of four characters of lower-case base32: 32 bytes and 3 of
// a checksum over prefix and bytes. With a passphrase either file is sealed
// instead: Argon2id (RFC 9106) and AES-256-GCM, see seal.go. Files appear whole or
// not at all, and are never overwritten.
//
// The pool's [ID] is derived from the first secret one way; it may be announced.
//
// A [Certificate] says in the pool's name that a machine belongs: who it is, who let it
// in, and under which generation of the secret. It is signed with an Ed25519 key that
// follows from that secret (HKDF, RFC 5869), lies in the file machine.cert, and is no
// secret itself. Whoever has the secret can issue one; so a certificate of an old
// generation alone proves little, and package node says what it is good for.
//
// A [Code] is six words that one person reads to another to let a machine in. It is
// good once and for minutes; [Code.Key] says how the ends of a connection prove it to
// each other, and why that is enough.
//
// Glossary:
//
//	machine      an Ed25519 key, in machine.key
//	secret       what all machines of a pool share, in pool.secret
//	generation   the number of a secret; the first is 0, and names the pool
//	certificate  a machine's membership, in machine.cert
//	code         six of 7,776 words: an invitation
//
// Read pool.go first, then secret.go, ring.go, certificate.go and code.go.
package pool
