package mdns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestCache_RFC6762_10_4_AsksTwiceOrMoreAndFlushesAfterTenSeconds(t *testing.T) {
	r := record(t, "a.local. 120 A 10.0.0.9", true)
	for seed := range uint64(100) {
		c := NewCache(rand.New(rand.NewPCG(seed, 0)), func(Record) bool { return false })
		c.Insert(t0, netip.MustParseAddr("10.0.0.9"), r)
		if !c.Reconfirm(t0.Add(time.Minute), r) {
			t.Fatal("not held")
		}
		var asked []time.Duration
		var now time.Time
		for {
			next, ok := c.NextTimeout()
			if !ok {
				break
			}
			now = next
			c.HandleTimeout(now)
			if len(c.disputed()) == 1 {
				asked = append(asked, now.Sub(t0)-time.Minute)
			}
		}
		if len(asked) < 2 || asked[0] < 20*time.Millisecond || asked[0] > 120*time.Millisecond || asked[1]-asked[0] < time.Second {
			t.Fatalf("seed %d: asked at %v", seed, asked)
		}
		if took := now.Sub(t0) - time.Minute - asked[0]; took != ReconfirmWindow {
			t.Fatalf("seed %d: gone after %v", seed, took)
		}
		changes := c.take()
		if last := changes[len(changes)-1]; last.Op != Remove || last.Reason != Unconfirmed {
			t.Fatalf("seed %d: %v", seed, last)
		}
	}
}

func TestEngine_RFC6762_10_4_AnAnswerConfirms(t *testing.T) {
	const begin = "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\nat 5s\nreconfirm box.local. 1 A 10.0.0.9\n"
	for _, c := range []struct {
		name, commands string
		wants          []string
	}{
		{"soon", "at 5200ms\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n--\nat 60s", []string{"!send", "!remove"}},
		{"after nine seconds", "at 14s\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n--\nat 60s", []string{"!send", "!remove"}},
		{"other data is no answer", "at 5200ms\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.8\n--\nat 60s", []string{"(unconfirmed)"}},
		{"our questions come whatever others ask", "recv 10.0.0.8 1 query box.local. A\n--\nat 60s", []string{"5.0816s send", "6.0816s send", "8.0816s send", "? box.local. A", "(unconfirmed)"}},
		{"a goodbye of the owner", "at 6s\nrecv 10.0.0.9 1 response box.local. 0 A 10.0.0.9 !\n--\nat 60s", []string{"7s event 1 change remove", "(goodbye)", "!send"}},
		{"a withdrawn record is not asked for", "recv 10.0.0.9 1 response box.local. 0 A 10.0.0.9 !\nat 15s\nrecv 10.0.0.9 1 response b.local. 120 A 10.0.0.9 !\nrecv 10.0.0.9 1 response b.local. 0 A 10.0.0.9 !\nreconfirm b.local. 1 A 10.0.0.9\n--\nat 60s", []string{"!send", "(goodbye)"}},
		{"several share a packet", "recv 10.0.0.9 1 response box.local. 120 AAAA fe80::9 !\nreconfirm box.local. 1 AAAA fe80::9\n--\nat 5900ms", []string{"? box.local. A\n        ? box.local. AAAA\n"}},
		{"no known answer, however short its life", "recv 10.0.0.9 1 response _x._tcp.local. 10 PTR a._x._tcp.local.\nreconfirm _x._tcp.local. 1 PTR a._x._tcp.local.\n--\nat 9s", []string{"? _x._tcp.local. PTR", "!= _x"}},
		{"the interface goes", "unlink 1\n--\nat 60s", []string{"!send", "!remove"}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, play(t, begin+c.commands), c.wants...) })
	}
}

func TestHost_RFC6762_10_4_ReconfirmRefusesWhatIsNoRecord(t *testing.T) {
	h := NewHost(rand.New(rand.NewPCG(1, 1)))
	if _, err := h.Reconfirm(t0, Record{Name: strings.Repeat("x", 64) + ".local.", Type: dns.TypeA}); !errors.Is(err, ErrName) {
		t.Errorf("error %v", err)
	}
}

