package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
)

// Machines whose clocks are far off would win or lose every conflict. So each asks
// the others for the time, and one that is far from the middle of all stamps its
// changes by the middle. It corrects before it stamps, so that all machines see the
// same stamps.

// methodClock asks a machine for its time: answered with 8 bytes, nanoseconds since
// 1970 by the clock of the host, big endian.
const methodClock uint16 = 32

const (
	// clockBound is how far from the middle a clock may be.
	clockBound = 5 * time.Second
	// clockPeers is how many others must say the time before anything is corrected.
	clockPeers = 2
	// clockEvery is how often others are asked again, clockAsk how many at once, and
	// clockFresh how long an answer counts.
	clockEvery = time.Minute
	clockAsk   = 4
	clockFresh = 10 * time.Minute
	// clockTries is how often a machine is asked at first, of which the quickest answer
	// counts.
	clockTries = 3
	// clockTick is how often it is looked whether the clock of this host was set.
	clockTick = time.Second
	// clockStep is how far a clock must be set to be noticed.
	clockStep = time.Second
)

// Clock is how the clock of this machine compares with those of others.
type Clock struct {
	// Offset is how far the middle of all clocks is ahead of this one, in seconds.
	Offset float64 `json:"offset"`
	// Peers is how many other machines have said the time of late.
	Peers int `json:"peers"`
	// Corrected is what is added to this clock when changes are stamped, in seconds:
	// zero while it is within 5 s of the middle, or fewer than two others are known.
	Corrected float64 `json:"corrected"`
}

// reading is how far another clock is ahead of ours, known to half of trip.
type reading struct {
	offset, trip time.Duration
	at           time.Time
}

// clocks compares this host's clock with those of other machines.
type clocks struct {
	mu         sync.Mutex
	of         map[store.MachineID]reading
	ahead      time.Duration // of the clock before the time that has passed, at the last tick
	ticked     bool
	correction time.Duration
	wrong      time.Duration // by how much tests put this clock wrong
}

// read returns what the host's clock says at now.
func (c *clocks) read(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Add(c.wrong)
}

// stamp returns the time with which to stamp a change made at now.
func (c *clocks) stamp(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Add(c.wrong + c.correction)
}

// tick notes that the clock says now when up has passed since some instant, by a clock
// that nobody sets. When the clock was set since the last tick, which it reports, all
// that is known of others is void.
func (c *clocks) tick(now time.Time, up time.Duration) (set bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ahead := time.Duration(now.UnixNano()) - up
	set = c.ticked && (ahead-c.ahead).Abs() > clockStep
	if set {
		clear(c.of)
		c.correction = 0
	}
	c.ahead, c.ticked = ahead, true
	for id, r := range c.of {
		if now.Sub(r.at) > clockFresh {
			delete(c.of, id)
		}
	}
	return set
}

// note takes an answer: the quicker of two counts, unless the clocks have moved.
func (c *clocks) note(id store.MachineID, r reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[store.MachineID]reading{}
	}
	old, ok := c.of[id]
	if ok && old.trip < r.trip {
		if d := r.offset - old.offset; d <= r.trip+clockStep && d >= -r.trip-clockStep {
			r.offset, r.trip = old.offset, old.trip
		}
	}
	c.of[id] = r
}

// known reports whether a machine has said the time.
func (c *clocks) known(id store.MachineID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.of[id]
	return ok
}

// forget drops what is known of machines that are not there any more, and returns them.
func (c *clocks) forget(there map[store.MachineID]bool) (gone []store.MachineID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.of {
		if !there[id] {
			delete(c.of, id)
			gone = append(gone, id)
		}
	}
	return gone
}

// middle returns the median of all clocks, ours among them, as its distance from ours;
// of an even number the one of the two in the middle that is nearer to ours.
func (c *clocks) middle() time.Duration {
	all := []time.Duration{0}
	for _, r := range c.of {
		all = append(all, r.offset)
	}
	slices.Sort(all)
	a, b := all[(len(all)-1)/2], all[len(all)/2]
	if b.Abs() < a.Abs() {
		return b
	}
	return a
}

// judge decides on the correction. It keeps an old one while too few others are there
// to say something else.
func (c *clocks) judge() Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	mid := c.middle()
	if len(c.of) >= clockPeers {
		c.correction = 0
		if mid.Abs() > clockBound {
			c.correction = mid
		}
	}
	return Clock{Offset: mid.Seconds(), Peers: len(c.of), Corrected: c.correction.Seconds()}
}

