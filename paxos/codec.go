package paxos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The bytes of a message, integers as unsigned varints:
//
//	version type flags cluster[16] from to incarnation body
//
// A bool is one byte, a slice its length and its elements. The bodies are their
// fields in order; entries of Accept and Promise have slots that count up.

// version is the first byte of a message. A node drops what is of another one.
const version = 1

// MaxMessage bounds the bytes of an encoded message. A Promise tells all that was
// accepted and not known as chosen, which Limits.Unchosen bounds.
const MaxMessage = 64 << 20

// Errors of parsing.
var (
	// ErrVersion: the message is of a version that this program does not speak.
	ErrVersion = errors.New("message of another version")
	// ErrMalformed: the message cannot be read.
	ErrMalformed = errors.New("malformed message")
)

const flagConfirmed = 1

// Append appends the encoded message to b.
func (m Message) Append(b []byte) []byte {
	w := writer{append(b, version, byte(m.Body.body()), flags(m))}
	w.b = append(w.b, m.Cluster[:]...)
	w.uint(uint64(m.From), uint64(m.To), uint64(m.Incarnation))
	switch v := m.Body.(type) {
	case Hello:
		w.uint(uint64(v.Chosen))
		w.bool(v.Asking)
	case HelloReply:
		w.uint(uint64(v.Known))
		w.bool(v.Formed)
	case Poll:
		w.ballot(v.Ballot)
		w.uint(uint64(v.Chosen))
	case PollReply:
		w.ballot(v.Ballot)
		w.bool(v.Granted)
		w.ballot(v.Highest)
		w.uint(uint64(v.Chosen), uint64(v.Leader))
	case Prepare:
		w.ballot(v.Ballot)
		w.uint(uint64(v.First))
		w.ballot(v.TakeOver)
	case Promise:
		w.promise(v)
	case Accept:
		w.accept(v)
	case Accepted:
		w.ballot(v.Ballot)
		w.uint(uint64(v.Through), uint64(v.Chosen), v.Round, uint64(v.Applied), uint64(v.Want))
	case Nack:
		w.ballot(v.Ballot)
		w.ballot(v.Promised)
	case CatchUp:
		w.uint(uint64(v.First))
	case CaughtUp:
		w.uint(uint64(v.Chosen))
		w.entries(v.Entries, true)
	case Offer:
		w.snapshot(v.Snapshot)
	case TakeOver:
		w.ballot(v.Ballot)
	case Removed:
		w.uint(uint64(v.Slot))
	}
	return w.b
}

func flags(m Message) byte {
	if m.Confirmed {
		return flagConfirmed
	}
	return 0
}

// ParseMessage reads a message. Its values are parts of b.
func ParseMessage(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return Message{}, fmt.Errorf("paxos: parse: %d bytes: %w", len(b), ErrMalformed)
	}
	if b[0] != version {
		return Message{}, fmt.Errorf("paxos: parse: version %d: %w", b[0], ErrVersion)
	}
	r := reader{b: b[1:]}
	k, fl := kind(r.byte()), r.byte()
	m := Message{Confirmed: fl == flagConfirmed}
	if fl > flagConfirmed {
		r.fail()
	}
	copy(m.Cluster[:], r.bytes(16))
	m.From, m.To, m.Incarnation = NodeID(r.uint()), NodeID(r.uint()), Incarnation(r.uint())
	m.Body = r.body(k)
	if r.bad || len(r.b) > 0 || m.Body == nil {
		return Message{}, fmt.Errorf("paxos: parse: type %d, %d bytes: %w", k, len(b), ErrMalformed)
	}
	return m, nil
}

func (r *reader) body(k kind) Body {
	switch k {
	case kindHello:
		return Hello{r.slot(), r.bool()}
	case kindHelloReply:
		return HelloReply{Incarnation(r.uint()), r.bool()}
	case kindPoll:
		return Poll{r.ballot(), r.slot()}
	case kindPollReply:
		return PollReply{r.ballot(), r.bool(), r.ballot(), r.slot(), NodeID(r.uint())}
	case kindPrepare:
		return Prepare{r.ballot(), r.slot(), r.ballot()}
	case kindPromise:
		return r.promise()
	case kindAccept:
		return r.accept()
	case kindAccepted:
		return Accepted{r.ballot(), r.slot(), r.slot(), r.uint(), r.slot(), r.slot()}
	case kindNack:
		return Nack{r.ballot(), r.ballot()}
	case kindCatchUp:
		return CatchUp{r.slot()}
	case kindCaughtUp:
		return CaughtUp{Chosen: r.slot(), Entries: r.entries(0, Ballot{}, true)}
	case kindOffer:
		return Offer{r.snapshot()}
	case kindTakeOver:
		return TakeOver{r.ballot()}
	case kindRemoved:
		return Removed{r.slot()}
	}
	return nil
}

