package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/node"
)

func TestSafety_AnswersInASentence(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		s    node.Status
		want string
	}{
		{node.Status{}, "no files yet"},
		{node.Status{Files: 1, Bytes: 5}, "1 file, 5 B: their copies are being counted"},
		{node.Status{Files: 2, Bytes: 5, Census: node.Census{Counted: now, Files: 2, Whole: 2, FewestWanted: 3, MostWanted: 3}}, "2 files, 5 B: all have 3 copies"},
		{node.Status{Files: 1_204_331, Bytes: 812 << 30, Conflicts: 3, Census: node.Census{
			Counted: now, Files: 1_204_331, Whole: 1_204_200, OnlyHere: 12, FewestWanted: 3, MostWanted: 3,
		}}, "1,204,331 files, 812.0 GiB: 99.98 % have 3 copies; 12 only on this machine; 3 conflicts"},
		// Neither all nor nothing where it is not so.
		{node.Status{Files: 1_000_000, Census: node.Census{Counted: now, Files: 1_000_000, Whole: 999_999, FewestWanted: 2, MostWanted: 2}}, "1,000,000 files, 0 B: 99.99 % have 2 copies"},
		{node.Status{Files: 1_000_000, Census: node.Census{Counted: now, Files: 1_000_000, Whole: 1, FewestWanted: 1, MostWanted: 4}}, "1,000,000 files, 0 B: 0.01 % have as many copies as they shall (1 to 4)"},
		{node.Status{Files: 10, Conflicts: 1, Census: node.Census{Counted: now, Files: 10, Unreachable: 2, FewestWanted: 2, MostWanted: 2}}, "10 files, 0 B: none has 2 copies; 2 cannot be read now; 1 conflict"},
		{node.Status{Files: 4, Census: node.Census{
			Counted: now.Add(-90 * time.Second), Counting: true, Files: 2, Whole: 1, FewestWanted: 2, MostWanted: 2,
		}}, "4 files, 0 B: 50 % have 2 copies (copies as counted 1 min ago)"},
	} {
		if got := safety(c.s); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestSpaceBar_ShowsWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		s    node.Space
		want string
	}{
		{node.Space{}, ""},
		{node.Space{Total: 100, Free: 100}, "[..........]"},
		{node.Space{Total: 100, Replicas: 50, Cache: 20, Free: 30}, "[#####++...]"},
		{node.Space{Total: 1000, Replicas: 1, Cache: 1, Free: 998}, "[#+........]"},
		{node.Space{Total: 100, Replicas: 120, Free: -20}, "[##########]"},
		{node.Space{Total: 100, Replicas: 99, Cache: 1}, "[#########+]"},
	} {
		if got := spaceBar(c.s, 10); got != c.want {
			t.Errorf("%+v: %s, want %s", c.s, got, c.want)
		}
	}
}

func TestStatusWatch_OneLineAChange(t *testing.T) {
	s := node.Status{Files: 1, Bytes: 5, State: node.Receiving, Census: node.Census{Counted: time.Now(), Files: 1, FewestWanted: 2, MostWanted: 2},
		Machines: []node.MachineStatus{{Name: "alice", State: node.Receiving}, {Name: "b\x1bob", State: node.Offline}}}
	var out bytes.Buffer
	p := &printer{out: &out}
	show := changedLines(p)
	for range 2 {
		if err := show(s); err != nil {
			t.Fatal(err)
		}
	}
	s.Machines[1].State = node.UpToDate
	if err := show(s); err != nil {
		t.Fatal(err)
	}
	want := "1 file, 5 B: none has 2 copies\nstate Receiving\nmachine alice: Receiving\nmachine b\\x1bob: Offline\nmachine b\\x1bob: Up to date\n"
	if got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d  `).ReplaceAllString(out.String(), ""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// On a terminal each status takes the place of the one before, and no name can steer it.
func TestStatusWatch_RedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	show := redrawn(&printer{out: &out})
	s := node.Status{State: node.UpToDate, Machines: []node.MachineStatus{{Name: "b\x1b[31mob", State: node.Offline}}}
	if err := show(s); err != nil {
		t.Fatal(err)
	}
	first := out.String()
	out.Reset()
	if err := show(s); err != nil {
		t.Fatal(err)
	}
	second := out.String()
	if !strings.HasPrefix(first, "\x1b[2J\x1b[Hno files yet\x1b[K\n") || !strings.HasPrefix(second, "\x1b[Hno files yet\x1b[K\n") || !strings.HasSuffix(second, "\x1b[J") {
		t.Errorf("%q then %q", first, second)
	}
	if strings.Contains(second, "\x1b[31m") || !strings.Contains(second, `b\x1b[31mob`) {
		t.Errorf("a name steers the terminal: %q", second)
	}
}
