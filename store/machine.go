package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
)

// MachineID names a machine: the first 16 bytes of the SHA-256 of its Ed25519
// public key. The zero MachineID names none.
type MachineID [16]byte

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrBadID reports text that is not an ID.
var ErrBadID = errors.New("store: bad ID")

// MachineIDOf returns the ID of the machine that holds the private half of key.
func MachineIDOf(key ed25519.PublicKey) MachineID {
	h := sha256.Sum256(key)
	return MachineID(h[:16])
}

// ParseMachineID reads the 26 characters that [MachineID.String] writes.
func ParseMachineID(s string) (MachineID, error) {
	b, err := base32Lower.DecodeString(s)
	if err != nil || len(b) != len(MachineID{}) {
		return MachineID{}, fmt.Errorf("%w: machine %q", ErrBadID, s)
	}
	return MachineID(b), nil
}

// String returns the ID as 26 characters of lower-case base32.
func (m MachineID) String() string { return base32Lower.EncodeToString(m[:]) }

// Short returns the first 7 characters of String, for people.
func (m MachineID) Short() string { return m.String()[:7] }

// IsZero reports whether m names no machine.
func (m MachineID) IsZero() bool { return m == MachineID{} }

// Compare orders IDs as unsigned bytes.
func (m MachineID) Compare(o MachineID) int { return bytes.Compare(m[:], o[:]) }

// MarshalText makes MachineIDs readable as JSON values and keys.
func (m MachineID) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (m *MachineID) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMachineID(string(b))
	return err
}

// Machine is what a pool knows of a member.
type Machine struct {
	// ID names the machine.
	ID MachineID
	// Name is what people call it; not unique, never trusted.
	Name string
	// Space is the bytes it sets aside for the pool: its weight in placement.
	Space uint64
	// Laptop says that it is often away: it is given less, and never the only copies
	// where there are others.
	Laptop bool
}
