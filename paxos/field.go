package paxos

import "encoding/binary"

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

// ballot takes a ballot. One near the end of all rounds is refused: nobody gets there
// one by one, and there must be a higher one.
func (r *reader) ballot() Ballot {
	b := Ballot{r.uint(), NodeID(r.uint())}
	if b.Round > maxRound {
		r.fail()
	}
	return b
}

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
