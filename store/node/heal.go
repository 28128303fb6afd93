package node

import (
	"context"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// defaultGrace is how long a machine may be away before its copies are made anew.
const defaultGrace = 10 * time.Minute

// healEvery is how often it is looked who the members are, beside when somebody has been
// away for too long.
const healEvery = 10 * time.Second

// absences says since when machines cannot be heard of. A machine that is reached only
// by way of another is not absent while its soft state comes anew. The zero value, of
// a machine without a network, counts nobody as lost.
type absences struct {
	grace time.Duration                 // zero: nobody is ever lost
	here  map[store.MachineID]bool      // connected
	since map[store.MachineID]time.Time // not connected
}

// begin says that there is a network from now on.
func (a *absences) begin(grace time.Duration) {
	here := a.here // some may have come before
	*a = absences{grace: grace, here: map[store.MachineID]bool{}, since: map[store.MachineID]time.Time{}}
	for id := range here {
		a.here[id] = true
	}
}

func (a *absences) returned(id store.MachineID) {
	if a.here == nil {
		a.here = map[store.MachineID]bool{}
	}
	a.here[id] = true
	delete(a.since, id)
}

func (a *absences) left(now time.Time, id store.MachineID) {
	delete(a.here, id)
	if a.since != nil {
		a.since[id] = now
	}
}

// heard says that something new came from a machine, by whatever way.
func (a *absences) heard(now time.Time, id store.MachineID) {
	if _, away := a.since[id]; away {
		a.since[id] = now
	}
}

// lost reports whether a machine has been away for longer than the grace.
func (a *absences) lost(now time.Time, id store.MachineID) bool {
	since, away := a.since[id]
	return away && a.grace > 0 && now.Sub(since) >= a.grace
}

// next is when the next machine will have been away for longer than the grace, if any.
func (a *absences) next(now time.Time) (next time.Time, ok bool) {
	for _, since := range a.since {
		if t := since.Add(a.grace); a.grace > 0 && t.After(now) && (!ok || t.Before(next)) {
			next, ok = t, true
		}
	}
	return next, ok
}

// beatEvery is how often a machine gives a sign of life to those who are not connected to
// it, at least; with a short grace it is more often.
const beatEvery = 2 * time.Minute

// beat returns a number that changes now and then; 0 without a network.
func (a *absences) beat(now time.Time) int64 {
	if a.grace == 0 {
		return 0
	}
	return now.UnixNano() / int64(max(min(beatEvery, a.grace/4), time.Second))
}

// beat is the sign of life to tell at now. While all members are connected there is nobody
// who would need another one than it was told before.
func (c *core) beat(now time.Time) int64 {
	if c.absent.grace == 0 || c.soft.beat == 0 {
		return c.absent.beat(now)
	}
	for _, m := range c.members.all() {
		if m.ID != c.m.ID() && c.members.within(m.ID) && !c.absent.here[m.ID] {
			return c.absent.beat(now)
		}
	}
	return c.soft.beat
}

// watch counts members that never came from now on as away, and forgets those that are
// none.
func (a *absences) watch(now time.Time, members map[store.MachineID]bool, self store.MachineID) {
	for id := range members {
		if _, away := a.since[id]; !away && !a.here[id] && id != self {
			a.since[id] = now
		}
	}
	for id := range a.since {
		if !members[id] {
			delete(a.since, id)
		}
	}
}

// lost reports whether the copies of a machine are to be made anew: it is no member any
// more, or has been away for longer than the grace. It runs alone with the core.
func (c *core) lost(id store.MachineID) bool {
	return c.absent.lost(c.m.now(), id)
}

// lostMachines returns whether each machine is lost, as of now.
func (c *core) lostMachines() (lost func(store.MachineID) bool, away []store.MachineID) {
	now := c.m.now()
	members := map[store.MachineID]bool{}
	for _, m := range c.members.list() {
		members[m.ID] = true
	}
	c.absent.watch(now, members, c.m.ID())
	gone := map[store.MachineID]bool{}
	for id := range members {
		if c.absent.lost(now, id) {
			gone[id] = true
			away = append(away, id)
		}
	}
	slices.SortFunc(away, store.MachineID.Compare)
	return func(id store.MachineID) bool { return gone[id] || !members[id] }, away
}

// heal sees to it, until ctx ends, that the copies of machines that are lost are made
// anew elsewhere.
func (m *Machine) heal(ctx context.Context, grace time.Duration) error {
	if grace == 0 {
		grace = defaultGrace
	}
	if err := m.core.call(ctx, func() { m.core.absent.begin(grace) }); err != nil {
		return nil // ctx has ended
	}
	t := time.NewTimer(0)
	defer t.Stop()
	var h healing
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.core.leaving: // somebody has gone: it may be the first
		case <-t.C:
		}
		if err := m.healOnce(ctx, &h); err != nil && ctx.Err() == nil {
			m.log.Warn("files cannot be given new holders", "error", err)
		}
		wait := healEvery
		_ = m.core.call(ctx, func() {
			now := m.core.m.now()
			if next, ok := m.core.absent.next(now); ok {
				wait = min(wait, max(next.Sub(now), time.Millisecond))
			}
		})
		t.Reset(wait)
	}
}

// healing is what heal remembers from one look to the next.
type healing struct {
	done    []store.MachineID // lost, and dealt with
	members int
}

// healOnce looks who is lost, and deals with it.
func (m *Machine) healOnce(ctx context.Context, h *healing) error {
	var lost func(store.MachineID) bool
	var away []store.MachineID
	n := 0
	err := m.core.call(ctx, func() {
		lost, away = m.core.lostMachines()
		n = len(m.core.members.list())
	})
	if err != nil {
		return err
	}
	if len(away) > 0 && !slices.Equal(away, h.done) || n < h.members {
		for _, id := range away {
			if !slices.Contains(h.done, id) {
				m.log.Warn("a machine has been away for too long: its copies are made anew", "machine", id.String(), "name", m.NameOf(id))
			}
		}
		if err := m.reassign(ctx, lost); err != nil {
			return err
		}
	}
	h.done, h.members = away, n
	return nil
}
