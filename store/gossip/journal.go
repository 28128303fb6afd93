package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/aether-lan/aether/store"
)

// ErrOrder reports an entry that is not the next of its machine.
var ErrOrder = errors.New("gossip: entry out of order")

// Keys, after the room's own byte:
//
//	'e' machine(16) number(8, big endian)   an entry's payload
//	'v' machine(16)                         format(1), number of its last entry(8),
//	                                        its chain up to there(32)
//	'h' machine(16) number(8, big endian)   its chain up to there(32), and of other
//	                                        machines the seal(96)
//	'f' machine(16)                         the number at which its log forked(8)
const (
	entryKeys  = 'e'
	vectorKeys = 'v'
	headKeys   = 'h'
	forkKeys   = 'f'
)

// vectorFormat is the first byte of the value at 'v'.
const vectorFormat = 1

// Of the heads that come, so many are kept that from one to the next there are not
// more entries than maxSpan, nor more bytes of payload than maxSpanBytes, unless
// that many came under one head.
const (
	maxSpan      = 256
	maxSpanBytes = 64 << 10
)

func numbered(kind byte, m store.MachineID, n uint64) []byte {
	b := append(make([]byte, 0, 26), store.PrefixGossip, kind)
	return binary.BigEndian.AppendUint64(append(b, m[:]...), n)
}

func entryKey(d store.Dot) []byte { return numbered(entryKeys, d.Machine, d.Seq) }

func machineKey(kind byte, m store.MachineID) []byte {
	return append([]byte{store.PrefixGossip, kind}, m[:]...)
}

// journal is the entries on the disk, and the vector of those that are committed.
type journal struct {
	kv     store.KV
	self   store.MachineID
	vector store.Vector
	// covered is what can be passed on: the last entry under a head, of this
	// machine the last of all.
	covered store.Vector
	tails   map[store.MachineID]tail
	pending map[store.MachineID]tail // what the open transaction adds
	forks   store.Vector             // machines whose logs have forked, and where
	unsaved bool                     // forks are to be written
}

// tail is the end of a machine's log.
type tail struct {
	seq  uint64
	hash hash
	// kept is the last head that stays; head, if it is another, is the last of
	// all, and goes when a later one makes it needless.
	kept, head uint64
	// past is the bytes since kept, fresh those since head.
	past, fresh int
}

func openJournal(kv store.KV, self store.MachineID) (*journal, error) {
	j := &journal{kv: kv, self: self, vector: store.Vector{}, covered: store.Vector{}, tails: map[store.MachineID]tail{},
		pending: map[store.MachineID]tail{}, forks: store.Vector{}}
	bad := false
	from, to := []byte{store.PrefixGossip, vectorKeys}, []byte{store.PrefixGossip, vectorKeys + 1}
	err := kv.Scan(from, to, func(k, v []byte) bool {
		if bad = len(k) != len(from)+16 || len(v) != 41 || v[0] != vectorFormat; bad {
			return false
		}
		j.tails[store.MachineID(k[2:])] = tail{seq: binary.BigEndian.Uint64(v[1:]), hash: hash(v[9:])}
		return true
	})
	if err != nil {
		return nil, err
	}
	if bad {
		return nil, errors.New("malformed vector")
	}
	for m, t := range j.tails {
		if t.kept, _, err = j.headBefore(m, t.seq); err != nil {
			return nil, err
		}
		t.head = t.kept
		j.adopt(m, t)
	}
	from, to = []byte{store.PrefixGossip, forkKeys}, []byte{store.PrefixGossip, forkKeys + 1}
	err = kv.Scan(from, to, func(k, v []byte) bool {
		if len(k) == 18 && len(v) == 8 {
			j.forks[store.MachineID(k[2:])] = binary.BigEndian.Uint64(v)
		}
		return true
	})
	return j, err
}

// adopt takes a tail for committed.
func (j *journal) adopt(m store.MachineID, t tail) {
	j.tails[m], j.vector[m] = t, t.seq
	if c := t.head; m == j.self {
		j.covered[m] = t.seq
	} else if c > 0 {
		j.covered[m] = c
	}
}