func TestCache_RFC6762_10_1_ASecondOpinion(t *testing.T) {
	const begin = "link eth0 1 10.0.0.1/24\nask box.local. A\nat 500ms\n" +
		"recv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !; box.local. 120 AAAA fe80::9 !\nat 5s\n"
	const goodbye = "recv 10.0.0.66 1 response box.local. 0 A 10.0.0.9 !\n"
	const owner = "recv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n"
	for _, c := range []struct {
		name, commands string
		wants          []string
	}{
		{"asks twice, and the record goes", goodbye + "--\nat 8s", []string{"5.0997s send", "6.0997s send", "7.0997s event 1 change remove", "(goodbye)"}},
		{"not within the second", goodbye + "--\nat 7s", []string{"!remove"}},
		{"the owner answers", goodbye + "at 5200ms\n" + owner + "--\nat 60s", []string{"!remove", "!send"}},
		{"the owner answers the second question", goodbye + "at 7s\n" + owner + "--\nat 60s", []string{"!remove", "!send"}},
		{"the owner's goodbye meanwhile", goodbye + "at 5200ms\nrecv 10.0.0.9 1 response box.local. 0 A 10.0.0.9 !\n--\nat 6200ms", []string{"6.2s event 1 change remove", "!send"}},
		{"the owner's goodbye", "--\nrecv 10.0.0.9 1 response box.local. 0 A 10.0.0.9 !\nat 6s", []string{"6s event 1 change remove", "(goodbye)", "!send"}},
		{"from an address that the owner announced", "--\nrecv fe80::9%eth0 1 response box.local. 0 A 10.0.0.9 !\nat 6s", []string{"6s event 1 change remove", "(goodbye)", "!send"}},
		{"from an address that sent the record too", "recv fe80::99%eth0 1 response box.local. 120 A 10.0.0.9 !\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n--\nrecv fe80::99%eth0 1 response box.local. 0 A 10.0.0.9 !\nat 6s", []string{"6s event 1 change remove", "!send"}},
		{"an address that another claims for the name", "recv 10.0.0.66 1 response box.local. 120 A 10.0.0.66\n--\n" + goodbye + "at 6900ms", []string{"send", "!remove"}},
		{"a replacement", "--\nrecv 10.0.0.66 1 response box.local. 120 A 10.0.0.66 !\nat 8s", []string{"change update", "7.0997s event 1 change remove box.local. 120 IN A 10.0.0.9 (flush) (flushed)"}},
		{"a replacement and both answer", "recv 10.0.0.66 1 response box.local. 120 A 10.0.0.66 !\nat 5200ms\nrecv 10.0.0.66 1 response box.local. 120 A 10.0.0.66 !\n" + owner + "--\nat 60s", []string{"!remove", "!send"}},
		{"the owner's replacement", "--\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.10 !\nat 6s", []string{"6s event 1 change remove", "(flushed)", "!send"}},
		{"nobody wants it", "--\nrecv 10.0.0.66 1 response box.local. 0 AAAA fe80::9 !\nat 6s", []string{"6s event 1 change remove", "(goodbye)", "!send"}},
		{"nor a record that is not held", "--\nrecv 10.0.0.66 1 response box.local. 0 A 10.0.0.7 !\nat 9s", []string{"!send", "!change"}},
		{"once in ten seconds, whatever comes between", goodbye + "at 5200ms\n" + owner + "at 6s\n" + owner + "at 7s\n" + goodbye + "at 8s\n" + owner + "at 9s\n" + goodbye + "--\nat 15s", []string{"!send", "!remove"}},
		{"both copies of another host's question are one", goodbye + "recv 10.0.0.8 1 query box.local. A\nat 5010ms\nrecv fe80::8%eth0 1 query box.local. A\n--\nat 8s", []string{"!5.0997s send", "6s send", "change remove"}},
		{"another host's question is one of the two", goodbye + "recv 10.0.0.8 1 query box.local. A\n--\nat 8s", []string{"!5.0997s send", "6s send", "change remove"}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, play(t, begin+c.commands), c.wants...) })
	}
}

// Somebody who withdraws what is not his all the time costs two questions in ten
// seconds, not two each time.
func TestCache_DoubtsAreFew(t *testing.T) {
	s := newStage(t)
	for line := range strings.Lines("link eth0 1 10.0.0.1/24\nask box.local. A\nat 1s\nrecv 10.0.0.9 1 response box.local. 4500 A 10.0.0.9 !") {
		s.do(strings.Fields(line))
	}
	questions := 0
	for ms := 2000; ms < 62000; ms += 100 {
		out := s.do([]string{"at", fmt.Sprintf("%dms", ms)})
		if strings.Contains(out, "remove") {
			t.Fatal(out)
		}
		if strings.Contains(out, "? box.local. A") {
			questions++
			s.do(strings.Fields("recv 10.0.0.9 1 response box.local. 4500 A 10.0.0.9 !"))
		}
		s.do(strings.Fields("recv 10.0.0.66 1 response box.local. 0 A 10.0.0.9 !"))
	}
	if questions < 3 || questions > 12 {
		t.Errorf("%d questions in a minute", questions)
	}
}

