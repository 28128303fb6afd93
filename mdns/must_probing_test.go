package mdns

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestProber_RFC6762_8_1_WaitsUpTo250msThenThreeProbes250msApart(t *testing.T) {
	for seed := range uint64(100) {
		p := NewProber(rand.New(rand.NewPCG(seed, 0)), true)
		p.Start(t0, 1, []Record{record(t, "box.local. 120 A 10.0.0.1", true)})
		last, _ := p.NextTimeout()
		if last.Sub(t0) > 250*time.Millisecond {
			t.Fatalf("seed %d: waits %v", seed, last.Sub(t0))
		}
		for range ProbeNum {
			p.HandleTimeout(last)
			out := p.Outgoing()
			next, _ := p.NextTimeout()
			if len(out) != 1 || !out[0].Questions[0].Unicast || out[0].Authority[0].Flush || next.Sub(last) != 250*time.Millisecond {
				t.Fatalf("seed %d: %d probes, the next after %v", seed, len(out), next.Sub(last))
			}
			last = next
		}
	}
}

func TestProber_RFC6762_8_1_ADenialInAnyCaseRenames(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nclaim box\nat 300ms\nrecv 10.0.0.9 1 response BOX.local. 120 A 10.0.0.9 !"), "renamed box.local. to box-2.local.")
}

func TestProber_RFC6762_8_2_ALostTieBreakWaitsASecondAndKeepsTheName(t *testing.T) {
	out := play(t, `link eth0 1 10.0.0.1/24
		claim box
		at 300ms
		recv 10.0.0.9 1 query box.local. ANY QU; auth box.local. 120 A 10.0.0.9
		--
		at 1299ms
		at 5s`)
	expect(t, out, "claimed box.local.", "!renamed")
	if !strings.HasPrefix(out, "1.3s send") {
		t.Error(out)
	}
}

func TestProber_RFC6762_8_1_WaitsFiveSecondsAfterFifteenConflicts(t *testing.T) {
	p := NewProber(rand.New(rand.NewPCG(1, 0)), true)
	for range conflictMax {
		p.conflicts = append(p.conflicts, t0)
	}
	p.Start(t0, 1, []Record{record(t, "box.local. 120 A 10.0.0.1", true)})
	if next, _ := p.NextTimeout(); next.Sub(t0) < 5*time.Second {
		t.Errorf("waits %v", next.Sub(t0))
	}
}
