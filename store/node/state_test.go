package node

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// pooled is a status of this machine, running, and one other, connected.
func pooled(change func(s *Status)) Status {
	s := Status{Running: true, Copies: 2, Machines: []MachineStatus{
		{ID: store.MachineID{1}, Name: "here", Self: true},
		{ID: store.MachineID{2}, Name: "there", Connected: true},
	}}
	if change != nil {
		change(&s)
	}
	s.judge()
	return s
}

// The six words, each for what it stands for, and which goes before which.
func TestStatus_States(t *testing.T) {
	clock := Alarm{Kind: AlarmClock, Machine: store.MachineID{2}.String(), Text: "its clock is an hour ahead", Since: time.Unix(1, 0)}
	for _, c := range []struct {
		name               string
		change             func(s *Status)
		whole, here, there State
		reason             string
	}{
		{"nothing to do", nil, UpToDate, UpToDate, UpToDate, ""},
		{"fetching", func(s *Status) { s.Queue.Files = 3 }, Receiving, Receiving, UpToDate, ""},
		{"the other fetches", func(s *Status) {
			s.Copying, s.Sent.Rate, s.Machines[1].Queue.Files = 1, 10, 1
		}, Sending, Sending, Receiving, "1 file being copied to other machines"},
		{"holders away", func(s *Status) {
			s.Lacking, s.Queue.Files = 2, 1
			s.Machines = append(s.Machines, MachineStatus{ID: store.MachineID{3}, Name: "laptop"})
		}, Degraded, Receiving, UpToDate, "2 files have too few copies, and laptop is away"},
		{"alone", func(s *Status) {
			s.Lacking, s.Machines = 1, s.Machines[:1]
		}, Degraded, UpToDate, "", "1 file has too few copies: the pool has 1 machine, and 2 copies are wanted"},
		{"nobody there", func(s *Status) { s.Lacking, s.Machines[1].Connected = 1, false }, Offline, UpToDate, Offline, "no other machine can be reached: there"},
		{"no node", func(s *Status) { s.Running, s.Machines[1].Connected = false, false }, Offline, Offline, Offline, "no node runs on this machine: aether store serve"},
		{"no node, no others", func(s *Status) { s.Running, s.Machines = false, s.Machines[:1] }, UpToDate, Offline, "", ""},
		{"conflict", func(s *Status) { s.Conflicts, s.Queue.Files = 1, 1 }, NeedsYou, Receiving, UpToDate, "1 conflict to decide: aether store conflicts list"},
		{"a clock", func(s *Status) { s.Alarms = []Alarm{clock} }, NeedsYou, UpToDate, NeedsYou, "there: its clock is an hour ahead"},
		{"a stranger", func(s *Status) { s.Alarms = []Alarm{{Kind: AlarmRefused, Machine: "x", Text: "no member"}} }, UpToDate, UpToDate, UpToDate, ""},
	} {
		s := pooled(c.change)
		there := State("")
		if len(s.Machines) > 1 {
			there = s.Machines[1].State
		}
		if s.State != c.whole || s.Machines[0].State != c.here || there != c.there || s.Reason != c.reason {
			t.Errorf("%s: whole %q, here %q, there %q, reason %q", c.name, s.State, s.Machines[0].State, there, s.Reason)
		}
	}
}

func TestState_Well(t *testing.T) {
	for s, want := range map[State]bool{UpToDate: true, Receiving: true, Sending: true, Degraded: false, Offline: false, NeedsYou: false} {
		if s.Well() != want {
			t.Errorf("%s: %v", s, s.Well())
		}
	}
}

func TestMeter_RateIsOfTheLastSeconds(t *testing.T) {
	var m meter
	at := time.Unix(1_700_000_000, 0)
	m.add(at, 1000)
	m.add(at.Add(2*time.Second), 500)
	if total, rate := m.read(at.Add(2 * time.Second)); total != 1500 || rate != 300 {
		t.Errorf("total %d, rate %d", total, rate)
	}
	if total, rate := m.read(at.Add(5 * time.Second)); total != 1500 || rate != 100 {
		t.Errorf("later: total %d, rate %d", total, rate)
	}
	if total, rate := m.read(at.Add(time.Hour)); total != 1500 || rate != 0 {
		t.Errorf("an hour later: total %d, rate %d", total, rate)
	}
	m.add(at, 10) // a clock that was set back
	if total, rate := m.read(at); total != 1510 || rate != 2 {
		t.Errorf("set back: total %d, rate %d", total, rate)
	}
}