func (w *writer) promise(p Promise) {
	w.ballot(p.Ballot)
	w.uint(uint64(p.Chosen), uint64(p.Snapshot))
	w.entries(p.Accepted, true)
}

func (r *reader) promise() Promise {
	return Promise{Ballot: r.ballot(), Chosen: r.slot(), Snapshot: r.slot(), Accepted: r.entries(0, Ballot{}, true)}
}

func (w *writer) accept(a Accept) {
	w.ballot(a.Ballot)
	w.uint(uint64(a.First), uint64(a.Chosen), a.Round, uint64(a.Lease), uint64(a.HashSlot), a.Hash)
	w.entries(a.Entries, false)
}

func (r *reader) accept() Accept {
	a := Accept{Ballot: r.ballot(), First: r.slot(), Chosen: r.slot(), Round: r.uint()}
	lease := r.uint()
	if lease > uint64(time.Hour) {
		r.fail()
	}
	a.Lease, a.HashSlot, a.Hash = time.Duration(lease), r.slot(), r.uint()
	a.Entries = r.entries(a.First, a.Ballot, false)
	return a
}

// Append appends the encoded entry: slot, ballot, kind and value.
func (e Entry) Append(b []byte) []byte {
	w := writer{b}
	w.entry(e)
	return w.b
}

// ParseEntry reads what Entry.Append wrote, and returns what follows it. The value
// is a part of b.
func ParseEntry(b []byte) (Entry, []byte, error) {
	r := reader{b: b}
	e := r.entry()
	if r.bad {
		return Entry{}, nil, fmt.Errorf("paxos: parse entry: %w", ErrMalformed)
	}
	return e, r.b, nil
}

// Append appends the encoded membership, without its Slot.
func (m Membership) Append(b []byte) []byte {
	w := writer{b}
	w.members(m)
	return w.b
}

// ParseMembership reads what Membership.Append wrote, all of b.
func ParseMembership(b []byte) (Membership, error) {
	r := reader{b: b}
	m := r.members()
	if r.bad || len(r.b) > 0 {
		return Membership{}, fmt.Errorf("paxos: parse membership: %w", ErrMalformed)
	}
	if err := m.check(); err != nil {
		return Membership{}, fmt.Errorf("paxos: parse membership: %w", err)
	}
	return m, nil
}

// Append appends the encoded snapshot description.
func (s Snapshot) Append(b []byte) []byte {
	w := writer{b}
	w.snapshot(s)
	return w.b
}

// ParseSnapshot reads what Snapshot.Append wrote, all of b.
func ParseSnapshot(b []byte) (Snapshot, error) {
	r := reader{b: b}
	s := r.snapshot()
	if r.bad || len(r.b) > 0 {
		return Snapshot{}, fmt.Errorf("paxos: parse snapshot: %w", ErrMalformed)
	}
	return s, nil
}

// Append appends the encoded acceptor state.
func (h Hard) Append(b []byte) []byte {
	w := writer{append(b, version)}
	w.uint(uint64(h.Incarnation))
	w.bool(h.Confirmed)
	w.ballot(h.Promised)
	w.uint(uint64(h.Chosen), uint64(len(h.Bound)))
	for _, v := range h.Bound {
		w.uint(uint64(v.ID), uint64(v.Incarnation))
	}
	return w.b
}

// ParseHard reads what Hard.Append wrote, all of b.
func ParseHard(b []byte) (Hard, error) {
	r := reader{b: b}
	if r.byte() != version {
		return Hard{}, fmt.Errorf("paxos: parse acceptor state: %w", ErrVersion)
	}
	h := Hard{Incarnation: Incarnation(r.uint()), Confirmed: r.bool(), Promised: r.ballot(), Chosen: r.slot()}
	n := r.count(maxBound)
	for range n {
		h.Bound = append(h.Bound, Binding{NodeID(r.uint()), Incarnation(r.uint())})
	}
	if r.bad || len(r.b) > 0 {
		return Hard{}, fmt.Errorf("paxos: parse acceptor state: %w", ErrMalformed)
	}
	return h, nil
}

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) uint(list ...uint64) {
	for _, v := range list {
		w.b = binary.AppendUvarint(w.b, v)
	}
}

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