// headBefore returns the last head of m up to number n, or zeros.
func (j *journal) headBefore(m store.MachineID, n uint64) (seq uint64, head []byte, err error) {
	k, v, err := j.kv.Last(numbered(headKeys, m, 1), append(numbered(headKeys, m, n), 0))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil, nil
	}
	if err == nil && len(v) < len(hash{}) {
		err = errors.New("malformed head")
	}
	if err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint64(k[len(k)-8:]), v, nil
}

// tail returns the end of m's log, pending entries included.
func (j *journal) tail(m store.MachineID) tail {
	if t, ok := j.pending[m]; ok {
		return t
	}
	if t, ok := j.tails[m]; ok {
		return t
	}
	return tail{hash: start(m)}
}

// put writes entries, each the next of its machine, into tx.
func (j *journal) put(tx store.Txn, entries []Entry) error {
	touched := store.Vector{}
	for _, en := range entries {
		t := j.tail(en.Dot.Machine)
		if en.Dot.Machine.IsZero() || en.Dot.Seq != t.seq+1 {
			return fmt.Errorf("%w: %v, next is %d", ErrOrder, en.Dot, t.seq+1)
		}
		if len(en.Payload) > MaxPayload {
			return fmt.Errorf("gossip: entry %v: payload of %d bytes, at most %d", en.Dot, len(en.Payload), MaxPayload)
		}
		if err := tx.Set(entryKey(en.Dot), en.Payload); err != nil {
			return fmt.Errorf("gossip: entry %v: %w", en.Dot, err)
		}
		t.seq, t.hash = en.Dot.Seq, follow(t.hash, en.Dot, en.Payload)
		t.past, t.fresh = t.past+len(en.Payload), t.fresh+len(en.Payload)
		if err := j.keepHead(tx, en, &t); err != nil {
			return fmt.Errorf("gossip: head %v: %w", en.Dot, err)
		}
		j.pending[en.Dot.Machine] = t
		touched[en.Dot.Machine] = en.Dot.Seq
	}
	for _, m := range touched.Machines() {
		v := append(make([]byte, 0, 41), vectorFormat)
		v = binary.BigEndian.AppendUint64(v, touched[m])
		t := j.pending[m]
		if err := tx.Set(machineKey(vectorKeys, m), append(v, t.hash[:]...)); err != nil {
			return fmt.Errorf("gossip: vector: %w", err)
		}
	}
	return j.putForks(tx)
}

// keepHead writes the head that en may be. Of this machine's log a place in the
// chain is kept now and then, from which others are found; it signs what it sends.
func (j *journal) keepHead(tx store.Txn, en Entry, t *tail) error {
	far := t.seq-t.kept > maxSpan || t.past > maxSpanBytes
	if en.Dot.Machine == j.self {
		if !far {
			return nil
		}
		t.kept, t.head, t.past, t.fresh = t.seq, t.seq, 0, 0
		return tx.Set(numbered(headKeys, j.self, t.seq), t.hash[:])
	}
	if len(en.Seal) != sealSize {
		return nil
	}
	var err error
	switch {
	case t.head == t.kept: // nothing between
	case far:
		t.kept, t.past = t.head, t.fresh
	default:
		err = tx.Delete(numbered(headKeys, en.Dot.Machine, t.head))
	}
	t.head, t.fresh = t.seq, 0
	return errors.Join(err, tx.Set(numbered(headKeys, en.Dot.Machine, t.seq), append(t.hash[:], en.Seal...)))
}

func (j *journal) putForks(tx store.Txn) error {
	if !j.unsaved {
		return nil
	}
	for _, m := range j.forks.Machines() {
		if err := tx.Set(machineKey(forkKeys, m), binary.BigEndian.AppendUint64(nil, j.forks[m])); err != nil {
			return fmt.Errorf("gossip: fork: %w", err)
		}
	}
	return nil
}

// committed moves the vector and reports whether it moved.
func (j *journal) committed() bool {
	moved := len(j.pending) > 0
	for m, t := range j.pending {
		j.adopt(m, t)
		j.unsaved = false
	}
	clear(j.pending)
	return moved
}

func (j *journal) rollback() { clear(j.pending) }

