package mdns

import (
	"encoding/binary"
	"testing"
)

func TestMessage_RFC6762_18_HeaderOfAMulticastResponse(t *testing.T) {
	m := &Message{Response: true, Answers: []Record{record(t, "box.local. 120 A 10.0.0.1", true)}}
	packets, _ := m.Split(1472)
	if len(packets) != 1 {
		t.Fatal(len(packets))
	}
	b := packets[0]
	if id, flags := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]); id != 0 || flags != bitResponse|bitAuthority {
		t.Errorf("id %d, flags %04x", id, flags)
	}
	if n := binary.BigEndian.Uint16(b[4:]); n != 0 {
		t.Errorf("%d questions in a response (section 6)", n)
	}
}
