package sim

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// plan lets things go wrong from time to time.
func (w *world) plan() {
	w.after(w.exponential(1200*time.Millisecond), func() {
		if w.calm {
			return
		}
		w.mishap()
		w.plan()
	})
}

// mishaps are the faults that happen at a moment.
var mishaps = []fault{partition, oneWay, omni, clog, crash, pause, jump, wipe, membership, transfer, fullDisk}

func (w *world) mishap() {
	var can []fault
	for _, f := range mishaps {
		if w.has(f) {
			can = append(can, f)
		}
	}
	if len(can) == 0 {
		return
	}
	f := can[w.rng.IntN(len(can))]
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if l := w.leader(); l != nil && w.rng.IntN(2) == 0 {
		h = l
	}
	switch f {
	case crash:
		h.crash()
		w.after(w.exponential(time.Second), h.start)
	case pause:
		if l := w.leader(); l != nil && w.rng.IntN(2) == 0 {
			h = l
		}
		h.pause(time.Second + w.exponential(2*time.Second))
	case jump:
		h.clock.ahead += w.exponential(2 * time.Second)
	case wipe:
		w.wipe(h)
	case membership:
		w.change()
	case transfer:
		if l := w.leader(); l != nil && !l.stopped {
			_ = l.node.Transfer(l.local(), h.id) // refused if h does not count
			l.pump()
		}
	case fullDisk:
		h.full = true
		w.trace.host(w.now, h.index(), "has a full disk")
		w.after(w.exponential(2*time.Second), func() { h.full = false })
	default:
		w.net.partition(f)
	}
}

func (w *world) note(s string) { w.trace.note(w.now, s) }

// leader returns the host that leads in the highest ballot.
func (w *world) leader() (l *host) {
	var best paxos.Ballot
	for _, h := range w.hosts {
		if h.node == nil {
			continue
		}
		if s := h.node.Status(h.local()); s.Role == paxos.Leading && best.Less(s.Ballot) {
			l, best = h, s.Ballot
		}
	}
	return l
}

// wipe loses all of a disk, if all others are whole: a protocol can survive the loss
// of a minority only.
func (w *world) wipe(h *host) {
	m := w.check.ref.members
	if m.Slot == 0 || h.node == nil {
		return
	}
	voters, live := 0, 0
	for _, v := range m.Members {
		if v.Learner {
			continue
		}
		voters++
		o := w.hosts[v.ID-1]
		if o.node == nil {
			continue
		}
		if s := o.node.Status(o.local()); s.Slots.Accepted != s.Slots.Chosen || s.Load.Waiting > 0 {
			return // a change of membership may be on its way
		}
		if o.node.Status(o.local()).Members.Slot == m.Slot && o.app.slot == w.check.ref.slot && o.disk.stable.hard.Incarnation == v.Incarnation &&
			max(o.disk.stable.hard.Chosen, o.disk.index) >= m.Slot {
			live++
		}
	}
	if live < voters || voters < 3 {
		return
	}
	h.crash()
	h.disk = newDisk()
	h.w.trace.host(w.now, h.index(), "has its disk wiped")
	w.after(w.exponential(time.Second), h.start)
}

// change asks the leader for a random change of membership.
func (w *world) change() {
	l := w.leader()
	if l == nil || l.stopped {
		return
	}
	for _, v := range w.check.ref.members.Members {
		if h := w.hosts[v.ID-1]; v.Incarnation != 0 && h.disk.stable.hard.Incarnation != v.Incarnation {
			return // one disk is lost already
		}
	}
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	m := l.node.Status(l.local()).Members
	var err error
	what := "remove"
	if _, ok := m.Find(h.id); ok {
		if m.Voters() <= 2 {
			return
		}
		err = l.node.RemoveMember(l.local(), h.id)
	} else {
		what = "add"
		err = l.node.AddMember(l.local(), paxos.Member{ID: h.id, Promote: true})
	}
	w.note(fmt.Sprintf("ask host %v to %s %v: %v", l.id, what, h.id, err))
	l.pump()
}

// settle ends all mishaps and lets every host run.
func (w *world) settle() {
	w.calm = true
	w.net.heal()
	w.knobs.sync = time.Millisecond
	if w.knobs.faults.has(crashAll) {
		for _, h := range w.hosts {
			h.crash()
		}
	}
	for _, h := range w.hosts {
		h.full = false
		if h.hung {
			h.crash()
		}
		h.start()
	}
	w.note("all is well from here on")
}

// settled reports whether the cluster is whole: one leader, everything answered and
// every member where the others are.
func (w *world) settled() bool {
	for _, c := range w.clients {
		if c.busy || c.left > 0 {
			return false
		}
	}
	l := w.leader()
	if l == nil || l.stopped {
		return false
	}
	s := l.node.Status(l.local())
	for _, m := range s.Members.Members {
		h := w.hosts[m.ID-1]
		if h.node == nil || h.stopped || h.app.slot != s.Slots.Chosen || h.app.slot != w.check.ref.slot {
			return false
		}
		if m.Learner || h.disk.stable.hard.Incarnation != m.Incarnation {
			return false
		}
	}
	return s.Slots.Accepted == s.Slots.Chosen
}

// unsettled says what is missing.
func (w *world) unsettled() string {
	s := "liveness: the cluster does not recover:"
	for _, h := range w.hosts {
		if h.node == nil {
			s += fmt.Sprintf(" host %v is down;", h.id)
			continue
		}
		t := h.node.Status(h.local())
		s += fmt.Sprintf(" host %v %v ballot %v leader %v slots %+v members %v of %d, inc %v: %s;", h.id, t.Role, t.Ballot, t.Leader, t.Slots, t.Members.Slot, len(t.Members.Members), t.Incarnation, t.Stuck)
	}
	for _, c := range w.clients {
		if c.busy || c.left > 0 {
			s += fmt.Sprintf(" client %d waits;", c.id)
		}
	}
	return s
}
