package dht

import (
	"bytes"
	"reflect"
	"testing"
)

func someMessages() []Message {
	p, q, zero := lanPeer(1), lanPeer(2), Peer{}
	return []Message{
		Query{Token: 1}, Query{Token: 1 << 63, Head: true, View: true, Seen: 7, Members: 8, Accused: 9},
		Answer{Token: 2, Counter: 3, Members: 4},
		Answer{Token: 2, Whole: true, Predecessor: p, Successors: []Peer{q, p, zero}},
		Find{3, p.ID}, Found{Token: 4, Before: p, Owners: []Peer{q}}, Found{Token: 4, Next: []Peer{p, q}},
		Probe{5, p}, Probed{6, true}, Changed{7},
		Rumors{}, Rumors{[]Rumor{{p, Alive, 1}, {q, Dead, 300}, {zero, Left, 0}}},
		Sync{Token: 8, Hashes: [Parts]uint32{1, 2, 3}}, Members{9, 0xf0f0, []Peer{p, q}},
		Farewell{p, []Peer{q}},
	}
}

func TestMessage_IsReadAsItWasWritten(t *testing.T) {
	for _, m := range someMessages() {
		b := AppendMessage(nil, m)
		got, err := ParseMessage(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%#v\nis read as %#v, %v", m, got, err)
		}
		for n := range len(b) {
			if _, err := ParseMessage(b[:n]); err == nil {
				t.Errorf("%T is read from %d bytes of %d", m, n, len(b))
			}
		}
		if _, err := ParseMessage(append(b, 0)); err == nil {
			t.Errorf("%T is read with a byte left over", m)
		}
	}
}

// The messages of every period are short.
func TestMessage_IdleOnesAreShort(t *testing.T) {
	for _, m := range []Message{Query{Token: 1, Head: true, View: true, Seen: 1 << 60, Members: 1 << 60}, Answer{Token: 1, Members: 1 << 60}} {
		if n := len(AppendMessage(nil, m)); n > 32 {
			t.Errorf("%T has %d bytes", m, n)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, m := range someMessages() {
		f.Add(AppendMessage(nil, m))
	}
	f.Add([]byte{kindMembers, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f}) // a list longer than the message
	f.Add([]byte{kindQuery, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0})      // a number with a zero too many
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		again := AppendMessage(nil, m)
		if !bytes.Equal(again, b) {
			t.Fatalf("%x\nis written as %x", b, again)
		}
	})
}

// FuzzNode_HandleMessage lets a member of the ring say anything: the node neither
// panics nor takes a pointer to somebody who has not answered it.
func FuzzNode_HandleMessage(f *testing.F) {
	for _, m := range someMessages() {
		f.Add(AppendMessage(nil, m), uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, who uint8) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		l := newLAN(t)
		x, y := l.add(Config{}), l.add(Config{})
		y.Meet(l.now, x.cfg.Self)
		l.until(1e9, func() bool { return isWhole(x, y) })
		from := y.cfg.Self
		if who%4 == 0 {
			from = lanPeer(77)
		}
		l.inject(from, x, m)
		l.run(5e9)
		for _, p := range x.View().Successors {
			if k := x.book.get(p.ID); k == nil || !k.met {
				t.Fatalf("%x is a successor and has never answered", p.ID)
			}
		}
	})
}
