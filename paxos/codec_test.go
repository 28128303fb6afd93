package paxos

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"
)

// bodies has one of every message.
func bodies() []Body {
	b := Ballot{Round: 1 << 40, Node: 3}
	e := []Entry{{Slot: 7, Ballot: b, Value: []byte("x")}, {Slot: 8, Ballot: b, Kind: Noop}, {Slot: 9, Ballot: b, Kind: Change, Value: []byte{1}}}
	m := Membership{Slot: 5, AcceptQuorum: 2, Members: []Member{{ID: 1, Addr: "a:1"}, {ID: 9, Incarnation: 77, Learner: true, Promote: true}}}
	return []Body{
		Hello{Chosen: 4, Asking: true}, HelloReply{Known: 1 << 63, Formed: true},
		Poll{b, 3}, PollReply{b, true, b, 3, 2},
		Prepare{b, 4, Ballot{1, 1}}, Promise{Ballot: b, Chosen: 6, Snapshot: 3, Accepted: e}, Promise{Ballot: b},
		Accept{Ballot: b, First: 7, Entries: e, Chosen: 6, Round: 9, Lease: time.Second, HashSlot: 4, Hash: 1 << 63}, Accept{Ballot: b, First: 7},
		Accepted{b, 8, 6, 9, 5, 9}, Nack{b, b}, CatchUp{4}, CaughtUp{Entries: e, Chosen: 9},
		Offer{Snapshot{Slot: 9, Members: m, Size: 1 << 33, Sum: [32]byte{1, 2}}}, TakeOver{b}, Removed{12},
	}
}

func TestMessage_BothWays(t *testing.T) {
	for _, b := range bodies() {
		m := Message{From: 1, To: 2, Cluster: ClusterID{1, 2, 3}, Incarnation: 1 << 62, Confirmed: true, Body: b}
		raw := m.Append(nil)
		got, err := ParseMessage(raw)
		if err != nil {
			t.Errorf("%T: %v", b, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, want %+v", b, got, m)
		}
		for cut := range raw {
			if _, err := ParseMessage(raw[:cut]); err == nil {
				t.Errorf("%T: %d of %d bytes are a message", b, cut, len(raw))
			}
		}
		if _, err := ParseMessage(append(raw, 0)); err == nil {
			t.Errorf("%T: a byte too many is taken", b)
		}
		raw[0] = version + 1
		if _, err := ParseMessage(raw); !errors.Is(err, ErrVersion) {
			t.Errorf("%T of a future version: %v", b, err)
		}
	}
}

// Lengths that a message only claims must not cost memory.
func TestMessage_LengthsThatAreNotThere(t *testing.T) {
	m := Message{From: 1, To: 2, Body: CaughtUp{Chosen: 1}}
	raw := m.Append(nil)
	raw = append(raw[:len(raw)-1], 0xff, 0xff, 0xff, 0xff, 0x0f)
	if n := testing.AllocsPerRun(10, func() {
		if _, err := ParseMessage(raw); err == nil {
			t.Fatal("a list of 4294967295 entries in no bytes is taken")
		}
	}); n > 10 {
		t.Errorf("%v allocations for a message that is refused", n)
	}
}

func TestMessage_ValuesOfEverySize(t *testing.T) {
	for _, size := range []int{0, 1, 63, 64, MaxValue} {
		e := Entry{Slot: 1, Ballot: Ballot{1, 1}}
		if size > 0 {
			e.Value = bytes.Repeat([]byte{7}, size)
		}
		m := Message{From: 1, To: 2, Body: Accept{Ballot: e.Ballot, First: 1, Entries: []Entry{e}}}
		got, err := ParseMessage(m.Append(nil))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("a value of %d bytes: %v", size, err)
		}
	}
	m := Message{From: 1, To: 2, Body: Accept{First: 1, Entries: []Entry{{Slot: 1, Value: make([]byte, MaxValue+1)}}}}
	if _, err := ParseMessage(m.Append(nil)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a value over the limit: %v", err)
	}
}

