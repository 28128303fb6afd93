package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aether-lan/aether/multicast/probe"
)

func TestChannelsOf(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"", "225.1.2.3"},
		{"239.1.1.1", "239.1.1.1"},
		{"239.1.1.254+3", "239.1.1.254 239.1.1.255 239.1.2.0"},
		{"239.1.1.1+2 239.1.1.2+2", "239.1.1.1 239.1.1.2 239.1.1.3"},
		{"192.0.2.1,232.1.1.1+2", "192.0.2.1,232.1.1.1 192.0.2.1,232.1.1.2"},
		{"ff15::ffff+2 ::ffff:239.1.1.1", "ff15::ffff ff15::1:0 239.1.1.1"},
		{"fe80::1,ff32::1", "fe80::1,ff32::1"},
	} {
		all, err := channelsOf(strings.Fields(c.words), mcast{})
		if got := strings.Trim(fmt.Sprint(all), "[]"); err != nil || got != c.want {
			t.Errorf("%q: %s, %v; want %s", c.words, got, err, c.want)
		}
	}
}

// The lines that are written by hand for speed are those that the printer would write.
func TestArrivals_LinesAreJSON(t *testing.T) {
	var out strings.Builder
	p := &printer{out: &out, json: true}
	var events []probe.Event
	for k := probe.Received; k <= probe.Finished; k++ {
		events = append(events, probe.Event{Kind: k, Seq: 7, Hops: int(k) - 2, Gap: uint64(k), Outcome: probe.Reordered})
	}
	a := arrivals{out: p}
	a.print(events)
	lines := mcastLinesOf(t, out.String())
	if len(lines) != len(events)-1 { // the last is not printed
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if l["event"] != events[i].Kind.String() || l["time"] == nil {
			t.Errorf("%v", l)
		}
	}
	if lines[0]["seq"] != 7.0 || lines[0]["outcome"] != "reordered" || lines[0]["hops"] != nil {
		t.Errorf("%v", lines[0])
	}
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		part, whole uint64
		want        string
	}{{0, 0, "0%"}, {0, 10, "0%"}, {1, 1000000, "0.0001%"}, {1, 3, "33%"}, {10, 10, "100%"}, {1, 21, "4.8%"}} {
		if got := percent(c.part, c.whole); got != c.want {
			t.Errorf("percent(%d, %d) = %s, want %s", c.part, c.whole, got, c.want)
		}
	}
}

func mcastLinesOf(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, l)
	}
	return all
}
