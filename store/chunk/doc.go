// Package chunk cuts files into chunks, names, compresses and seals them, and puts
// them together again. It is pure: bodies go to and come from callbacks.
//
//	plain bytes ──cut──► chunks ──name──► Ref ──compress, pad, seal──► body
//
// Cut. Boundaries depend on content (FastCDC with a gear table derived from a key
// of the pool, so that chunk lengths do not tell what the content is). Chunks have
// 64 KiB on average in the first GiB of a file, 256 KiB up to 8 GiB and 1 MiB
// beyond: the size depends on where a chunk begins and on nothing else, so that a
// stream of unknown length is cut like a file, and equal files are cut alike.
//
// Name. A [store.Ref] is a keyed BLAKE3 of the plain bytes. Data and lists have
// different keys: neither can pose as the other.
//
// List. The chunks of a file are listed in list chunks, those in further lists, up
// to a single root. A list ends behind an entry whose Ref has seven given bits
// zero, after 32 and within 1024 entries: a change in a file changes one list a
// level, not all that follow. Lists hold sizes too, so any offset is found in
// Depth+1 steps.
//
// Generations. Keys follow from a secret of the pool, and there may come further
// secrets (package pool). What is written is named and sealed under the newest; a body
// says under which it is sealed, so that all are read. A file that is changed keeps
// chunks of older generations by their Refs; a list in which not all is of the list's
// own generation says of each entry which is the oldest below it, and a
// [store.Content] says so of the whole. Equal bytes of two generations have different
// Refs. The table for cutting stays that of the first generation.
//
// Compress. Zstandard (RFC 8878), kept where it saves a sixteenth. Data that does not
// shrink is soon not tried any more, and [Keys.LimitCompression] says when there is no
// time for it.
//
// Seal. AES-256-GCM under a key derived from the pool's chunk key and the Ref. A
// chunk that is stored as it is has exactly one plaintext under its key and uses
// the zero nonce; a compressed one, whose bytes depend on the compressor, takes its
// nonce from a keyed hash of what is sealed. Sealing the same chunk twice gives the
// same body as long as the compressor is the same. Bodies are padded by at most
// 1/64 so that sizes tell little.
//
// A body on disk and on the wire:
//
//	offset size
//	0      1    format, 1
//	1      4    generation of the pool's keys, big endian
//	5      12   nonce
//	17     n+16 sealed frame and tag; bytes 0-4 are authenticated too
//
// and the frame within:
//
//	0      1    kind: 0 data, 1 list
//	1      1    encoding: 0 plain, 1 zstd
//	2      4    size of the payload
//	6      4    size of the plain bytes
//	10          payload, then zeros
//
// Read generations.go and keys.go first, then cut.go and writer.go.
package chunk
