package mdns

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// play runs the commands of TestScripts, a line each, and returns what the last
// lines behind the mark "--" put out.
func play(t *testing.T, commands string) string {
	t.Helper()
	s := newStage(t)
	var out strings.Builder
	for line := range strings.Lines(commands) {
		line = strings.TrimSpace(line)
		switch line {
		case "":
		case "--":
			out.Reset()
		default:
			out.WriteString(s.do(strings.Fields(line)))
		}
	}
	return out.String()
}

// expect checks that out has each of wants, or has not those that begin with "!".
func expect(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		text, not := strings.CutPrefix(want, "!")
		if strings.Contains(out, text) == not {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
}

const box = `link eth0 1 10.0.0.1/24
	claim box
	publish _x._tcp.local. 4500 PTR P._x._tcp.local.
	at 10s
	--
	`

func TestQuerier_RFC6762_5_2_FirstQueryWaits20To120ms(t *testing.T) {
	for seed := range uint64(200) {
		q := NewQuerier(rand.New(rand.NewPCG(seed, 0)), true)
		q.Start(t0, Question{"a.local.", dns.TypeA})
		if next, _ := q.NextTimeout(); next.Sub(t0) < 20*time.Millisecond || next.Sub(t0) > 120*time.Millisecond {
			t.Fatalf("seed %d: waits %v", seed, next.Sub(t0))
		}
	}
}

func TestQuerier_RFC6762_5_2_IntervalsDoubleUpToAnHour(t *testing.T) {
	q := NewQuerier(rand.New(rand.NewPCG(1, 0)), true)
	q.Start(t0, Question{"a.local.", dns.TypeA})
	want := time.Second
	for range 20 {
		now, _ := q.NextTimeout()
		q.HandleTimeout(now, nil, func(Question) []Record { return nil })
		next, _ := q.NextTimeout()
		if got := next.Sub(now); got != want {
			t.Fatalf("interval %v, want %v", got, want)
		}
		if want *= 2; want > time.Hour { // capped (section 5.2)
			want = time.Hour
		}
	}
}

func TestCache_RFC6762_5_2_RefreshesAt80To97Percent(t *testing.T) {
	for seed := range uint64(50) {
		c := NewCache(rand.New(rand.NewPCG(seed, 0)), func(Record) bool { return true })
		c.Insert(t0, group4.Addr(), record(t, "a.local. 1000 A 10.0.0.9", true))
		for i := range 4 {
			now, _ := c.NextTimeout()
			c.HandleTimeout(now)
			low := time.Duration(800+50*i) * time.Second
			if got := now.Sub(t0); len(c.due()) != 1 || got < low || got > low+20*time.Second {
				t.Fatalf("seed %d: refresh %d at %v", seed, i, got)
			}
		}
		if now, _ := c.NextTimeout(); now.Sub(t0) != 1000*time.Second {
			t.Fatalf("expires after %v", now.Sub(t0))
		}
	}
}

func TestQuerier_RFC6762_5_2_NoRefreshWithoutInterest(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		recv 10.0.0.9 1 response a.local. 100 A 10.0.0.9 !
		at 200s`), "!send", "remove a.local.")
}

func TestQuerier_RFC6762_5_2_UniqueAnswerEndsTheSeries(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		ask a.local. A
		at 500ms
		recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !
		--
		at 95s`), "!send")
}

func TestQuerier_RFC6762_5_4_OnlyTheFirstQuestionIsQU(t *testing.T) {
	out := play(t, "link eth0 1 10.0.0.1/24\nask a.local. A\nat 5s")
	if strings.Count(out, " QU") != 1 || strings.Count(out, "? a.local. A") != 3 {
		t.Error(out)
	}
}

func TestQuerier_RFC6762_7_1_ListsKnownAnswersOverHalfTheirLife(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		ask _x._tcp.local. PTR
		at 500ms
		recv 10.0.0.9 1 response _x._tcp.local. 4500 PTR a._x._tcp.local.
		recv 10.0.0.9 1 response _x._tcp.local. 10 PTR b._x._tcp.local.
		at 5s
		--
		at 8s`), "= _x._tcp.local. 4493 IN PTR a._x", "!PTR b._x")
}

func TestQuerier_RFC6762_7_3_ADuplicateQuestionCountsAsAsked(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		ask _x._tcp.local. PTR
		at 500ms
		recv 10.0.0.9 1 query _x._tcp.local. PTR
		--
		at 2s`), "!send")
}