func TestCache_DoubtIsBounded(t *testing.T) {
	c := NewCache(rand.New(rand.NewPCG(1, 1)), func(Record) bool { return true })
	r := record(t, "a.local. 120 A 10.0.0.9", true)
	for i := range 100 {
		c.Insert(t0, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), r)
	}
	if n := len(c.sets["a.local."][0].also); n != alsoMax {
		t.Errorf("%d senders are kept", n)
	}
	for range 1000 {
		c.Reconfirm(t0, r)
	}
	next, _ := c.NextTimeout()
	c.HandleTimeout(next)
	if asked := c.disputed(); !slices.Equal(asked, []Question{{"a.local.", dns.TypeA}}) {
		t.Errorf("asked %v", asked)
	}
	if c.Stats().Records != 1 || c.Stats().Sources != 1 {
		t.Errorf("%+v, %d senders are counted", c.Stats(), c.Stats().Sources)
	}
}

// leave takes a machine off the segment without a goodbye.
func (s *segment) leave(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wires = slices.DeleteFunc(s.wires, func(w *simWire) bool { return w.addr == a })
}

// A host that lost its power: one that used it reconfirms, and others that hear the
// questions draw the same conclusion without asking.
func TestNode_RFC6762_10_4_ReconfirmTellsTheWholeLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		nodes := make([]*Node, 3)
		for i := range nodes {
			nodes[i] = start(t, newMachine(t, seg, fmt.Sprintf("10.0.0.%d/24", i+1)), uint64(i))
		}
		claim, err := nodes[0].ClaimHost(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		seg.leave(netip.MustParseAddr("10.0.0.1"))
		var began time.Time
		for c, err := range nodes[1].Watch(t.Context(), Question{claim.Name(), dns.TypeA}) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Op != Remove {
				began = time.Now()
				if err := nodes[1].Reconfirm(t.Context(), c.Record); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if took := time.Since(began); c.Reason != Unconfirmed || took < ReconfirmWindow || took > ReconfirmWindow+200*time.Millisecond {
				t.Errorf("%v after %v", c, took)
			}
			break
		}
		time.Sleep(2 * time.Second)
		var left []Change
		err = nodes[2].call(t.Context(), func(time.Time) {
			left = nodes[2].host.engine(7).Lookup(Question{claim.Name(), dns.TypeA})
		})
		if err != nil || len(left) > 0 {
			t.Errorf("the third machine has %v, %v", left, err)
		}
		if err := nodes[1].Close(); err != nil {
			t.Fatal(err)
		}
		if err := nodes[1].Reconfirm(t.Context(), record(t, "box.local. 120 A 10.0.0.1", true)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Node that ended: %v", err)
		}
	})
}

// Whatever comes in whatever order: a doubt is over, one way or the other, after
// two windows at the latest, and timeouts move on.
func TestCache_DoubtsEnd(t *testing.T) {
	owner, other := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.66")
	r := record(t, "a.local. 4500 A 10.0.0.9", true)
	instead := record(t, "a.local. 4500 A 10.0.0.66", true)
	goodbye := r
	goodbye.TTL = 0
	query := &Message{Questions: []AskedQuestion{{Question{"a.local.", dns.TypeA}, dns.ClassINET, false}}}
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		c := NewCache(rnd, func(Record) bool { return true })
		now := t0
		pass := func(d time.Duration) {
			end := now.Add(d)
			for next, ok := c.NextTimeout(); ok && !next.After(end); next, ok = c.NextTimeout() {
				now = next
				c.HandleTimeout(now)
				if again, ok := c.NextTimeout(); ok && !again.After(now) {
					t.Fatalf("seed %d: a timeout at %v, again at %v", seed, now.Sub(t0), again.Sub(t0))
				}
			}
			now = end
		}
		for range 100 {
			switch rnd.IntN(6) {
			case 0, 1:
				c.Insert(now, owner, r)
			case 2:
				c.Insert(now, other, goodbye)
			case 3:
				c.Insert(now, other, instead)
			case 4:
				c.Reconfirm(now, r)
			case 5:
				c.HandleQuery(now, query, netip.MustParseAddr("10.0.0.8"))
			}
			pass(time.Duration(rnd.Int64N(int64(3 * time.Second))))
			c.each(func(e *entry) {
				if left := e.expire.Sub(now); e.reason != Expired && left > 2*ReconfirmWindow {
					t.Fatalf("seed %d: in doubt for %v more", seed, left)
				}
			})
		}
		pass(2 * ReconfirmWindow)
		c.each(func(e *entry) {
			if e.reason != Expired || e.doubt.on {
				t.Errorf("seed %d: %v is in doubt yet", seed, e.record)
			}
		})
	}
}
