package records

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

func examples() []Message {
	p := dht.Peer{ID: dht.ID{1, 19: 2}, Incarnation: 3, Address: netip.MustParseAddrPort("192.0.2.1:7000")}
	q := dht.Peer{ID: dht.ID{2}, Incarnation: 1, Address: netip.MustParseAddrPort("[2001:db8::1]:7000")}
	b := Ballot{7, p.ID, 3}
	g := Group{Lineage: 5, Epoch: 6, Arc: Arc{p.ID, q.ID}, Tag: b, Members: []dht.Peer{p, q}, Leader: q}
	rec := Record{
		Name: "n", Version: 9, Value: []byte("v"), TTL: time.Second, Holder: "h", Fence: 8,
		Unknown: appendField(nil, 99, []byte("x")), memory: []memo{{RequestID{4}, 9}},
	}
	list := []Entry{{"n", time.Second, AppendRecord(nil, rec)}, {Name: "gone"}}
	d := Decision{Groups: []Group{g, g}}
	return []Message{
		Arcs{5, 6, true, true, 2, []Tiding{{Group: g, Established: true, Over: true}}}, Prepare{g, b},
		Promise{g.Ref(), b, b, d, true, true, 12}, Nack{g.Ref(), b, b}, Gather{g.Ref(), b, "n"},
		Piece{g.Ref(), b, "m", true, list}, Install{g.Ref(), g, true, 4, 5, true, list}, Installed{g.Ref(), 5, true, false},
		Accept{g.Ref(), b, d}, Accepted{g.Ref(), b}, Decided{g.Ref(), Decision{Into: 4}}, Active{[]Ref{g.Ref(), {}}},
		Write{g.Ref(), 3, true, list}, Wrote{g.Ref(), 4, true, false}, Unheard{g.Ref()}, Confirm{g.Ref(), 2},
		Confirmed{g.Ref(), 2}, Abandon{g.Ref()},
		Ask{Request{
			ID: RequestID{1}, Op: Acquire, Name: "n", Version: 2, Value: []byte("v"), TTL: time.Minute, Holder: "h",
			Again: true, Limit: 3, Fields: appendField(nil, 99, []byte("x")),
		}},
		Reply{Response{RequestID{1}, Conflict, rec, p, q.ID, "text", []Record{rec, rec}, true}},
	}
}

func TestMessage_RoundTrip(t *testing.T) {
	for _, m := range examples() {
		b := AppendMessage(nil, m)
		got, err := ParseMessage(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: %+v, %v; want %+v", m, got, err, m)
		}
		for n := range b {
			if _, err := ParseMessage(b[:n]); err == nil {
				t.Errorf("%T is read from %d of %d bytes", m, n, len(b))
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range examples() {
		f.Add(AppendMessage(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		if got := AppendMessage(nil, m); !bytes.Equal(got, b) {
			t.Errorf("%+v is read from %x and written as %x", m, b, got)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(AppendRecord(nil, Record{Version: 3, Value: []byte("v"), TTL: 5, Holder: "h", Fence: 2, memory: []memo{{RequestID{1}, 3}}}))
	f.Add(appendField(AppendRecord(nil, Record{Version: 1, Deleted: true}), 4000, []byte("later")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord("n", b)
		if err != nil {
			return
		}
		if got := AppendRecord(nil, r); !bytes.Equal(got, b) {
			t.Errorf("%+v is read from %x and written as %x", r, b, got)
		}
	})
}

// A member restores what it was told is damaged, or not at all: never a panic.
func FuzzReplica(f *testing.F) {
	e := New(Config{})
	p := dht.Peer{ID: dht.ID{1}}
	g := Group{Lineage: 1, Epoch: 1, Members: []dht.Peer{p}, Leader: p}
	e.saveReplica(&replica{group: g, phase: active, shelf: newShelf(1)})
	f.Add(e.disk.rows[0].Value)
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Restore(Config{}, func(yield func(k, v []byte) bool) {
			yield(numberKey(rowReplica, 1), b)
		})
	})
}

// A version near the end of all numbers is not believed: the next one would begin anew.
func TestParseRecord_RefusesVersionsThatWrap(t *testing.T) {
	for v, ok := range map[uint64]bool{1: true, maxVersion: true, maxVersion + 1: false, 1<<64 - 1: false} {
		if _, err := ParseRecord("n", AppendRecord(nil, Record{Version: v})); (err == nil) != ok {
			t.Errorf("version %d: %v", v, err)
		}
	}
}

// What a newer version wrote stays, whoever writes after: here, each field that is
// unknown, and that of a request over its like.
func TestMergeFields(t *testing.T) {
	fields := func(list ...uint64) (b []byte) {
		for _, tag := range list {
			b = appendField(b, tag/10, []byte{byte(tag % 10)})
		}
		return b
	}
	for _, c := range []struct{ old, newer, want []byte }{
		{nil, nil, nil},
		{fields(91, 121), nil, fields(91, 121)},
		{nil, fields(91), fields(91)},
		{fields(91, 121), fields(101), fields(91, 101, 121)},
		{fields(91, 121), fields(122, 131), fields(91, 122, 131)},
		{fields(121), fields(91), fields(91, 121)},
	} {
		if got := mergeFields(c.old, c.newer); !bytes.Equal(got, c.want) {
			t.Errorf("%x over %x is %x, want %x", c.newer, c.old, got, c.want)
		}
	}
}
