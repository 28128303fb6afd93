package node

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// bury ends a machine for ever, with its disk. Nobody keeps a promise for it: what only
// it knew is lost, and the observer takes note of that. It does so once in a run, while
// all others are there to be asked.
func (w *simWorld) bury(h *simHost) {
	others := slices.DeleteFunc(w.alive(), func(o *simHost) bool { return o == h })
	if h.m == nil || h.leaving || len(others) < 2 || len(others) < len(w.hosts)-1 ||
		slices.ContainsFunc(others, func(o *simHost) bool { return o.m == nil || o.leaving || o.waits() }) {
		return
	}
	w.note("%s is gone for ever", h)
	h.gone = true
	h.off()
	var last uint64
	for _, o := range others {
		last = max(last, o.heard(h.id))
	}
	for d := range w.past.ops {
		if d.Machine == h.id && d.Seq > last {
			delete(w.past.ops, d)
			w.count.excused++
		}
	}
	for ref := range w.past.bytes {
		if !slices.ContainsFunc(others, func(o *simHost) bool { return o.m.bodies.Has(ref) }) {
			w.past.lost[ref] = true
		}
	}
	w.count.buried++
	w.after(w.within(2*time.Minute), "forget", func() { w.forget(h) })
}

// waits reports whether the machine may have heard of something that is not in its log
// yet, because its disk is full.
func (h *simHost) waits() bool { return h.kv.full || h.m != nil && !h.m.core.stalled.IsZero() }

// forget has a machine give up one that is gone for ever, or say that it never belongs
// again, since its disk may be in the wrong hands.
func (w *simWorld) forget(gone *simHost) {
	for _, h := range w.alive() {
		if h.m == nil || h.leaving || h.kv.full || h.m.core.mayWrite() != nil {
			continue
		}
		how := []Standing{Forgotten, Revoked}[w.rng.IntN(2)]
		w.note("%s says that %s is %v", h, gone, how)
		before := h.vector()
		if err := h.m.declare(h.m.background, gone.id, how, ""); err != nil {
			w.fail("%s cannot say that %s is %v: %v", h, gone, how, err)
		}
		if how == Revoked {
			w.count.revoked++
		}
		h.issued(before)
		h.turn()
		return
	}
	w.after(10*time.Second, "forget", func() { w.forget(gone) })
}

// leave has a machine hand over what it keeps, say goodbye and end; see Machine.Leave.
func (h *simHost) leave() {
	if h.m == nil || h.leaving || h.kv.full || len(h.w.alive()) < 4 || h.m.core.mayWrite() != nil {
		return
	}
	h.leaving = true
	h.declare(Leaving)
	h.handOver()
}

func (h *simHost) declare(s Standing) {
	h.w.note("%s is %v", h, s)
	before := h.vector()
	if err := h.m.declare(h.m.background, h.id, s, ""); err != nil {
		h.w.fail("%s cannot say that it is %v: %v", h, s, err)
	}
	h.issued(before)
	h.turn()
}

// handOver waits until others keep everything.
func (h *simHost) handOver() {
	life := h.life
	h.w.after(handOverInterval, "hand over", func() {
		switch {
		case h.gone:
		case h.m == nil || h.life != life || h.kv.full || h.m.core.mayWrite() != nil: // it was switched off meanwhile, and goes on
			h.handOver()
		default:
			h.balance()
			p, err := h.m.unsafe(h.m.background)
			if err != nil {
				h.w.fail("%s: %v", h, err)
			}
			h.turn()
			if p.Files > 0 {
				h.handOver()
				return
			}
			h.declare(Left)
			h.parted = true
			h.goodbye()
		}
	})
}

// goodbye waits until somebody has heard that the machine has left.
func (h *simHost) goodbye() {
	h.w.after(time.Second, "goodbye", func() {
		if h.m == nil {
			h.goodbye()
			return
		}
		own := h.vector()[h.id]
		if slices.ContainsFunc(h.w.alive(), func(o *simHost) bool { return o != h && o.heard(h.id) == own }) {
			h.w.note("%s has left", h)
			h.gone = true
			h.w.count.left++
			h.off()
			return
		}
		h.goodbye()
	})
}

// keepers counts the machines that are to keep copies.
func (w *simWorld) keepers() int {
	n := 0
	for _, h := range w.alive() {
		if w.alive()[0].m.core.members.keeps(h.id) {
			n++
		}
	}
	return n
}

// lost reports whether bytes went with a machine before anybody else had them.
func (p *simPast) isLost(c store.Content) bool { return p.lost[c.Root] }
