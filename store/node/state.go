package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aether-lan/aether/store"
)

// State is one of the six words for how a machine or the whole pool is. They are the
// same on every face of the store.
type State string

// The words. Of several that would be right the first in this order is said.
const (
	// NeedsYou: something is wrong that machines cannot put right: see Status.Alarms and
	// Status.Conflicts.
	NeedsYou State = "Needs you"
	// Offline: a machine that cannot be reached; for the whole, no other one can.
	Offline State = "Offline"
	// Degraded: files lack copies, and the machines that should keep them are away or
	// are too few.
	Degraded State = "Degraded"
	// Receiving: copies are coming in.
	Receiving State = "Receiving"
	// Sending: copies are going out.
	Sending State = "Sending"
	// UpToDate: everything is where it shall be.
	UpToDate State = "Up to date"
)

// Well reports whether nothing is wrong: what is not done yet is being done.
func (s State) Well() bool { return s == UpToDate || s == Receiving || s == Sending }

// judge says how the machines and the whole are, by what else is in s.
func (s *Status) judge() {
	for i := range s.Machines {
		m := &s.Machines[i]
		m.State = s.stateOf(m)
	}
	s.State, s.Reason = s.whole()
}

// stateOf is how a machine is, as this one sees it.
func (s *Status) stateOf(m *MachineStatus) State {
	switch {
	case s.grave(m.ID) != nil:
		return NeedsYou
	case m.Self && !s.Running, !m.Self && !m.Connected:
		return Offline
	case m.Self && s.Queue.Files > 0, m.Queue.Files > 0:
		return Receiving
	case m.Self && s.Copying > 0 && s.Sent.Rate > 0:
		return Sending
	}
	return UpToDate
}

// grave returns an alarm about a machine that does not pass by itself.
func (s *Status) grave(id store.MachineID) *Alarm {
	i := slices.IndexFunc(s.Alarms, func(a Alarm) bool { return a.Machine == id.String() && !pass(a.Kind) })
	if i < 0 {
		return nil
	}
	return &s.Alarms[i]
}

// whole is how everything is, and why.
func (s *Status) whole() (State, string) {
	connected, others := 0, 0
	var away []string
	for _, m := range s.Machines {
		switch {
		case m.Self:
			continue
		case m.Connected:
			connected++
		default:
			away = append(away, m.called())
		}
		others++
	}
	lasting := slices.IndexFunc(s.Alarms, func(a Alarm) bool { return !pass(a.Kind) })
	switch {
	case lasting >= 0:
		return NeedsYou, s.sentence(&s.Alarms[lasting])
	case s.Conflicts > 0:
		return NeedsYou, fmt.Sprintf("%s to decide: aether store conflicts list", plural(s.Conflicts, "conflict"))
	case others > 0 && !s.Running:
		return Offline, "no node runs on this machine: aether store serve"
	case others > 0 && connected == 0:
		return Offline, "no other machine can be reached: " + nameList(away)
	case s.Lacking > 0 && len(away) > 0:
		return Degraded, fmt.Sprintf("%s too few copies, and %s away", filesHave(s.Lacking), theyAre(away))
	case s.Lacking > 0 && others+1 < s.Copies:
		return Degraded, fmt.Sprintf("%s too few copies: the pool has %s, and %d copies are wanted", filesHave(s.Lacking), plural(int64(others+1), "machine"), s.Copies)
	case s.Lacking > 0:
		return Degraded, filesHave(s.Lacking) + " too few copies; other machines are being chosen for them"
	case s.Queue.Files > 0:
		return Receiving, ""
	case s.Copying > 0:
		return Sending, fmt.Sprintf("%s being copied to other machines", plural(s.Copying, "file"))
	}
	return UpToDate, ""
}

// sentence says what an alarm is about.
func (s *Status) sentence(a *Alarm) string {
	for _, m := range s.Machines {
		if m.ID.String() == a.Machine && !m.Self {
			return m.called() + ": " + a.Text
		}
	}
	return a.Text
}

// called is the name of a machine, or the short form of its ID.
func (m *MachineStatus) called() string {
	if m.Name == "" {
		return m.ID.Short()
	}
	return m.Name
}

// namesShown bounds the names in a sentence.
const namesShown = 3

// nameList lists names in a sentence.
func nameList(list []string) string {
	if len(list) > namesShown {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:namesShown-1], ", "), len(list)-namesShown+1)
	}
	return strings.Join(list, ", ")
}

func theyAre(list []string) string {
	if len(list) == 1 {
		return list[0] + " is"
	}
	return nameList(list) + " are"
}

func filesHave(n int64) string {
	if n == 1 {
		return "1 file has"
	}
	return plural(n, "file") + " have"
}

func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
