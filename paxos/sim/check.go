package sim

import (
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/aether-lan/aether/paxos"
)

// checker sees everything and lets nothing pass. The letters are those of the list
// in the package comment.
type checker struct {
	w        *world
	order    map[paxos.Slot]paxos.Entry // what was chosen, as first seen
	ref      *machine                   // (d, e, j) the state as it must be
	hashes   map[paxos.Slot]uint64
	members  []paxos.Membership
	accepted map[paxos.Slot][]acceptance
	promised map[paxos.Incarnation]paxos.Ballot
	history  []operation
	sessions uint64
	done     map[uint64]bool // commands that were chosen
}

// acceptance is a durable one.
type acceptance struct {
	ballot paxos.Ballot
	value  uint64 // a hash
	id     paxos.NodeID
	inc    paxos.Incarnation
}

func (c *checker) init(w *world) {
	*c = checker{
		w: w, order: map[paxos.Slot]paxos.Entry{}, hashes: map[paxos.Slot]uint64{}, accepted: map[paxos.Slot][]acceptance{},
		promised: map[paxos.Incarnation]paxos.Ballot{}, done: map[uint64]bool{},
	}
	first := paxos.Membership{AcceptQuorum: w.knobs.quorum}
	for i := range w.knobs.members {
		first.Members = append(first.Members, paxos.Member{ID: paxos.NodeID(i + 1)})
	}
	c.members = append(c.members, first)
	c.ref = newMachine(first)
}

func (c *checker) newSession() uint64 { c.sessions++; return c.sessions }

func valueHash(e paxos.Entry) uint64 {
	h := fnv.New64a()
	h.Write([]byte{byte(e.Kind)})
	h.Write(e.Value)
	return h.Sum64()
}

// chosen checks (b) on what a node gives out: one value a slot, slots in order.
func (c *checker) chosen(h *host, e paxos.Entry) {
	if e.Slot != h.app.slot+1 {
		c.w.fail("(b) host %v gives out slot %v after %v", h.id, e.Slot, h.app.slot)
		return
	}
	old, ok := c.order[e.Slot]
	if !ok {
		e.Value = slices.Clone(e.Value)
		c.order[e.Slot] = e
		c.advance()
		return
	}
	if old.Kind != e.Kind || string(old.Value) != string(e.Value) {
		c.w.fail("(b) two values for slot %v: %v %x, and at host %v %v %x", e.Slot, old.Kind, old.Value, h.id, e.Kind, e.Value)
	}
}

// advance applies to the reference what is known without gaps.
func (c *checker) advance() {
	for {
		e, ok := c.order[c.ref.slot+1]
		if !ok {
			return
		}
		cmd, _ := c.ref.apply(e, false)
		if e.Kind == paxos.Command {
			c.done[commandKey(cmd)] = true
		}
		if m := c.ref.members; m.Slot == e.Slot {
			c.members = append(c.members, m)
		}
		c.hashes[e.Slot] = c.ref.hash()
	}
}

// applied checks (d), (e) and (j): after a slot the state is what its values make,
// with every command applied once, also after a snapshot or a restart.
func (c *checker) applied(h *host) {
	if want, ok := c.hashes[h.app.slot]; ok && h.app.hash() != want {
		c.w.fail("(d) the state of host %v after slot %v is not what the chosen values make", h.id, h.app.slot)
	}
}

// sending checks (c): what a promise or an acceptance says is on disk before.
func (c *checker) sending(h *host, m paxos.Message) {
	d := h.disk.stable
	switch b := m.Body.(type) {
	case paxos.Promise:
		if d.hard.Promised.Less(b.Ballot) {
			c.w.fail("(c) host %v promises %v, its disk says %v", h.id, b.Ballot, d.hard.Promised)
		}
		for _, e := range b.Accepted {
			if e.Slot > max(d.forgotten, h.disk.index) && d.entries[e.Slot].Ballot.Less(e.Ballot) {
				c.w.fail("(c) host %v tells of an acceptance in slot %v that is not on its disk", h.id, e.Slot)
				return
			}
		}
	case paxos.Accepted:
		for s := h.app.slot + 1; s <= b.Through; s++ {
			if e, ok := d.entries[s]; !ok || e.Ballot.Less(b.Ballot) && s > b.Chosen {
				c.w.fail("(c) host %v says it accepted slot %v in %v, its disk says %v", h.id, s, b.Ballot, e.Ballot)
				return
			}
		}
	}
}

