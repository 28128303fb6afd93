package node

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Alarm is something about the pool or a machine of it that somebody should know of.
type Alarm struct {
	// Kind is one of the kinds below.
	Kind string `json:"kind"`
	// Machine is whom it is about: the ID of a machine or, of one that has not shown who
	// it is, its address. Empty when it is about this machine's drive as a whole.
	Machine string `json:"machine,omitempty"`
	// Text says what is wrong, for people; the latest.
	Text string `json:"text"`
	// Since is when it was first seen, and Last when it was last.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	// Count is how often it was seen.
	Count int `json:"count"`
}

// The kinds of alarms.
const (
	// AlarmRefused: somebody who does not belong, or no more, tried to connect.
	AlarmRefused = "refused"
	// AlarmFault: a machine has lied or has rotten bytes.
	AlarmFault = "fault"
	// AlarmClock: a machine's clock is far off.
	AlarmClock = "clock"
	// AlarmDiverged: two machines know the same changes and do not show the same drive.
	AlarmDiverged = "diverged"
	// AlarmFull: there is no room for what should be kept.
	AlarmFull = "full"
	// AlarmSecret: the secret of a generation of keys has not come for a while: what is
	// written under it cannot be read.
	AlarmSecret = "secret"
	// AlarmStopped: this machine cannot go on.
	AlarmStopped = "stopped"
)

const (
	// maxAlarms bounds the alarms kept.
	maxAlarms = 256
	// passing is how long an alarm of something that happened at a moment is shown after
	// it was last seen. Alarms of something that lasts are shown until they are cleared.
	passing = time.Hour
)

// pass reports whether alarms of a kind go by themselves.
func pass(kind string) bool { return kind == AlarmRefused || kind == AlarmFault || kind == AlarmFlood }

// alarmKey is what makes an alarm the same one.
type alarmKey struct{ kind, machine string }

// alarms are what is wrong now. It may be used while the core's lock is held.
type alarms struct {
	mu      sync.Mutex
	byKey   map[alarmKey]Alarm
	dropped int64 // alarms that had to go for others
}

// raise notes an alarm and reports whether it is a new one.
func (as *alarms) raise(now time.Time, kind, machine, text string) bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.expire(now)
	k := alarmKey{kind, machine}
	a, old := as.byKey[k]
	if !old {
		a = Alarm{Kind: kind, Machine: machine, Since: now.UTC()}
		as.makeRoom()
	}
	a.Text, a.Last = text, now.UTC()
	a.Count++
	if as.byKey == nil {
		as.byKey = map[alarmKey]Alarm{}
	}
	as.byKey[k] = a
	return !old
}

// makeRoom drops the alarm that was not seen for the longest time, where there are too
// many: first of those that pass, since strangers can raise as many as they like.
func (as *alarms) makeRoom() {
	if len(as.byKey) < maxAlarms {
		return
	}
	var oldest *Alarm
	for _, a := range as.byKey {
		if oldest == nil || pass(a.Kind) && !pass(oldest.Kind) || pass(a.Kind) == pass(oldest.Kind) && a.Last.Before(oldest.Last) {
			oldest = &a
		}
	}
	delete(as.byKey, alarmKey{oldest.Kind, oldest.Machine})
	as.dropped++
}

// expire drops what has passed.
func (as *alarms) expire(now time.Time) {
	for k, a := range as.byKey {
		if pass(k.kind) && now.Sub(a.Last) > passing {
			delete(as.byKey, k)
		}
	}
}

// clear takes an alarm back and reports whether there was one.
func (as *alarms) clear(kind, machine string) bool {
	as.mu.Lock()
	defer as.mu.Unlock()
	k := alarmKey{kind, machine}
	_, there := as.byKey[k]
	delete(as.byKey, k)
	return there
}

// list returns the alarms of now, oldest first, and how many had to go for others.
func (as *alarms) list(now time.Time) ([]Alarm, int64) {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.expire(now)
	all := []Alarm{}
	for _, a := range as.byKey {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Alarm) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Machine, b.Machine))
	})
	return all, as.dropped
}

// alarm notes that something is wrong, of which status tells: kind is one of the Alarm
// constants, machine the ID of the machine it is about (MachineID.String) or an address,
// text a sentence without a full stop. The same again is counted. It may be called from
// anywhere, also with the core's lock held.
func (m *Machine) alarm(kind, machine, text string) {
	if m.alarms.raise(m.now(), kind, machine, text) {
		m.log.Warn("alarm", "kind", kind, "machine", machine, "text", text)
		m.happened(Happening{Kind: HappenedAlarm, Machine: machine, Text: kind + ": " + text})
	}
}

// clear takes an alarm back: what was wrong is right again.
func (m *Machine) clear(kind, machine string) {
	if m.alarms.clear(kind, machine) {
		m.log.Info("no alarm any more", "kind", kind, "machine", machine)
		m.happened(Happening{Kind: HappenedCleared, Machine: machine, Text: kind})
	}
}
