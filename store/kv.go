package store

import "errors"

// ErrNotFound reports a key, chunk or path that is not there.
var ErrNotFound = errors.New("not found")

// ErrFull reports that the space set aside, or the disk, has no room. The errors of
// the rooms that say so wrap it.
var ErrFull = errors.New("no space left")

// Reader reads ordered keys and values. Keys compare as unsigned bytes.
type Reader interface {
	// Get returns a copy of the value of key, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// Scan calls f for the keys in [from, to) in ascending order until f returns
	// false. A nil to means no end. The slices are f's only until it returns.
	Scan(from, to []byte, f func(key, value []byte) bool) error
	// Last returns copies of the greatest key in [from, to) and its value, or
	// ErrNotFound.
	Last(from, to []byte) (key, value []byte, err error)
}

// Txn gathers changes, reads through them, and makes them all at once. A Txn is
// not safe for concurrent use, and a KV is changed by one Txn at a time for any
// one range of keys: the rooms own their ranges.
type Txn interface {
	Reader
	// Set gives key a value. It keeps neither slice. After a Set or Delete that
	// failed, Commit fails too, so that asking once is enough.
	Set(key, value []byte) error
	// Delete removes key; removing what is not there is no error.
	Delete(key []byte) error
	// Commit makes the changes, all or none. With sync they are on the disk when
	// it returns, and so is everything committed before; without, a crash may
	// take back the latest commits, never a part of one or one before another.
	// The Txn is used up.
	Commit(sync bool) error
	// Discard drops the changes. After Commit it does nothing.
	Discard()
}

// Freeing says that tx leads to more room than it takes, like the removal of a file:
// a KV on a disk that is almost full lets it further into what it keeps in reserve.
func Freeing(tx Txn) {
	if f, ok := tx.(interface{ Freeing() }); ok {
		f.Freeing()
	}
}

// KV is an ordered key-value store: in memory in tests, on disk in life. Package
// store/index has both. Rooms that share one KV begin their keys with a byte of
// their own, listed here so that none is given twice.
type KV interface {
	Reader
	// Begin starts a Txn. The caller ends it with Commit or Discard.
	Begin() Txn
}

// The first byte of a room's keys.
const (
	PrefixNode      = 'n' // store/node: settings, members
	PrefixSegment   = 's' // store/segment: where a chunk lies
	PrefixTree      = 't' // store/tree: names, versions, move log
	PrefixGossip    = 'g' // store/gossip: operations by machine and number
	PrefixReplicate = 'r' // store/replicate: what is still to be fetched
	PrefixWebDAV    = 'w' // store/webdav: locks
)
