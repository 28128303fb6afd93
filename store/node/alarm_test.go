package node

import (
	"fmt"
	"testing"
	"time"
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
