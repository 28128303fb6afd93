package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// ErrOrder reports an entry that is not the next of its machine.
var ErrOrder = errors.New("gossip: entry out of order")

// Keys, after the room's own byte:
//
//	'e' machine(16) number(8, big endian)   an entry's payload
//	'v' machine(16)                         the number of its last entry
const (
	entryKeys  = 'e'
	vectorKeys = 'v'
)

func entryKey(d store.Dot) []byte {
	b := append([]byte{store.PrefixGossip, entryKeys}, d.Machine[:]...)
	return binary.BigEndian.AppendUint64(b, d.Seq)
}

func vectorKey(m store.MachineID) []byte {
	return append([]byte{store.PrefixGossip, vectorKeys}, m[:]...)
}

// journal is the entries on the disk, and the vector of those that are committed.
type journal struct {
	kv      store.KV
	vector  store.Vector
	pending store.Vector // what the open transaction adds to vector
}

func openJournal(kv store.KV) (*journal, error) {
	j := &journal{kv: kv, vector: store.Vector{}, pending: store.Vector{}}
	bad := false
	from, to := []byte{store.PrefixGossip, vectorKeys}, []byte{store.PrefixGossip, vectorKeys + 1}
	err := kv.Scan(from, to, func(k, v []byte) bool {
		if bad = len(k) != len(from)+16 || len(v) != 8; bad {
			return false
		}
		j.vector[store.MachineID(k[len(from):])] = binary.BigEndian.Uint64(v)
		return true
	})
	if err == nil && bad {
		err = errors.New("malformed vector")
	}
	return j, err
}

// next returns the number that follows all entries of m, pending ones included.
func (j *journal) next(m store.MachineID) uint64 { return max(j.vector[m], j.pending[m]) + 1 }

// put writes entries, each the next of its machine, into tx.
func (j *journal) put(tx store.Txn, entries []Entry) error {
	touched := store.Vector{}
	for _, en := range entries {
		if en.Dot.Machine.IsZero() || en.Dot.Seq != j.next(en.Dot.Machine) {
			return fmt.Errorf("%w: %v, next is %d", ErrOrder, en.Dot, j.next(en.Dot.Machine))
		}
		if len(en.Payload) > MaxPayload {
			return fmt.Errorf("gossip: entry %v: payload of %d bytes, at most %d", en.Dot, len(en.Payload), MaxPayload)
		}
		if err := tx.Set(entryKey(en.Dot), en.Payload); err != nil {
			return fmt.Errorf("gossip: entry %v: %w", en.Dot, err)
		}
		j.pending[en.Dot.Machine] = en.Dot.Seq
		touched[en.Dot.Machine] = en.Dot.Seq
	}
	for _, m := range touched.Machines() {
		if err := tx.Set(vectorKey(m), binary.BigEndian.AppendUint64(nil, touched[m])); err != nil {
			return fmt.Errorf("gossip: vector: %w", err)
		}
	}
	return nil
}

// committed moves the vector and reports whether it moved.
func (j *journal) committed() bool {
	moved := len(j.pending) > 0
	j.vector.Merge(j.pending)
	clear(j.pending)
	return moved
}

// read returns committed payloads of m from number first on, until their bytes
// reach limit; at least one if there is one.
func (j *journal) read(m store.MachineID, first uint64, limit int) (r run, size int, err error) {
	r = run{Machine: m, First: first}
	last := j.vector[m]
	from, to := entryKey(store.Dot{Machine: m, Seq: first}), entryKey(store.Dot{Machine: m, Seq: last + 1})
	err = j.kv.Scan(from, to, func(k, v []byte) bool {
		seq := binary.BigEndian.Uint64(k[len(k)-8:])
		if seq != first+uint64(len(r.Payloads)) || size > 0 && size+len(v)+perEntry > limit {
			return false
		}
		r.Payloads = append(r.Payloads, append([]byte{}, v...))
		size += len(v) + perEntry
		return true
	})
	return r, size, err
}

// perEntry is what a payload costs in a message beside its own bytes: the head
// of a CBOR byte string (RFC 8949, 3).
const perEntry = 5

// Entries calls f with the committed entries of m behind number after, in order, until
// f returns false.
func Entries(r store.Reader, m store.MachineID, after uint64, f func(Entry) bool) error {
	from := entryKey(store.Dot{Machine: m, Seq: after + 1})
	to := append([]byte{store.PrefixGossip, entryKeys}, m[:]...)
	to = append(to, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	err := r.Scan(from, to, func(k, v []byte) bool {
		seq := binary.BigEndian.Uint64(k[len(k)-8:])
		return f(Entry{Dot: store.Dot{Machine: m, Seq: seq}, Payload: append([]byte{}, v...)})
	})
	if err != nil {
		return fmt.Errorf("gossip: entries: %w", err)
	}
	return nil
}
