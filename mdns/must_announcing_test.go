package mdns

import (
	"strings"
	"testing"
	"time"
)

func TestAnnouncer_RFC6762_8_3_AtLeastTwiceASecondApart(t *testing.T) {
	a := NewAnnouncer()
	a.Start(t0, 1)
	var at []time.Duration
	for {
		next, ok := a.NextTimeout()
		if !ok {
			break
		}
		a.HandleTimeout(next)
		at = append(at, next.Sub(t0))
	}
	if len(at) != 3 || at[0] != 0 || at[1] != time.Second || at[2] != 3*time.Second {
		t.Errorf("announced at %v", at)
	}
}

func TestAnnouncer_RFC6762_8_4_AtMostTenUpdatesAMinute(t *testing.T) {
	a := NewAnnouncer()
	for range UpdateMax + 1 {
		a.Start(t0, 1)
	}
	if next, _ := a.NextTimeout(); next.Sub(t0) != time.Minute {
		t.Errorf("the eleventh after %v", next.Sub(t0))
	}
}

func TestEngine_RFC6762_8_3_OnlyUniqueRecordsHaveTheFlushBit(t *testing.T) {
	out := play(t, strings.ReplaceAll(box, "--", ""))
	expect(t, out, "= box.local. 120 IN A 10.0.0.1 (flush)", "!PTR P._x._tcp.local. (flush)")
}

func TestEngine_RFC6762_10_1_WithdrawnRecordsGoWithTTL0(t *testing.T) {
	expect(t, play(t, box+"withdraw 2"), "= _x._tcp.local. 0 IN PTR P._x._tcp.local.")
}
