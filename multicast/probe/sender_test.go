package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
)

// sends turns s alone and tells when it sends what, until it ends or for d.
func sends(t *testing.T, s *Sender, d time.Duration) (list []string) {
	t.Helper()
	for {
		now, ok := s.NextTimeout()
		if !ok || now.Sub(netsim.Start) > d {
			return list
		}
		s.HandleTimeout(now)
		for _, p := range s.Outgoing() {
			m, err := parseMessage(p.Data)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, fmt.Sprintf("%v:%d/%d>%v", now.Sub(netsim.Start).Milliseconds(), m.kind, m.seq, p.To.Addr().As4()[3]))
		}
	}
}

func TestSender_SendsEachNumberToEachGroupThenTheEndThreeTimes(t *testing.T) {
	s, err := NewSender(SenderConfig{Groups: []netip.AddrPort{group, other}, Count: 3, Interval: 10 * time.Millisecond}, netsim.Start)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(sends(t, s, time.Hour), " ")
	want := "0:1/1>2 0:1/1>3 10:1/2>2 10:1/2>3 20:1/3>2 20:1/3>3 20:2/3>2 20:2/3>3 70:2/3>2 70:2/3>3 120:2/3>2 120:2/3>3"
	if got != want {
		t.Errorf("sent\n%s, want\n%s", got, want)
	}
	if ev := s.Events(); len(ev) != 1 || ev[0].Kind != Finished || s.Sent() != 3 {
		t.Errorf("%+v, %d", ev, s.Sent())
	}
}

func TestSender_Stop(t *testing.T) {
	s, _ := NewSender(SenderConfig{Groups: []netip.AddrPort{group}, Interval: 10 * time.Millisecond}, netsim.Start)
	sends(t, s, 25*time.Millisecond)
	s.Stop(netsim.Start.Add(25 * time.Millisecond))
	if got := strings.Join(sends(t, s, time.Hour), " "); got != "75:2/3>2 75:2/3>2 125:2/3>2" {
		t.Errorf("after Stop: %s", got) // the first of them was queued by Stop
	}
	s, _ = NewSender(SenderConfig{Groups: []netip.AddrPort{group}}, netsim.Start)
	s.Stop(netsim.Start)
	if _, ok := s.NextTimeout(); ok || len(s.Outgoing()) != 0 {
		t.Error("a sender that has sent nothing has no end to tell")
	}
}

// After a stall it catches up in bounded bursts; what was slept through is not sent.
func TestSender_CatchesUp(t *testing.T) {
	s, _ := NewSender(SenderConfig{Groups: []netip.AddrPort{group}, Interval: time.Millisecond}, netsim.Start)
	s.HandleTimeout(netsim.Start.Add(500 * time.Millisecond))
	if n := len(s.Outgoing()); n != maxBurst {
		t.Errorf("%d at once, want %d", n, maxBurst)
	}
	if next, _ := s.NextTimeout(); next != netsim.Start.Add(maxBurst*time.Millisecond) {
		t.Errorf("next at %v", next)
	}
	late := netsim.Start.Add(time.Hour)
	s.HandleTimeout(late)
	if next, _ := s.NextTimeout(); next != late || len(s.Outgoing()) != maxBurst {
		t.Errorf("after an hour: next at %v", next)
	}
}

func TestSenderConfig_Refuses(t *testing.T) {
	g := []netip.AddrPort{group}
	for name, cfg := range map[string]SenderConfig{
		"no group": {}, "too short": {Groups: g, Bytes: MinBytes - 1}, "too long": {Groups: g, Bytes: MaxBytes + 1},
		"interval": {Groups: g, Interval: 1}, "hop limit": {Groups: g, HopLimit: 256},
	} {
		if _, err := NewSender(cfg, netsim.Start); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
