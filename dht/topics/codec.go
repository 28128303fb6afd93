package topics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/wire"
)

// The bytes of a message: one for its kind, then its fields, each as
//
//	number (varint)  length (varint)  value
//
// A field of value zero is left out and one of an unknown number is passed over, so
// that newer programs may add fields. Integers are varints of the least length;
// durations are microseconds; an ID is its 20 bytes.

// ErrMalformed reports bytes that are no message.
var ErrMalformed = errors.New("malformed message")

// kind is the byte that stands for a message's type.
type kind uint8

const (
	kindRequest kind = 1 + iota
	kindReply
	kindAttach
	kindAttached
	kindRedirect
	kindDetach
	kindForward
	kindAck
	kindOffer
	kindOutcome
)

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) uint(n int, v uint64) {
	if v == 0 {
		return
	}
	w.b = binary.AppendUvarint(w.b, uint64(n))
	w.b = binary.AppendUvarint(w.b, uint64((bits.Len64(v)+6)/7))
	w.b = binary.AppendUvarint(w.b, v)
}

func (w *writer) bool(n int, v bool) {
	if v {
		w.uint(n, 1)
	}
}

func (w *writer) bytes(n int, v []byte) {
	if len(v) > 0 {
		w.b = wire.AppendCounted(binary.AppendUvarint(w.b, uint64(n)), v)
	}
}

func (w *writer) text(n int, v string) { w.bytes(n, []byte(v)) }

func (w *writer) time(n int, v time.Duration) {
	w.uint(n, uint64(min(max(v, 0), maxWait)/time.Microsecond))
}

func (w *writer) id(n int, v dht.ID) {
	if v != (dht.ID{}) {
		w.bytes(n, v[:])
	}
}

func (w *writer) position(n int, v Position) {
	if v != (Position{}) {
		w.bytes(n, binary.AppendUvarint(binary.AppendUvarint(nil, v.Epoch), v.Seq))
	}
}

func (w *writer) request(n int, v RequestID) {
	if v != (RequestID{}) {
		w.bytes(n, binary.AppendUvarint(binary.AppendUvarint(v.From[:len(v.From):len(v.From)], v.Incarnation), v.Number))
	}
}

func (w *writer) peer(n int, p dht.Peer) {
	if p == (dht.Peer{}) {
		return
	}
	b := binary.AppendUvarint(p.ID[:len(p.ID):len(p.ID)], p.Incarnation)
	addr, _ := p.Address.MarshalBinary() // fails never
	w.bytes(n, append(b, addr...))
}

func (w *writer) ids(n int, list []dht.ID) {
	var b []byte
	for _, v := range list {
		b = append(b, v[:]...)
	}
	w.bytes(n, b)
}

// value is the value of one field. What is wrong with it sticks to the reader of the
// message.
type value struct {
	b   []byte
	msg *wire.Reader
}

func (v value) fail() { v.msg.Fail(ErrMalformed) }

// uvarint reads an integer and fails on one that is not of the least length.
func uvarint(r *wire.Reader) uint64 {
	before := r.Len()
	x := r.Uvarint()
	if n := before - r.Len(); r.Err() == nil && n != max((bits.Len64(x)+6)/7, 1) {
		r.Fail(ErrMalformed)
	}
	return x
}

func (v value) read(f func(r *wire.Reader)) {
	r := wire.NewReader(v.b)
	f(r)
	if r.End() != nil {
		v.fail()
	}
}

func (v value) uint() (x uint64) {
	v.read(func(r *wire.Reader) { x = uvarint(r) })
	return x
}

func (v value) bool() bool {
	x := v.uint()
	if x > 1 {
		v.fail()
	}
	return x == 1
}

// bytes returns a value of at most limit bytes; it is not copied.
func (v value) bytes(limit int) []byte {
	if len(v.b) > limit {
		v.fail()
		return nil
	}
	if len(v.b) == 0 {
		return nil
	}
	return v.b
}

