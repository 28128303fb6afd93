package sim

import (
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	"github.com/aether-lan/aether/paxos"
)

// action is what a command does to a key.
type action byte

const (
	get action = iota + 1
	put
	swap // compare and swap
	count
)

var actionNames = [...]string{"", "get", "put", "cas", "incr"}

func (a action) String() string { return actionNames[a] }

// command is a client's request as it is proposed.
type command struct {
	client, seq uint64
	action      action
	key         byte
	value, old  uint64
}

func (c command) encode() []byte {
	b := make([]byte, 0, 24)
	b = binary.AppendUvarint(b, c.client)
	b = binary.AppendUvarint(b, c.seq)
	b = append(b, byte(c.action), c.key)
	b = binary.AppendUvarint(b, c.value)
	return binary.AppendUvarint(b, c.old)
}

func decode(b []byte) (c command) {
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return v
	}
	c.client, c.seq = next(), next()
	c.action, c.key = action(b[0]), b[1]
	b = b[2:]
	c.value, c.old = next(), next()
	return c
}

// session is what the state keeps of a client: its last command, so that it is
// applied once however often it is chosen.
type session struct{ seq, reply uint64 }

// machine is the replicated state: numbers by key, and sessions.
type machine struct {
	slot     paxos.Slot
	members  paxos.Membership
	values   map[byte]uint64
	sessions map[uint64]session
	commands uint64 // applied, repetitions counted
}

func newMachine(m paxos.Membership) *machine {
	return &machine{members: m, values: map[byte]uint64{}, sessions: map[uint64]session{}}
}

func (m *machine) clone() *machine {
	c := *m
	c.values, c.sessions = maps.Clone(m.values), maps.Clone(m.sessions)
	return &c
}

// apply applies the next entry and returns its command, if it is one, and the reply.
func (m *machine) apply(e paxos.Entry, twice bool) (c command, reply uint64) {
	m.slot = e.Slot
	switch e.Kind {
	case paxos.Change:
		if v, err := e.Membership(); err == nil {
			m.members = v
		}
		return c, 0
	case paxos.Noop:
		return c, 0
	}
	c = decode(e.Value)
	m.commands++
	s := m.sessions[c.client]
	if c.seq <= s.seq && !twice {
		return c, s.reply
	}
	reply = m.do(c)
	m.sessions[c.client] = session{c.seq, reply}
	return c, reply
}

func (m *machine) do(c command) uint64 {
	old := m.values[c.key]
	switch c.action {
	case put:
		m.values[c.key] = c.value
	case swap:
		if old != c.old {
			return 0
		}
		m.values[c.key] = c.value
		return 1
	case count:
		m.values[c.key] = old + 1
		return old + 1
	}
	return old
}

// hash is of all of the state, the membership too.
func (m *machine) hash() uint64 {
	h := fnv.New64a()
	var b []byte
	for _, k := range slices.Sorted(maps.Keys(m.values)) {
		b = binary.AppendUvarint(append(b, k), m.values[k])
	}
	for _, k := range slices.Sorted(maps.Keys(m.sessions)) {
		b = binary.AppendUvarint(b, k)
		b = binary.AppendUvarint(b, m.sessions[k].seq)
		b = binary.AppendUvarint(b, m.sessions[k].reply)
	}
	b = binary.AppendUvarint(b, m.commands)
	b = binary.AppendUvarint(b, uint64(m.members.Slot))
	if m.members.Slot > 0 { // the first one differs between those who were members and those who joined
		b = m.members.Append(b)
	}
	h.Write(b)
	return h.Sum64() | 1
}

func keyName(k byte) string { return string(rune('a'+k%26)) + strconv.Itoa(int(k/26)) }
