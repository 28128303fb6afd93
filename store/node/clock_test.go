package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

func TestClocks_CorrectsByTheMedian(t *testing.T) {
	s := time.Second
	for name, c := range map[string]struct {
		others []time.Duration
		want   time.Duration
	}{
		"nobody":                  {nil, 0},
		"one says nothing":        {[]time.Duration{time.Hour}, 0},
		"two that agree":          {[]time.Duration{time.Hour, time.Hour + s}, time.Hour},
		"one of two is off":       {[]time.Duration{0, -time.Hour}, 0},
		"four seconds are near":   {[]time.Duration{4 * s, 4 * s, 5 * s}, 0},
		"ten years":               {[]time.Duration{87600 * time.Hour, 87600*time.Hour - s, 87600*time.Hour + s}, 87600*time.Hour - s},
		"a liar moves nothing":    {[]time.Duration{0, s, 876000 * time.Hour}, 0},
		"half of four is not all": {[]time.Duration{0, time.Hour, time.Hour}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var k clocks
			now := time.Now()
			for i, d := range c.others {
				k.note(store.MachineID{byte(i + 1)}, reading{offset: d, trip: time.Millisecond, at: now})
			}
			got := k.judge()
			if got.Corrected != c.want.Seconds() || got.Peers != len(c.others) {
				t.Errorf("%+v, want %v", got, c.want)
			}
			if d := k.stamp(now).Sub(now); d != c.want {
				t.Errorf("stamps are %v off", d)
			}
		})
	}
}

func TestClocks_TheQuickestAnswerCountsUnlessTheClockWasSet(t *testing.T) {
	var k clocks
	now, a := time.Now(), store.MachineID{1}
	k.note(a, reading{offset: 10 * time.Millisecond, trip: time.Millisecond, at: now})
	k.note(a, reading{offset: 300 * time.Millisecond, trip: 600 * time.Millisecond, at: now})
	if r := k.of[a]; r.offset != 10*time.Millisecond {
		t.Error("a slow answer counts more than a quick one:", r)
	}
	k.note(a, reading{offset: time.Hour, trip: 600 * time.Millisecond, at: now})
	if r := k.of[a]; r.offset != time.Hour {
		t.Error("its clock was set and nobody noticed:", r)
	}
}

func TestClocks_ForgetAllWhenTheirOwnWasSet(t *testing.T) {
	var k clocks
	now := time.Now()
	k.tick(now, time.Minute)
	for i := range 3 {
		k.note(store.MachineID{byte(i + 1)}, reading{offset: time.Hour, at: now})
	}
	k.judge()
	now = now.Add(time.Second)
	k.tick(now, time.Minute+time.Second)
	if d := k.stamp(now).Sub(now); d != time.Hour {
		t.Fatal("corrected by", d)
	}
	now = now.Add(time.Hour) // somebody has put it right
	k.tick(now, time.Minute+2*time.Second)
	if d := k.stamp(now).Sub(now); d != 0 || len(k.of) != 0 {
		t.Errorf("corrected by %v as if nothing had happened", d)
	}
}

func TestServe_ClockOfOneMachineIsWrong(t *testing.T) {
	secret := pool.NewSecret()
	dir := t.TempDir()
	a := serve(t, dir+"/a", secret)
	b := serve(t, dir+"/b", secret, a.addr)
	c := serve(t, dir+"/c", secret, a.addr, b.addr)
	c.clocks.mu.Lock()
	c.clocks.wrong = -time.Hour
	c.clocks.mu.Unlock()
	eventually(t, "the clock is corrected", func() bool { return c.clocks.status().Corrected > 3590 })
	if d := time.Until(c.clocks.stamp(time.Now())); d.Abs() > 5*time.Second {
		t.Errorf("changes are stamped %v off", d)
	}
	c.put(t, "late", []byte("x"))
	eventually(t, "others say whose clock it is", func() bool {
		all, _ := a.alarms.list(time.Now())
		return slices.ContainsFunc(all, func(al Alarm) bool {
			return al.Kind == AlarmClock && al.Machine == c.ID().String() && strings.Contains(al.Text, "1h0m0s behind")
		})
	})
	if s := a.clocks.status(); s.Corrected != 0 {
		t.Errorf("a right clock was corrected: %+v", s)
	}
	s, err := c.client.Status(t.Context())
	if err != nil || s.Clock.Corrected < 3590 || s.Clock.Peers != 2 {
		t.Errorf("%+v %v", s.Clock, err)
	}
}