// A round after which there is none must not be believed: the next ballot would be
// below all.
func TestMessage_LastRoundIsRefused(t *testing.T) {
	for _, b := range []Body{Nack{Promised: Ballot{1<<64 - 1, 1}}, Prepare{Ballot: Ballot{1<<64 - 1, 1}}, Poll{Ballot: Ballot{1<<62 + 1, 1}}} {
		if _, err := ParseMessage(Message{From: 1, To: 2, Body: b}.Append(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// What a follower's wire carries beside a command of a batch: two bytes at most.
func TestMessage_OverheadOfACommand(t *testing.T) {
	var list []Entry
	for i := range 64 {
		list = append(list, Entry{Slot: Slot(i + 1), Ballot: Ballot{1, 1}, Value: make([]byte, 16)})
	}
	n := len(Message{From: 1, To: 2, Body: Accept{Ballot: Ballot{1, 1}, First: 1, Entries: list}}.Append(nil))
	if over := float64(n)/64 - 16; over > 2 {
		t.Errorf("%.1f bytes a command beside it", over)
	}
}

func TestHard_BothWays(t *testing.T) {
	h := Hard{Incarnation: 5, Confirmed: true, Promised: Ballot{4, 2}, Chosen: 9, Bound: []Binding{{1, 2}, {3, 4}}}
	got, err := ParseHard(h.Append(nil))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, b := range bodies() {
		f.Add(Message{From: 1, To: 2, Cluster: ClusterID{9}, Incarnation: 3, Body: b}.Append(nil))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMessage(raw)
		if err != nil {
			return
		}
		again := m.Append(nil)
		if !bytes.Equal(again, raw) {
			t.Errorf("%x is written as %x", raw, again)
		}
		_ = Describe(m.Body)
	})
}

func FuzzParseMembership(f *testing.F) {
	f.Add(Membership{Members: []Member{{ID: 1, Addr: "a"}, {ID: 2, Learner: true}}}.Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMembership(raw)
		if err == nil && !bytes.Equal(m.Append(nil), raw) {
			t.Errorf("%x is written as %x", raw, m.Append(nil))
		}
	})
}

func FuzzParseHard(f *testing.F) {
	f.Add(Hard{Incarnation: 5, Promised: Ballot{4, 2}, Bound: []Binding{{1, 2}}}.Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ParseHard(raw)
		if err == nil && !bytes.Equal(h.Append(nil), raw) {
			t.Errorf("%x is written as %x", raw, h.Append(nil))
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add(Entry{Slot: 4, Ballot: Ballot{2, 1}, Kind: Noop, Value: []byte("v")}.Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, rest, err := ParseEntry(raw)
		if err == nil && !bytes.Equal(append(e.Append(nil), rest...), raw) {
			t.Errorf("%x is written as %x", raw, e.Append(nil))
		}
	})
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add(Snapshot{Slot: 4, Size: 9, Members: Membership{Slot: 2, Members: []Member{{ID: 1}}}}.Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSnapshot(raw)
		if err == nil && !bytes.Equal(s.Append(nil), raw) {
			t.Errorf("%x is written as %x", raw, s.Append(nil))
		}
	})
}

func TestClusterID_BothWays(t *testing.T) {
	c := ClusterID{1, 0xff}
	if got, err := ParseClusterID(c.String()); err != nil || got != c {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "00", "zz", c.String() + "00"} {
		if _, err := ParseClusterID(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// Whatever a member sends, a node goes on: leader or follower, in any state.
func FuzzNode_HandleMessage(f *testing.F) {
	for i, b := range bodies() {
		next := Message{From: 2, To: 1, Body: bodies()[(i+5)%len(bodies())]}.Append(nil)
		f.Add(uint8(i), uint8(3), Message{From: 1, To: 2, Body: b}.Append(nil), next)
		f.Add(uint8(i), uint8(120), Message{From: 1, To: 2, Body: b}.Append(nil), next) // with a leader
	}
	f.Fuzz(func(t *testing.T, from, wait uint8, first, second []byte) {
		c := newCluster(t, 3, nil)
		c.run(time.Duration(wait) * 20 * time.Millisecond)
		for _, raw := range [][]byte{first, second} {
			for _, id := range c.ids() {
				m, err := ParseMessage(raw)
				if err != nil {
					return
				}
				m.From, m.To, m.Cluster = NodeID(from%4+1), id, ClusterID{1}
				if n := c.nodes[m.From]; n != nil {
					m.Incarnation, m.Confirmed = n.self.inc, n.self.confirmed
				}
				c.nodes[id].HandleMessage(c.now, m)
				c.settle()
			}
			c.run(50 * time.Millisecond)
		}
	})
}
