package paxos

import (
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