func (v value) text(limit int) string { return string(v.bytes(limit)) }

// maxWait bounds the durations that others name.
const maxWait = time.Hour

func (v value) time() time.Duration {
	x := v.uint()
	if x > uint64(maxWait/time.Microsecond) {
		v.fail()
		return 0
	}
	return time.Duration(x) * time.Microsecond
}

func (v value) id() (id dht.ID) {
	v.read(func(r *wire.Reader) { copy(id[:], r.Bytes(len(id))) })
	return id
}

func (v value) position() (p Position) {
	v.read(func(r *wire.Reader) { p = Position{uvarint(r), uvarint(r)} })
	if p.Epoch >= maxEpoch || p.Seq >= maxEpoch {
		v.fail()
	}
	return p
}

func (v value) request() (q RequestID) {
	v.read(func(r *wire.Reader) {
		copy(q.From[:], r.Bytes(len(q.From)))
		q.Incarnation, q.Number = uvarint(r), uvarint(r)
	})
	return q
}

func (v value) peer() (p dht.Peer) {
	v.read(func(r *wire.Reader) {
		copy(p.ID[:], r.Bytes(len(p.ID)))
		p.Incarnation = uvarint(r)
		var a netip.AddrPort
		if n := r.Len(); n > 0 {
			// Zones are names of the interfaces of another machine; no address has one.
			if b := r.Rest(); n > 18 || a.UnmarshalBinary(b) != nil {
				r.Fail(ErrMalformed)
			}
		}
		p.Address = a
	})
	return p
}

func (v value) ids(limit int) (list []dht.ID) {
	if len(v.b)%len(dht.ID{}) != 0 || len(v.b) > limit*len(dht.ID{}) {
		v.fail()
		return nil
	}
	for b := v.b; len(b) > 0; b = b[len(dht.ID{}):] {
		list = append(list, dht.ID(b))
	}
	return list
}

// AppendMessage appends the encoded message to b.
func AppendMessage(b []byte, m Message) []byte {
	w := writer{append(b, byte(m.kind()))}
	m.write(&w)
	return w.b
}

// ParseMessage reads a message. It keeps slices of b: the payload is not copied. It
// fails with [ErrMalformed] on bytes that are none, or that pass a bound.
func ParseMessage(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return nil, fmt.Errorf("topics: %d bytes: %w", len(b), ErrMalformed)
	}
	m, set := newMessage(kind(b[0]))
	if set == nil {
		return nil, fmt.Errorf("topics: message of kind %d: %w", b[0], ErrMalformed)
	}
	r := wire.NewReader(b[1:])
	for r.Err() == nil && r.Len() > 0 {
		n := uvarint(r)
		set(n, value{r.Counted(MaxPayload), r})
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("topics: message of kind %d: %w: %w", b[0], ErrMalformed, err)
	}
	return m(), nil
}

// newMessage returns what reads a message of a kind: set takes its fields, m returns
// it when all are taken.
func newMessage(k kind) (m func() Message, set func(n uint64, v value)) {
	switch k {
	case kindRequest:
		return reads[Request]((*Request).set)
	case kindReply:
		return reads[Reply]((*Reply).set)
	case kindAttach:
		return reads[Attach]((*Attach).set)
	case kindAttached:
		return reads[Attached]((*Attached).set)
	case kindRedirect:
		return reads[Redirect]((*Redirect).set)
	case kindDetach:
		return reads[Detach]((*Detach).set)
	case kindForward:
		return reads[Forward]((*Forward).set)
	case kindAck:
		return reads[Ack]((*Ack).set)
	case kindOffer:
		return reads[Offer]((*Offer).set)
	case kindOutcome:
		return reads[Outcome]((*Outcome).set)
	}
	return nil, nil
}

func reads[M Message](set func(*M, uint64, value)) (func() Message, func(uint64, value)) {
	m := new(M)
	return func() Message { return *m }, func(n uint64, v value) { set(m, n, v) }
}