// saved checks that promises only rise and notes acceptances.
func (c *checker) saved(h *host, entries []paxos.Entry) {
	d := h.disk.stable
	inc := d.hard.Incarnation
	if d.hard.Promised.Less(c.promised[inc]) {
		c.w.fail("(c) host %v has promised %v after %v", h.id, d.hard.Promised, c.promised[inc])
	}
	c.promised[inc] = d.hard.Promised
	for _, e := range entries {
		a := acceptance{e.Ballot, valueHash(e), h.id, inc}
		if !slices.Contains(c.accepted[e.Slot], a) {
			c.accepted[e.Slot] = append(c.accepted[e.Slot], a)
		}
	}
	if h.w.knobs.every > 0 && len(h.disk.file) > 1<<18 {
		c.w.fail("(g) the log of host %v has %d bytes", h.id, len(h.disk.file))
	}
	if n := h.node.Status(h.local()).Load; n.Log > 1<<18 || n.Held > 1<<12 {
		c.w.fail("(g) host %v keeps %d bytes, %d messages", h.id, n.Log, n.Held)
	}
}

// leased checks (i): a lease that serves is the only one.
func (c *checker) leased(h *host) {
	for _, o := range c.w.hosts {
		if o != h && o.node != nil && !o.stopped {
			if _, ok := o.node.LeaseRead(o.local()); ok {
				c.w.fail("(i) hosts %v and %v both have a lease", h.id, o.id)
			}
		}
	}
}

// quorums checks (b) on what quorums accepted, whether anybody noticed or not.
func (c *checker) quorums() {
	for _, s := range slices.Sorted(maps.Keys(c.accepted)) {
		m := c.membersFor(s)
		_, q := m.Quorums()
		count := map[acceptance]int{}
		for _, a := range c.accepted[s] {
			if !m.Counts(a.id, a.inc, true) {
				continue
			}
			key := acceptance{ballot: a.ballot, value: a.value}
			count[key]++
			if e, ok := c.order[s]; ok && count[key] >= q && valueHash(e) != a.value {
				c.w.fail("(b) a quorum accepted another value in slot %v, ballot %v, than was given out", s, a.ballot)
			}
		}
	}
}

// membersFor returns who counts for slot s.
func (c *checker) membersFor(s paxos.Slot) (m paxos.Membership) {
	for _, v := range c.members {
		if v.Slot < s {
			m = v
		}
	}
	return m
}

// finish checks what only the whole history shows: (a) and (f).
func (c *checker) finish() {
	c.quorums()
	for _, op := range c.history {
		if op.answered && op.way == throughLog && !c.done[commandKey(op.command)] {
			c.w.fail("(f) client %d was told that its %v was done, and it is gone", op.client, op.command.action)
			return
		}
	}
	byKey := map[byte][]porcupine.Operation{}
	for _, op := range c.history {
		if !op.answered && op.command.action == get {
			continue
		}
		ret := int64(math.MaxInt64)
		if op.answered {
			ret = int64(op.ret)
		}
		k := op.command.key
		byKey[k] = append(byKey[k], porcupine.Operation{ClientId: int(op.client), Input: op.command, Call: int64(op.call), Output: op, Return: ret})
	}
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		if porcupine.CheckOperationsTimeout(register, byKey[k], 20*time.Second) == porcupine.Illegal {
			c.w.fail("(a) the history of key %s is not linearizable", keyName(k))
			return
		}
	}
}

// register is a key's sequential specification.
var register = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		m := machine{values: map[byte]uint64{}}
		c, op := input.(command), output.(operation)
		m.values[c.key] = state.(uint64)
		reply := m.do(c)
		return !op.answered || reply == op.reply, m.values[c.key]
	},
}

func sortKeys(keys []uint64) { slices.Sort(keys) }