// at returns the chain of m up to number n, which is committed.
func (j *journal) at(m store.MachineID, n uint64) (hash, error) {
	if t, ok := j.tails[m]; ok && t.seq == n {
		return t.hash, nil
	}
	if n > j.vector[m] {
		return hash{}, store.ErrNotFound
	}
	seq, head, err := j.headBefore(m, n)
	if err != nil {
		return hash{}, err
	}
	h := start(m)
	if seq > 0 {
		h = hash(head[:len(h)])
	}
	if seq == n {
		return h, nil
	}
	err = j.kv.Scan(numbered(entryKeys, m, seq+1), append(numbered(entryKeys, m, n), 0), func(k, v []byte) bool {
		seq++
		h = follow(h, store.Dot{Machine: m, Seq: seq}, v)
		return true
	})
	if err == nil && seq != n {
		err = store.ErrNotFound
	}
	return h, err
}

// read returns committed entries of m from number first on that lie under a head,
// until their bytes reach limit: as many as fit, or as the first head covers. Of
// this machine it returns them without a seal.
func (j *journal) read(m store.MachineID, first uint64, limit int) (r run, size int, err error) {
	if r, size, err = j.payloads(m, first, j.covered[m], limit); err != nil || len(r.Payloads) == 0 {
		return r, 0, err
	}
	if m != j.self {
		seq, head, herr := j.headBefore(m, r.last())
		if herr != nil {
			return r, 0, herr
		}
		if seq < first { // one head covers more than limit
			if seq, head, err = j.headAfter(m, r.last()); err != nil || seq == 0 {
				return run{}, 0, err
			}
			if r, size, err = j.payloads(m, first, seq, maxRun); err != nil || r.last() != seq {
				return run{}, 0, errors.Join(err, store.ErrNotFound)
			}
		}
		for r.last() > seq {
			n := len(r.Payloads) - 1
			size -= len(r.Payloads[n]) + perEntry
			r.Payloads = r.Payloads[:n]
		}
		r.Seal = head[len(hash{}):]
	}
	r.Before, err = j.at(m, first-1)
	return r, size, err
}

// headAfter returns the first head of m behind number n, or zeros.
func (j *journal) headAfter(m store.MachineID, n uint64) (seq uint64, head []byte, err error) {
	err = j.kv.Scan(numbered(headKeys, m, n+1), append(numbered(headKeys, m, j.vector[m]), 0), func(k, v []byte) bool {
		seq, head = binary.BigEndian.Uint64(k[len(k)-8:]), append([]byte{}, v...)
		return false
	})
	if err == nil && seq > 0 && len(head) < len(hash{}) {
		err = errors.New("malformed head")
	}
	return seq, head, err
}

// payloads returns entries of m from first up to last, until their bytes reach
// limit; at least one if there is one.
func (j *journal) payloads(m store.MachineID, first, last uint64, limit int) (r run, size int, err error) {
	r = run{Machine: m, First: first}
	if last < first {
		return r, 0, nil
	}
	err = j.kv.Scan(numbered(entryKeys, m, first), append(numbered(entryKeys, m, last), 0), func(k, v []byte) bool {
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
	heads := map[uint64][]byte{}
	err := r.Scan(numbered(headKeys, m, after+1), beyond(headKeys, m), func(k, v []byte) bool {
		if len(v) == len(hash{})+sealSize {
			heads[binary.BigEndian.Uint64(k[len(k)-8:])] = append([]byte{}, v[len(hash{}):]...)
		}
		return true
	})
	if err == nil {
		err = r.Scan(numbered(entryKeys, m, after+1), beyond(entryKeys, m), func(k, v []byte) bool {
			seq := binary.BigEndian.Uint64(k[len(k)-8:])
			return f(Entry{Dot: store.Dot{Machine: m, Seq: seq}, Payload: append([]byte{}, v...), Seal: heads[seq]})
		})
	}
	if err != nil {
		return fmt.Errorf("gossip: entries: %w", err)
	}
	return nil
}

// beyond returns a key after all of the kind and machine.
func beyond(kind byte, m store.MachineID) []byte {
	return append(numbered(kind, m, 1<<64-1), 0)
}

// forked notes that m has written two logs, and reports whether that is new.
func (j *journal) forked(m store.MachineID, n uint64) bool {
	if _, ok := j.forks[m]; ok || len(j.forks) >= MaxMachines {
		return false
	}
	j.forks = maps.Clone(j.forks)
	j.forks[m], j.unsaved = n, true
	return true
}
