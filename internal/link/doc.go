// Package link carries messages between machines that know each other by key.
//
// A connection is TLS 1.3 (RFC 8446) over TCP. Both ends present a self-signed
// Ed25519 certificate; the certificate says nothing but the key, the handshake
// proves that its owner holds the private half, and the peer's name is the hash
// of the key (a [PeerID]). No authority, host name or date is looked at. After the
// handshake the two ends prove to each other that they belong together
// ([Admit]): the dialler first, so that a listener tells a stranger nothing.
//
//	dialler                                         listener
//	   TLS 1.3 handshake, both certificates, ALPN
//	   proof of the dialler          ──────────────►  checked, else closed
//	   checked, else closed  ◄──────────────  proof of the listener
//	   hello                 ◄─────────────►  hello
//	   frames                ◄─────────────►  frames
//
// A frame is 16 bytes, a header (the caller's encoding) and a body (raw bytes):
//
//	 0       4      5       6        8        12              16
//	+-------+------+-------+--------+--------+---------------+--------+------+
//	| length| kind | flags | method | stream | header length | header | body |
//	+-------+------+-------+--------+--------+---------------+--------+------+
//
// length counts the bytes behind itself; all integers are big endian; flags are
// zero. Both ends may ask at any time, many calls at once. Each end tells in its
// hello how many requests it is willing to serve at a time, and the other never
// has more under way: a caller over the limit waits, nothing is dropped and the
// reading goroutine never blocks.
//
// Glossary:
//
//	Identity   an Ed25519 key and the certificate made of it in memory
//	PeerID     the first 16 bytes of the SHA-256 of a public key
//	Admit      how two ends prove that they belong together
//	Conn       one authenticated connection
//	Message    method, header and body of a request or a response
//	Mesh       one live Conn to every known peer, dialled again for ever
//	Vigil      asks neighbours for signs of life, and everybody when one is in doubt
//
// Start with conn.go; frame.go is the codec, handshake.go what happens before the
// first frame, mesh.go the table of peers, vigil.go who is taken for dead.
package link