func (w *writer) ballot(b Ballot) { w.uint(b.Round, uint64(b.Node)) }

func (w *writer) entry(e Entry) {
	w.uint(uint64(e.Slot))
	w.ballot(e.Ballot)
	w.b = append(w.b, byte(e.Kind))
	w.uint(uint64(len(e.Value)))
	w.b = append(w.b, e.Value...)
}

// entries writes a list: whole entries, or kinds and values where the rest follows
// from the message. Of the latter, one number is length and kind: most commands are
// short, so one byte stands before them.
func (w *writer) entries(list []Entry, whole bool) {
	w.uint(uint64(len(list)))
	for _, e := range list {
		if whole {
			w.entry(e)
			continue
		}
		w.uint(uint64(len(e.Value))<<2 | uint64(e.Kind))
		w.b = append(w.b, e.Value...)
	}
}

func (w *writer) members(m Membership) {
	w.uint(uint64(m.AcceptQuorum), uint64(len(m.Members)))
	for _, v := range m.Members {
		w.uint(uint64(v.ID), uint64(v.Incarnation))
		w.bool(v.Learner)
		w.bool(v.Promote)
		w.uint(uint64(len(v.Addr)))
		w.b = append(w.b, v.Addr...)
	}
}

func (w *writer) snapshot(s Snapshot) {
	w.uint(uint64(s.Slot), uint64(s.Members.Slot), s.Size)
	w.b = append(w.b, s.Sum[:]...)
	w.members(s.Members)
}

// reader takes fields from the front of b. After the first mistake all it gives is
// zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.bytes(1); v != nil {
		return v[0]
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

func (r *reader) slot() Slot { return Slot(r.uint()) }

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail()
	}
	return v == 1
}

func (r *reader) ballot() Ballot { return Ballot{r.uint(), NodeID(r.uint())} }

// count takes the length of a list; each element has at least one byte.
func (r *reader) count(limit int) int {
	v := r.uint()
	if v > uint64(len(r.b)) || v > uint64(limit) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) value(n uint64) []byte {
	if n > maxEncodedValue {
		r.fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	return r.bytes(int(n))
}

// maxEncodedValue bounds a value on the wire: a Change may be larger than its like.
const maxEncodedValue = MaxValue

func (r *reader) entry() Entry {
	e := Entry{Slot: r.slot(), Ballot: r.ballot(), Kind: r.kind(r.byte())}
	e.Value = r.value(r.uint())
	return e
}

func (r *reader) kind(b byte) Kind {
	if b > byte(Change) {
		r.fail()
	}
	return Kind(b)
}

func (r *reader) entries(first Slot, b Ballot, whole bool) []Entry {
	n := r.count(len(r.b))
	if n == 0 {
		return nil
	}
	list := make([]Entry, 0, min(n, 4096))
	for i := range n {
		if r.bad {
			return nil
		}
		if whole {
			list = append(list, r.entry())
			continue
		}
		v := r.uint()
		e := Entry{Slot: first + Slot(i), Ballot: b, Kind: r.kind(byte(v & 3))}
		e.Value = r.value(v >> 2)
		list = append(list, e)
	}
	return list
}

func (r *reader) members() (m Membership) {
	q := r.uint()
	if q > MaxMembers {
		r.fail()
	}
	m.AcceptQuorum = int(q)
	for range r.count(MaxMembers) {
		v := Member{ID: NodeID(r.uint()), Incarnation: Incarnation(r.uint()), Learner: r.bool(), Promote: r.bool()}
		n := r.uint()
		if n > maxAddr {
			r.fail()
		}
		v.Addr = string(r.bytes(int(min(n, maxAddr))))
		m.Members = append(m.Members, v)
	}
	return m
}

func (r *reader) snapshot() Snapshot {
	s := Snapshot{Slot: r.slot()}
	at := r.slot()
	s.Size = r.uint()
	copy(s.Sum[:], r.bytes(len(s.Sum)))
	s.Members = r.members()
	s.Members.Slot = at
	return s
}
