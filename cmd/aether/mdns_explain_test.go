package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/mdns"
)

func TestExplainTo_TextAndJSON(t *testing.T) {
	note := mdns.Note{
		At: time.Date(2000, 1, 1, 12, 0, 0, 5e6, time.UTC), Interface: "eth0", IfIndex: 2, Kind: mdns.NoteDelayed, What: "answer",
		Record: mdns.Record{Name: "b\x1b.local.", Type: 1, Class: 1, TTL: 120, Data: []byte{10, 0, 0, 1}},
		Peer:   netip.MustParseAddrPort("10.0.0.9:5353"), Delay: 57 * time.Millisecond, Why: "shared record", Section: "6",
	}
	var text, object bytes.Buffer
	explainTo(&printer{out: &text})(note)
	want := "12:00:00.005 eth0 answer b\\x1b.local. A to 10.0.0.9:5353 delayed 57ms: shared record (RFC 6762 section 6)\n"
	if text.String() != want {
		t.Errorf("text %q, want %q", text.String(), want)
	}
	explainTo(&printer{out: &object, json: true})(note)
	var got map[string]any
	if err := json.Unmarshal(object.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	for key, v := range map[string]any{
		"event": "explain", "interface": "eth0", "decision": "delayed", "what": "answer", "name": "b\x1b.local", "type": "A",
		"ttl": 120.0, "data": "10.0.0.1", "peer": "10.0.0.9:5353", "delay_ms": 57.0, "why": "shared record", "section": "RFC 6762 6",
	} {
		if got[key] != v {
			t.Errorf("%s is %v, want %v", key, got[key], v)
		}
	}
}
