package node

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
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

// kept reports whether alarms of a kind are remembered over a restart: those of which
// nothing tells again what they told. The others are raised anew while they are true.
func kept(kind string) bool { return pass(kind) || kind == AlarmForked }

// savedEvery is how often an alarm that is seen again and again is saved.
const savedEvery = time.Minute

// alarmKey is what makes an alarm the same one.
type alarmKey struct{ kind, machine string }

// row is the key under which an alarm is remembered.
func (k alarmKey) row() []byte {
	return append(append([]byte{store.PrefixNode, 'A'}, k.kind...), "\x00"+k.machine...)
}

// alarms are what is wrong now. It may be used while the core's lock is held.
type alarms struct {
	mu      sync.Mutex
	byKey   map[alarmKey]Alarm
	dropped int64 // alarms that had to go for others
	saving  sync.Mutex
	saved   map[alarmKey]time.Time // when those that are kept were last saved
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
	now := m.now()
	fresh := m.alarms.raise(now, kind, machine, text)
	if err := m.alarms.save(m.kv, now, alarmKey{kind, machine}); err != nil {
		m.log.Debug("an alarm is not remembered", "kind", kind, "error", err)
	}
	if fresh {
		m.log.Warn("alarm", "kind", kind, "machine", machine, "text", text)
		m.happened(Happening{Kind: HappenedAlarm, Machine: machine, Text: kind + ": " + text})
	}
}

// clear takes an alarm back: what was wrong is right again.
func (m *Machine) clear(kind, machine string) {
	if m.alarms.clear(kind, machine) {
		if err := m.alarms.save(m.kv, m.now(), alarmKey{kind, machine}); err != nil {
			m.log.Debug("an alarm is still remembered", "kind", kind, "error", err)
		}
		m.log.Info("no alarm any more", "kind", kind, "machine", machine)
		m.happened(Happening{Kind: HappenedCleared, Machine: machine, Text: kind})
	}
}

// save remembers an alarm as it is now, or forgets it.
func (as *alarms) save(kv store.KV, now time.Time, k alarmKey) error {
	if !kept(k.kind) || kv == nil {
		return nil
	}
	as.saving.Lock()
	defer as.saving.Unlock()
	as.mu.Lock()
	a, there := as.byKey[k]
	as.mu.Unlock()
	if last, ok := as.saved[k]; there && ok && now.Sub(last) < savedEvery {
		return nil
	}
	tx := kv.Begin()
	defer tx.Discard()
	store.Freeing(tx) // a few bytes, of which the user should know
	if !there {
		delete(as.saved, k)
		return errors.Join(tx.Delete(k.row()), tx.Commit(false))
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if as.saved == nil {
		as.saved = map[alarmKey]time.Time{}
	}
	as.saved[k] = now
	return errors.Join(as.prune(tx), tx.Set(k.row(), b), tx.Commit(false))
}

// prune forgets alarms that had to go for others, once there are many of them.
func (as *alarms) prune(tx store.Txn) (err error) {
	if len(as.saved) <= 2*maxAlarms {
		return nil
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	for k := range as.saved {
		if _, there := as.byKey[k]; !there {
			delete(as.saved, k)
			err = errors.Join(err, tx.Delete(k.row()))
		}
	}
	return err
}

// load takes the alarms remembered, but those that have passed, which are forgotten.
func (as *alarms) load(kv store.KV, now time.Time) error {
	var old [][]byte
	as.saved = map[alarmKey]time.Time{}
	err := kv.Scan([]byte{store.PrefixNode, 'A'}, []byte{store.PrefixNode, 'A' + 1}, func(key, value []byte) bool {
		var a Alarm
		if json.Unmarshal(value, &a) != nil || !kept(a.Kind) || pass(a.Kind) && now.Sub(a.Last) > passing || len(as.byKey) >= maxAlarms {
			old = append(old, slices.Clone(key))
			return true
		}
		if as.byKey == nil {
			as.byKey = map[alarmKey]Alarm{}
		}
		as.byKey[alarmKey{a.Kind, a.Machine}] = a
		as.saved[alarmKey{a.Kind, a.Machine}] = time.Time{}
		return true
	})
	if err != nil || len(old) == 0 {
		return err
	}
	tx := kv.Begin()
	defer tx.Discard()
	store.Freeing(tx)
	for _, key := range old {
		err = errors.Join(err, tx.Delete(key))
	}
	return errors.Join(err, tx.Commit(false))
}
