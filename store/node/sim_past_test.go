package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/tree"
)

// simPast is what an observer knows who sees all machines at once: every operation
// that was ever made and not lost in a crash, what its author knew at that moment,
// and the bytes behind every address.
type simPast struct {
	ops   map[store.Dot]simOp
	bytes map[store.Ref][]byte
	lost  map[store.Ref]bool // with a machine that is gone
}

// simOp is an operation as the observer saw it being made.
type simOp struct {
	op  tree.Op
	saw store.Vector // what its author had applied, itself included
	// losers are the conflict copies that its author was shown: a save replaces none.
	losers map[store.Dot]bool
}

func newSimPast() simPast {
	return simPast{ops: map[store.Dot]simOp{}, bytes: map[store.Ref][]byte{}, lost: map[store.Ref]bool{}}
}

// vector returns what the machine has applied.
func (h *simHost) vector() store.Vector {
	v, err := h.m.tree.Vector(h.m.kv)
	if err != nil {
		h.w.fail("%s: vector: %v", h, err)
	}
	return v
}

// issued notes the operations that the machine has made since it was last asked. Until
// then it knew what before says; nil stands for what it knows now.
func (h *simHost) issued(before store.Vector) {
	now := h.vector()
	if before == nil {
		before = now
	}
	from := before[h.id]
	for from > 0 {
		if _, ok := h.w.past.ops[store.Dot{Machine: h.id, Seq: from}]; ok {
			break
		}
		from--
	}
	err := gossip.Entries(h.m.kv, h.id, from, func(e gossip.Entry) bool {
		op, err := tree.ParseOp(e.Payload)
		if err != nil {
			h.w.fail("%s made an operation that cannot be read: %v", h, err)
			return false
		}
		saw := before.Clone()
		saw[h.id] = e.Dot.Seq
		h.w.past.ops[e.Dot] = simOp{op: op, saw: saw, losers: h.losers}
		h.w.note("%s made %v: kind %d, %q, %d bytes for %v", h, e.Dot, op.Kind, op.Name, op.Version.Content.Size, h.w.names(op.Version.Holders))
		return true
	})
	if err != nil {
		h.w.fail("%s: log: %v", h, err)
	}
	h.w.checkSeen(h)
}

// checkSeen compares what the machine's latest operation says that its author knew
// with what it did know: that is what tells concurrent changes from later ones.
func (w *simWorld) checkSeen(h *simHost) {
	last := store.Dot{Machine: h.id, Seq: h.vector()[h.id]}
	made, ok := w.past.ops[last]
	if !ok {
		return
	}
	told := store.Vector{h.id: last.Seq}
	for seq := last.Seq; seq > 0; seq-- {
		op, ok := w.past.ops[store.Dot{Machine: h.id, Seq: seq}]
		if !ok {
			w.fail("%s: nobody saw operation %d being made", h, seq)
			return
		}
		for _, d := range op.op.Seen {
			told[d.Machine] = max(told[d.Machine], d.Seq)
		}
	}
	if !maps.Equal(told, made.saw) {
		w.fail("%v says that its author had seen %v, and it had seen %v", last, told, made.saw)
	}
}

// returned looks at a machine that was switched on: what it had promised must be
// there, and what a crash took back nobody may have heard of.
func (p *simPast) returned(h *simHost) {
	last := h.vector()[h.id]
	if h.robbed {
		last = p.robbed(h, last)
	}
	if last < h.acked {
		h.w.fail("%s has promised to keep its operation %d, and has only %d after a crash", h, h.acked, last)
	}
	for _, o := range h.w.hosts {
		if o == h || o.gone {
			continue
		}
		if v := o.heard(h.id); v > last {
			h.w.fail("%s knows operation %d of %s, who has only %d after a crash", o, v, h, last)
		}
	}
	for d := range p.ops {
		if d.Machine == h.id && d.Seq > last {
			delete(p.ops, d)
		}
	}
	h.issued(nil)
}

// robbed forgives a machine whose index was lost what nobody else had heard of and was
// not in the segments either. It returns the last of its operations that anybody has:
// they come back.
func (p *simPast) robbed(h *simHost, last uint64) uint64 {
	h.robbed = false
	for _, o := range h.w.hosts {
		if o != h && !o.gone {
			last = max(last, o.heard(h.id))
		}
	}
	if h.acked > last {
		h.w.count.excused += int(h.acked - last)
		h.acked = last
	}
	return last
}

// heard returns the last operation of a machine in h's log, be h on or off.
func (h *simHost) heard(id store.MachineID) (last uint64) {
	err := gossip.Entries(h.kv, id, 0, func(e gossip.Entry) bool { last = e.Dot.Seq; return true })
	if err != nil {
		h.w.fail("%s: log: %v", h, err)
	}
	return last
}

// simRefusals are the errors with which a drive may refuse what a person wants.
var simRefusals = []error{
	store.ErrNotFound, store.ErrFull, tree.ErrExist, tree.ErrNotDir, tree.ErrIsDir, tree.ErrNotEmpty, tree.ErrCycle,
	tree.ErrRoot, tree.ErrBadName, tree.ErrElsewhere, drive.ErrUnreachable,
}

// do has a person at the machine do something, which is safe when it is done.
func (h *simHost) do(what string, f func() error) error {
	before := h.vector()
	h.hasty = false
	h.losers = h.shownLosers()
	err := f()
	h.w.count.actions++
	h.w.note("%s: %s: %v", h, what, err)
	refused := func(e error) bool { return errors.Is(err, e) }
	if err != nil && !slices.ContainsFunc(simRefusals, refused) && !excused(err) {
		h.w.fail("%s: %s: %v", h, what, err)
	}
	h.issued(before)
	if err == nil && !h.hasty {
		h.acked = h.vector()[h.id]
	} else {
		h.w.count.refused++
	}
	h.turn()
	return err
}

// text makes bytes that nobody has written before.
func (w *simWorld) text(h *simHost) []byte {
	b := fmt.Appendf(nil, "%s wrote this as number %d\n", h, w.count.actions)
	for range w.rng.IntN(4) * w.rng.IntN(300) {
		b = append(b, byte('a'+w.rng.IntN(26)))
	}
	return b
}

// names returns what the machines are called.
func (w *simWorld) names(ids []store.MachineID) (all []string) {
	for _, id := range ids {
		all = append(all, w.find(id).String())
	}
	return all
}
