// Package chunk turns files into chunks and back: it cuts, names, compresses and
// seals. It is pure: where chunks go and come from is the caller's business.
//
//	bytes ─► cut (FastCDC, keyed) ─► name (keyed BLAKE3) ─► compress (zstd, when it
//	pays) ─► seal (AES-256-GCM under a key of the chunk's own) ─► body
//
// Cutting. Boundaries depend on content under a key of the pool, so an insertion
// moves few of them and lengths tell an outsider nothing of known files. The mean
// is 64 KiB in the first GiB of a file and 1 MiB behind it: what a chunk costs
// grows slower than large files do. Equal files are cut equally.
//
// Naming. The address of a chunk ([store.Ref]) is the BLAKE3 of its plain bytes
// keyed by the pool: equal bytes are stored once in the pool, and the address is
// of no use to anybody else. Data and lists have keys of their own, so neither can
// pose as the other.
//
// Lists. A file of more than one chunk is named by a list of its chunks; a long
// list is cut into lists in turn, up to a single one, the root. List boundaries
// depend on the addresses in them, so that an edit renews one list a level.
// A list is
//
//	version (1) | depth (1) | entries: address (32) size (uvarint)
//
// where depth is 1 for lists of data and size counts the plain bytes below.
//
// Sealing. The key is derived from the pool's generation and the address: one key,
// one plaintext, so the nonce is zero. The sealed bytes are
//
//	codec (1) | length of payload (uvarint) | payload | zeros
//
// and a body is the AES-256-GCM of that. Zeros pad to a length that tells little
// of the payload's.
//
// Glossary: plain, the bytes of a file or list; body, what is stored and sent;
// root, the chunk that leads to a file's bytes; depth, how many lists lie between.
//
// Read keys.go first, then writer.go and reader.go.
package chunk
