package mdns

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrace_EveryReasonIsPlayed checks that the scripts show each reason, but for
// those that need what a script has no words for.
func TestTrace_EveryReasonIsPlayed(t *testing.T) {
	files, err := filepath.Glob("testdata/trace_*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	elsewhere := map[cause]bool{causeManyConflicts: true, causeManyUpdates: true, causeFull: true, causeLimited: true, causeEcho: true, causeBridged: true, causeMalformed: true}
	for c := noCause + 1; int(c) < len(causes); c++ {
		if !elsewhere[c] && !strings.Contains(all.String(), ": "+causes[c].why) {
			t.Errorf("no script shows %q", causes[c].why)
		}
	}
}

func TestTrace_AMalformedPacketIsNoted(t *testing.T) {
	s := newStage(t)
	s.do(strings.Fields("link eth0 1 10.0.0.1/24"))
	s.h.Trace(true)
	s.h.HandlePacket(t0, Packet{Data: []byte{1}, From: netip.MustParseAddrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
	ev := s.h.Events()
	if len(ev) != 1 || ev[0].Note == nil || ev[0].Note.Why != causes[causeMalformed].why {
		t.Errorf("events %v", ev)
	}
}

func TestTrace_OffCostsNoAllocation(t *testing.T) {
	var off *trace
	r := record(t, "box.local. 120 A 10.0.0.1", true)
	if n := testing.AllocsPerRun(100, func() {
		off.record(t0, NoteSent, causeOnly, r, 0, netip.AddrPort{})
		off.question(t0, NoteSent, causeSeries, Question{"a.local.", 1}, 0)
		off.packet(t0, causeEcho, netip.AddrPort{})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTrace_IsBounded(t *testing.T) {
	tr := new(trace)
	for range NoteMax + 3 {
		tr.packet(t0, causeMalformed, netip.AddrPort{})
	}
	if len(tr.notes) != NoteMax || tr.untraced() != 3 {
		t.Errorf("%d notes, %d lost", len(tr.notes), tr.untraced())
	}
}