// status returns how the clocks compare now.
func (c *clocks) status() Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Clock{Offset: c.middle().Seconds(), Peers: len(c.of), Corrected: c.correction.Seconds()}
}

// off returns how far each of the others is from the middle, or from us where there is
// only one.
func (c *clocks) off() map[store.MachineID]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var mid time.Duration
	if len(c.of) >= clockPeers {
		mid = c.middle()
	}
	out := make(map[store.MachineID]time.Duration, len(c.of))
	for id, r := range c.of {
		out[id] = r.offset - mid
	}
	return out
}

// keepClock compares clocks with the machines connected until ctx ends.
func (m *Machine) keepClock(ctx context.Context, mesh *link.Mesh) error {
	t := time.NewTicker(clockTick)
	defer t.Stop()
	began := time.Now()
	var asked time.Time
	tried := map[store.MachineID]time.Time{} // who may not answer
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := time.Now()
		if m.clocks.tick(now, now.Sub(began)) {
			clear(tried)
		}
		var fresh, again []store.MachineID
		there := map[store.MachineID]bool{}
		for _, p := range mesh.Connected() {
			id := store.MachineID(p)
			there[id] = true
			switch {
			case m.clocks.known(id):
				again = append(again, id)
			case now.Sub(tried[id]) >= clockEvery:
				fresh, tried[id] = append(fresh, id), now
			}
		}
		for _, id := range m.clocks.forget(there) {
			m.clear(AlarmClock, id.String())
		}
		maps.DeleteFunc(tried, func(id store.MachineID, _ time.Time) bool { return !there[id] })
		for range clockTries {
			m.askClocks(ctx, mesh, fresh)
		}
		due := now.Sub(asked) >= clockEvery
		if due {
			asked = now
			rand.Shuffle(len(again), func(i, k int) { again[i], again[k] = again[k], again[i] })
			m.askClocks(ctx, mesh, again[:min(len(again), clockAsk)])
		}
		if (due || len(fresh) > 0) && ctx.Err() == nil {
			m.judgeClocks()
		}
	}
}

// clockTimeout is how long an answer may take: a slower one would say nothing.
const clockTimeout = 2 * time.Second

// askClocks asks machines for their time, all at once.
func (m *Machine) askClocks(ctx context.Context, mesh *link.Mesh, ids []store.MachineID) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			sent := time.Now()
			resp, err := mesh.Call(ctx, link.PeerID(id), link.Message{Method: methodClock})
			if err != nil {
				return // it is away, or does not know the question
			}
			defer resp.Release()
			now := time.Now()
			if trip := now.Sub(sent); len(resp.Header) == 8 {
				theirs := time.Unix(0, int64(binary.BigEndian.Uint64(resp.Header))).Add(trip / 2)
				m.clocks.note(id, reading{offset: theirs.Sub(m.clocks.read(now).Round(0)), trip: trip, at: now})
			}
		})
	}
	wg.Wait()
}

// serveClock answers methodClock.
func (m *Machine) serveClock() link.Message {
	now := m.clocks.read(time.Now())
	return link.Message{Header: binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()))}
}

// judgeClocks corrects this clock and raises alarms about those that are wrong.
func (m *Machine) judgeClocks() {
	c := m.clocks.judge()
	if c.Corrected != 0 {
		m.alarm(AlarmClock, m.ID().String(), fmt.Sprintf("the clock of this machine is %s the median of %d others; its changes are stamped by theirs",
			aheadOrBehind(-time.Duration(c.Corrected*float64(time.Second))), c.Peers))
	} else {
		m.clear(AlarmClock, m.ID().String())
	}
	for id, d := range m.clocks.off() {
		switch {
		case d.Abs() <= clockBound:
			m.clear(AlarmClock, id.String())
		case c.Peers < clockPeers:
			m.alarm(AlarmClock, id.String(), fmt.Sprintf("its clock is %s that of this machine, and no third one says which is right", aheadOrBehind(d)))
		default:
			m.alarm(AlarmClock, id.String(), fmt.Sprintf("its clock is %s the median of %d machines", aheadOrBehind(d), c.Peers+1))
		}
	}
}

// aheadOrBehind says in words how far one clock is from another.
func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead of"
}
