package store

import (
	"encoding/hex"
	"fmt"
)

// Ref is the address of a chunk: a keyed hash of its plain bytes under a key of
// the pool. Equal bytes have equal Refs inside one generation of a pool's keys and
// unrelated ones in another. The zero Ref names no chunk.
type Ref [32]byte

// ParseRef reads the 64 hexadecimal characters that [Ref.String] writes.
func ParseRef(s string) (Ref, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(Ref{}) {
		return Ref{}, fmt.Errorf("%w: chunk %q", ErrBadID, s)
	}
	return Ref(b), nil
}

// String returns the address in hexadecimal.
func (r Ref) String() string { return hex.EncodeToString(r[:]) }

// IsZero reports whether r names no chunk.
func (r Ref) IsZero() bool { return r == Ref{} }

// Content says what the bytes of a file are. Equal Contents have equal bytes, given one
// pool; and equal bytes written under one generation of keys have equal Contents. The
// zero Content is the empty file.
type Content struct {
	_ struct{} `cbor:",toarray"`
	// Size is the number of bytes.
	Size int64
	// Root is the chunk that leads to them; zero for the empty file.
	Root Ref
	// Depth is how many levels of lists lie between Root and the data: at 0 Root
	// is the only chunk of data, at 1 it is a list of chunks of data, and so on.
	Depth uint8
	// Oldest is the oldest generation of keys that a chunk among them is sealed
	// under; 0 for the empty file. It follows from Root.
	Oldest uint32
}

// FileID names a file or directory for its whole life, whatever it is called and
// wherever it lies. The zero FileID is the root directory of the drive.
type FileID [16]byte

// String returns the ID in hexadecimal.
func (f FileID) String() string { return hex.EncodeToString(f[:]) }
