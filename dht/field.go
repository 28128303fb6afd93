package dht

import (
	"encoding/binary"
	"net/netip"
)

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) kind(k byte)    { w.b = append(w.b, k) }
func (w *writer) uint(v uint64)  { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) fixed(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

// peer writes a peer. A zone means something to its own machine only, and is not
// written.
func (w *writer) peer(p Peer) {
	w.b = append(w.b, p.ID[:]...)
	w.uint(p.Incarnation)
	a := p.Address.Addr().WithZone("").AsSlice()
	w.b = append(w.b, byte(len(a)))
	w.b = append(w.b, a...)
	if len(a) > 0 {
		w.b = binary.BigEndian.AppendUint16(w.b, p.Address.Port())
	}
}

func (w *writer) peers(list []Peer) {
	w.uint(uint64(len(list)))
	for _, p := range list {
		w.peer(p)
	}
}

// reader takes fields from the front of b. After the first mistake all it gives is
// zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail()
	}
	return v == 1
}

func (r *reader) fixed() uint64 {
	if v := r.bytes(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.bytes(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// uint takes a number in its shortest form; others are refused, so that what was
// parsed is written as it was.
func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) id() (a ID) {
	copy(a[:], r.bytes(len(a)))
	return a
}

func (r *reader) peer() (p Peer) {
	p.ID, p.Incarnation = r.id(), r.uint()
	switch n := r.byte(); n {
	case 0:
	case 4, 16:
		a, _ := netip.AddrFromSlice(r.bytes(int(n)))
		if v := r.bytes(2); v != nil {
			p.Address = netip.AddrPortFrom(a, binary.BigEndian.Uint16(v))
		}
	default:
		r.fail()
	}
	return p
}

// shortest is the length of the shortest peer.
const shortest = 22

func (r *reader) count(limit int) int {
	v := r.uint()
	if v > uint64(limit) || v*shortest > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) peers(limit int) []Peer {
	n := r.count(limit)
	if n == 0 {
		return nil
	}
	list := make([]Peer, n)
	for i := range list {
		list[i] = r.peer()
	}
	return list
}
