package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/pool"
)

func TestAlarms_CountWhatIsTheSame(t *testing.T) {
	var as alarms
	at := time.Unix(1_700_000_000, 0).UTC()
	if !as.raise(at, AlarmClock, "m1", "an hour ahead") || as.raise(at.Add(time.Second), AlarmClock, "m1", "two hours ahead") {
		t.Error("the first is new, the second is not")
	}
	as.raise(at.Add(time.Minute), AlarmDiverged, "m1", "shows another drive")
	got, _ := as.list(at.Add(48 * time.Hour))
	want := []Alarm{
		{AlarmClock, "m1", "two hours ahead", at, at.Add(time.Second), 2},
		{AlarmDiverged, "m1", "shows another drive", at.Add(time.Minute), at.Add(time.Minute), 1},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("alarms\n%v\nwant\n%v", got, want)
	}
	if !as.clear(AlarmClock, "m1") || as.clear(AlarmClock, "m1") {
		t.Error("an alarm is cleared once")
	}
	if got, _ := as.list(at); len(got) != 1 || got[0].Kind != AlarmDiverged {
		t.Errorf("left: %v", got)
	}
}

func TestAlarms_PassWhereSomethingHappenedOnce(t *testing.T) {
	var as alarms
	at := time.Unix(1_700_000_000, 0)
	as.raise(at, AlarmRefused, "192.0.2.1:5", "no member")
	if got, _ := as.list(at.Add(passing)); len(got) != 1 {
		t.Errorf("after %v: %v", passing, got)
	}
	if got, _ := as.list(at.Add(passing + time.Second)); len(got) != 0 {
		t.Errorf("later: %v", got)
	}
}

func TestAlarms_AreBounded(t *testing.T) {
	var as alarms
	at := time.Unix(1_700_000_000, 0)
	as.raise(at.Add(-time.Hour/2), AlarmDiverged, "m", "shows another drive")
	for i := range maxAlarms + 2 {
		as.raise(at.Add(time.Duration(i)*time.Millisecond), AlarmRefused, fmt.Sprint(i), "no member")
	}
	got, dropped := as.list(at.Add(time.Second))
	if len(got) != maxAlarms || dropped != 3 || got[0].Kind != AlarmDiverged || got[1].Machine != "3" {
		t.Errorf("%d alarms, %d dropped, the first are %v", len(got), dropped, got[:2])
	}
}

// What nothing would tell again is remembered over a restart, for as long as it would have
// been shown; what is taken back is forgotten.
func TestAlarms_AreRememberedOverARestart(t *testing.T) {
	dir := t.TempDir()
	open := func() *Machine {
		t.Helper()
		m, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if _, err := Init(Config{Dir: dir}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	m := open()
	m.alarm(AlarmForked, "m1", "two logs")
	m.alarm(AlarmForked, "m2", "two logs")
	m.clear(AlarmForked, "m2")
	m.alarm(AlarmFlood, "m1", "it asks for too much")
	m.alarms.raise(time.Now().Add(-2*passing), AlarmFault, "m3", "long ago")
	if err := m.alarms.save(m.kv, time.Now(), alarmKey{AlarmFault, "m3"}); err != nil {
		t.Fatal(err)
	}
	m.alarm(AlarmFull, "", "no room") // is seen again while it is so
	before, _ := m.alarms.list(time.Now())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open()
	defer m.Close()
	after, _ := m.alarms.list(time.Now())
	if len(after) != 2 || fmt.Sprint(after[0]) != fmt.Sprint(before[0]) || after[1].Kind != AlarmFlood || after[1].Text != "it asks for too much" {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func TestAlarms_RememberedOnesAreBounded(t *testing.T) {
	kv := index.NewMemory()
	var as alarms
	at := time.Unix(1_700_000_000, 0)
	for i := range 10 * maxAlarms {
		at = at.Add(time.Second)
		as.raise(at, AlarmRefused, fmt.Sprint(i), "no member")
		if err := as.save(kv, at, alarmKey{AlarmRefused, fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	rows := 0
	if err := kv.Scan([]byte{store.PrefixNode}, nil, func(_, _ []byte) bool { rows++; return true }); err != nil {
		t.Fatal(err)
	}
	if rows > 2*maxAlarms+1 {
		t.Errorf("%d rows", rows)
	}
}
