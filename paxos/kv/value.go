package kv

import (
	"encoding/binary"
	"errors"

	"github.com/aether-lan/aether/paxos"
)

// Value is what a key has.
type Value struct {
	Value []byte
	// Version is the slot of the command that set it.
	Version paxos.Slot
	// Created is the slot of the command that made the key.
	Created paxos.Slot
	Lease   uint64 // 0: none
}

// errState reports a state that this program did not write.
var errState = errors.New("kv: malformed state")

func (v Value) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(v.Version))
	b = binary.AppendUvarint(b, uint64(v.Created))
	return append(binary.AppendUvarint(b, v.Lease), v.Value...)
}

func parseValue(b []byte) (Value, error) {
	r := reader{b: b}
	v := Value{Version: paxos.Slot(r.uint()), Created: paxos.Slot(r.uint()), Lease: r.uint()}
	v.Value = r.b
	if r.bad {
		return Value{}, errState
	}
	return v, nil
}

// session is what is kept of a client.
type session struct {
	number uint64     // of the last command
	result []byte     // the answer to it
	active paxos.Slot // about when it was made: see Machine.touch
	held   *held      // where it is in memory
}

func (s session) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.number)
	b = binary.AppendUvarint(b, uint64(s.active))
	return append(b, s.result...)
}

func parseSession(b []byte) (session, error) {
	r := reader{b: b}
	s := session{number: r.uint(), active: paxos.Slot(r.uint())}
	s.result = r.b
	if r.bad {
		return session{}, errState
	}
	return s, nil
}

// lease is a lease's length and end, in milliseconds.
type lease struct{ ttl, ends uint64 }

func (l lease) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, l.ttl), l.ends)
}

func parseLease(b []byte) (lease, error) {
	r := reader{b: b}
	l := lease{r.uint(), r.uint()}
	if r.bad || len(r.b) > 0 {
		return lease{}, errState
	}
	return l, nil
}

// counts is what is known of the whole state.
type counts struct {
	time     uint64 // milliseconds since 1970
	hash     uint64
	sessions uint64
	leases   uint64
	keys     uint64
	bytes    uint64 // of keys and values
}

func (c counts) append(b []byte) []byte {
	for _, v := range []uint64{c.time, c.hash, c.sessions, c.leases, c.keys, c.bytes} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func parseCounts(b []byte) (c counts, err error) {
	r := reader{b: b}
	for _, v := range []*uint64{&c.time, &c.hash, &c.sessions, &c.leases, &c.keys, &c.bytes} {
		*v = r.uint()
	}
	if r.bad || len(r.b) > 0 {
		return counts{}, errState
	}
	return c, nil
}

var keyCounts = []byte{'c'}

func keyValue(key []byte) []byte       { return append([]byte{'k'}, key...) }
func keySession(c Client) []byte       { return append([]byte{'s'}, c[:]...) }
func keyLease(id uint64) []byte        { return binary.BigEndian.AppendUint64([]byte{'l'}, id) }
func keyEnd(ms, id uint64) []byte      { return number(number([]byte{'x'}, ms), id) }
func number(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(b, n) }

func keyActive(s paxos.Slot, c Client) []byte {
	return append(number([]byte{'o'}, uint64(s)), c[:]...)
}

func keyOfLease(id uint64, key []byte) []byte { return append(number([]byte{'a'}, id), key...) }

// StoredPair returns the key and value of the map that a pair of a Store stands for;
// ok is false for what else is stored there.
func StoredPair(key, value []byte) (k []byte, v Value, ok bool, err error) {
	if len(key) == 0 || key[0] != 'k' {
		return nil, Value{}, false, nil
	}
	v, err = parseValue(value)
	return key[1:], v, err == nil, err
}
