package mdns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// follower gathers what a Watch tells, as "op reason".
func follower(t *testing.T, n *Node, q Question) func() []string {
	changes := make(chan string, 100)
	go func() {
		for c, err := range n.Watch(t.Context(), q) {
			if err == nil {
				changes <- fmt.Sprint(c.Op, " ", c.Reason)
			}
		}
	}()
	return func() (got []string) {
		synctest.Wait()
		for len(changes) > 0 {
			got = append(got, <-changes)
		}
		return got
	}
}

func TestNode_RFC6762_10_3_ALostLinkCutsTTLs(t *testing.T) {
	for _, c := range []struct {
		away time.Duration
		want []string
	}{
		{time.Second, nil}, // confirmed in time
		{time.Minute, []string{"remove link-down", "add answered"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			seg := new(segment)
			a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
			m := newMachine(t, seg, "10.0.0.2/24")
			b := start(t, m, 2)
			if _, err := a.Publish(t.Context(), []Record{record(t, "_ipp._tcp.local. 4500 PTR x._ipp._tcp.local.", false)}); err != nil {
				t.Fatal(err)
			}
			heard := follower(t, b, Question{"_ipp._tcp.local.", dns.TypePTR})
			time.Sleep(5 * time.Second)
			if got := heard(); !slices.Equal(got, []string{"add answered"}) {
				t.Fatalf("at first %v", got)
			}
			m.plug(false)
			time.Sleep(c.away)
			m.plug(true)
			time.Sleep(10 * time.Second)
			if got := heard(); !slices.Equal(got, c.want) {
				t.Errorf("away for %v: %v, want %v", c.away, got, c.want)
			}
		})
	}
}

func TestNode_RFC6762_8_3_AnnouncesProbesAndAsksAfterALinkChange(t *testing.T) {
	for _, slept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, new(segment), "10.0.0.2/24")
			net := &tap{network: m}
			n := start(t, net, 2)
			if _, err := n.ClaimHost(t.Context(), "box"); err != nil {
				t.Fatal(err)
			}
			follower(t, n, Question{"_ipp._tcp.local.", dns.TypePTR})
			time.Sleep(time.Minute)
			synctest.Wait()
			if slept {
				m.wake()
			} else {
				m.plug(false)
				time.Sleep(time.Minute)
				m.plug(true)
			}
			before := len(net.messages())
			time.Sleep(5 * time.Second)
			synctest.Wait()
			var did []string
			for _, sent := range net.messages()[before:] {
				switch {
				case sent.Response:
					did = append(did, "announce")
				case len(sent.Authority) > 0:
					did = append(did, "probe")
				case sent.Questions[0].Unicast:
					did = append(did, "QU")
				default:
					did = append(did, "ask")
				}
			}
			slices.Sort(did)
			if got := strings.Join(did, " "); got != "QU announce announce announce ask ask probe probe probe" {
				t.Errorf("slept %v: %s", slept, got)
			}
		})
	}
}

// A host that took the name while the link was away keeps it (RFC 6762 section 8.1).
func TestNode_RFC6762_8_1_ProbesAgainWhenTheLinkIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		m := newMachine(t, seg, "10.0.0.2/24")
		b := start(t, m, 2)
		mine, err := b.ClaimHost(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		m.plug(false)
		a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		theirs, err := a.ClaimHost(t.Context(), "box")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		m.plug(true)
		select {
		case name := <-mine.Renamed():
			if name != "box-2.local." || theirs.Name() != "box.local." {
				t.Errorf("renamed to %s, the other is %s", name, theirs.Name())
			}
		case <-time.After(10 * time.Second):
			t.Errorf("no rename: %s and %s", mine.Name(), theirs.Name())
		}
	})
}
