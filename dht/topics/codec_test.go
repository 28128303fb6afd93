package topics_test

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
)

func every() []topics.Message {
	id := dht.ID{1, 2, 19: 3}
	req := topics.RequestID{From: id, Incarnation: 7, Number: 300}
	at := topics.Position{Epoch: 1 << 30, Seq: 9}
	to := dht.Peer{ID: id, Incarnation: 4, Address: netip.MustParseAddrPort("[fd00::1]:4000")}
	return []topics.Message{
		topics.Request{Kind: topics.ToOne, Number: 5, Oldest: 4, Key: id, Service: "s", Payload: []byte("p"), Wait: time.Second},
		topics.Reply{Number: 5, Status: topics.Refused, Text: "no", Payload: []byte("x"), By: id, At: at, Copies: 3, Asked: 4},
		topics.Attach{Topic: "t", At: at, Fresh: true, Seen: at, Nodes: 9, Moved: true, Try: 77, Without: id},
		topics.Attached{Topic: "t", At: at, Newest: at, Path: []dht.ID{id, {}}, Wanted: true, WantAfter: at, Total: 5},
		topics.Redirect{Topic: "t", To: to},
		topics.Redirect{Topic: "t", To: dht.Peer{ID: id}},
		topics.Detach{Topic: "t", Move: true},
		topics.Forward{Topic: "t", Role: topics.Heir, At: at, After: at, Missed: true, ID: req, Payload: []byte("p"), Age: time.Minute},
		topics.Ack{Topic: "t", Role: topics.Mirror, At: at, Try: 1},
		topics.Offer{Topic: "t", ID: req, Payload: []byte("p"), Wait: time.Second, Again: true},
		topics.Outcome{Topic: "t", ID: req, Status: topics.Nobody, Payload: []byte("p"), Text: "e", By: id, Asked: 1},
	}
}

func TestCodec_ReadsWhatItWrites(t *testing.T) {
	for _, m := range every() {
		got, err := topics.ParseMessage(topics.AppendMessage(nil, m))
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, %v, want %+v", m, got, err, m)
		}
		zero := reflect.New(reflect.TypeOf(m)).Elem().Interface().(topics.Message)
		b := topics.AppendMessage(nil, zero)
		if got, err := topics.ParseMessage(b); err != nil || len(b) != 1 || !reflect.DeepEqual(got, zero) {
			t.Errorf("zero %T: %x: %+v, %v", m, b, got, err)
		}
	}
}

// A newer program's fields are passed over, so that both understand the rest.
func TestCodec_PassesOverUnknownFields(t *testing.T) {
	for _, m := range every() {
		b := append(topics.AppendMessage(nil, m), 99, 3, 'n', 'e', 'w')
		if got, err := topics.ParseMessage(b); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, %v", m, got, err)
		}
	}
}

func TestCodec_RefusesWhatIsNoMessage(t *testing.T) {
	large := topics.AppendMessage(nil, topics.Request{Service: "s", Payload: make([]byte, topics.MaxPayload+1)})
	for name, b := range map[string][]byte{
		"nothing":          {},
		"unknown kind":     {200},
		"short field":      {1, 6, 5, 'a'},
		"length of 2^63":   {1, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"unknown status":   {2, 2, 1, 9},
		"bool of 2":        {3, 3, 1, 2},
		"padded integer":   {1, 2, 2, 0x85, 0},
		"ID of 19 bytes":   append([]byte{1, 4, 19}, make([]byte, 19)...),
		"long name":        append([]byte{3, 1, 0x80, 2}, make([]byte, 256)...),
		"payload too long": large,
		"epoch of 2^63":    {3, 2, 11, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 1},
		"path of 33":       append([]byte{4, 4, 0x94, 5}, make([]byte, 660)...),
	} {
		if m, err := topics.ParseMessage(b); !errors.Is(err, topics.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, m := range every() {
		f.Add(topics.AppendMessage(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := topics.ParseMessage(b)
		if err != nil {
			return
		}
		again := topics.AppendMessage(nil, m)
		m2, err := topics.ParseMessage(again)
		if err != nil || !reflect.DeepEqual(m, m2) || !bytes.Equal(again, topics.AppendMessage(nil, m2)) {
			t.Fatalf("%+v\n%+v\n%v", m, m2, err)
		}
	})
}

// FuzzEngine hands an engine whatever messages a hostile member may send: it must not
// panic, and must not hold more than it says.
func FuzzEngine(f *testing.F) {
	var all []byte
	for _, m := range every() {
		b := topics.AppendMessage(nil, m)
		all = append(append(all, byte(len(b))), b...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		space, _ := dht.NewSpace(160)
		self := dht.Peer{ID: space.Int(1 << 40), Incarnation: 1}
		other := dht.Peer{ID: dht.ID{1, 2, 19: 3}, Incarnation: 1}
		e := topics.New(topics.Config{Space: space, Self: self, Limits: topics.Limits{Topics: 4, Handled: 16, Offers: 4, Window: 4}})
		now := time.Unix(0, 0)
		if err := e.Subscribe(now, "t"); err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			m, err := topics.ParseMessage(b[1 : 1+n])
			b = b[1+n:]
			if err == nil {
				e.HandleMessage(now, other, m)
			}
			if n%5 == 0 {
				e.HandleView(now, dht.View{Self: self, Predecessor: other, Successors: []dht.Peer{other}})
			}
			now = now.Add(time.Duration(n) * 20 * time.Millisecond)
			e.HandleTimeout(now)
			for _, ev := range e.Events() {
				switch ev := ev.(type) {
				case topics.Resolve:
					e.Resolved(now, ev.Token, other, nil)
				case topics.Asked:
					e.Answer(now, ev.ID, ev.Payload, nil)
				}
			}
			e.Outgoing()
		}
		st := e.State()
		if len(st.Topics) > 4 || st.Handled > 16 || st.Offers > 4 {
			t.Fatalf("%+v", st)
		}
		for _, tp := range st.Topics {
			if tp.Kept > 4 || len(tp.Children) > 16 {
				t.Fatalf("%+v", tp)
			}
		}
	})
}
