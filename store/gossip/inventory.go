package gossip

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// inventories is the newest soft state of each machine.
type inventories struct {
	of    map[store.MachineID]soft
	bytes int
	floor store.Time // the greatest counter of ours that anybody has
}

// soft is one machine's inventory. Its counter is a hybrid clock of the machine
// it is of, so that it grows over restarts.
type soft struct {
	counter store.Time
	bytes   []byte
	seal    []byte            // by the machine
	fresh   []store.MachineID // peers to be sent it at once
	flow    flow
}

// An inventory that follows others of its machine too soon is dropped: newer ones replace
// it, and the last of them comes with an exchange. Machines tell a few a second.
const (
	flowRate  = 10 // a second
	flowBurst = 50
)

// flow bounds the rate at which a machine's inventory changes.
type flow struct {
	debt    float64 // changes taken, less what the rate has allowed since
	at      time.Time
	dropped int
}

// full reports whether no other change may be taken at now.
func (f *flow) full(now time.Time) bool {
	f.debt = max(0, f.debt-max(0, now.Sub(f.at).Seconds())*flowRate)
	f.at = now
	return f.debt >= flowBurst
}

// SetInventory makes b, at most MaxInventory bytes, this machine's inventory: the
// peers will have it, and those that meet them. It is not kept over a restart.
// Setting what is set already does nothing.
func (e *Engine) SetInventory(now time.Time, b []byte) error {
	if len(b) > MaxInventory {
		return fmt.Errorf("gossip: inventory of %d bytes, at most %d", len(b), MaxInventory)
	}
	old, ok := e.inventory.of[e.cfg.Self]
	if ok && bytes.Equal(old.bytes, b) {
		return nil
	}
	e.keepOwn(max(old.counter, e.inventory.floor).Next(now), bytes.Clone(b))
	return nil
}

// Inventory returns the newest inventory of a machine that has come here.
func (e *Engine) Inventory(id store.MachineID) ([]byte, bool) {
	s, ok := e.inventory.of[id]
	return s.bytes, ok
}

func (e *Engine) handleInventory(now time.Time, p *peer, m *inventoryMessage) {
	if p.forged[m.Machine] >= maxForged {
		e.counters.Forged++
		return
	}
	p.souls[m.Machine] = max(p.souls[m.Machine], m.Counter)
	for _, id := range m.Also {
		if q := e.peers[id]; q != nil {
			q.souls[m.Machine] = max(q.souls[m.Machine], m.Counter)
		}
	}
	old, ok := e.inventory.of[m.Machine]
	if m.Counter <= old.counter {
		return
	}
	if old.flow.full(now) { // which its own signature has filled
		e.counters.Flooded++
		if old.flow.dropped++; old.flow.dropped%100 == 1 {
			e.tell(Flooded{Author: m.Machine, Count: old.flow.dropped})
		}
		e.inventory.of[m.Machine] = old
		return
	}
	if !sealed(m.Machine, softText(m.Machine, m.Counter, m.Bytes), m.Seal) {
		e.forgery(p, m.Machine, 1)
		return
	}
	if m.Machine == e.cfg.Self {
		e.outbid(now, m.Counter)
		return
	}
	old.flow.debt++
	size := e.inventory.bytes - len(old.bytes) + len(m.Bytes)
	if size > e.cfg.Inventories || !ok && len(e.inventory.of) >= MaxMachines {
		e.counters.Refused++
		return
	}
	e.keepInventory(m.Machine, soft{counter: m.Counter, bytes: m.Bytes, seal: m.Seal, flow: old.flow})
	e.tell(Inventory{Machine: m.Machine, Bytes: m.Bytes})
}

// maxDirect is how many peers a machine sends its own inventory to by itself; where all
// are connected to all it comes to each just once. Beyond that it goes to a few, which
// pass it on.
const maxDirect = 32

// keepInventory stores it and chooses the peers that are sent it at once.
func (e *Engine) keepInventory(id store.MachineID, s soft) {
	inv := &e.inventory
	e.pace.news()
	inv.bytes += len(s.bytes) - len(inv.of[id].bytes)
	var behind []*peer
	for _, p := range e.order() {
		if p.met && p.id != id && p.souls[id] < s.counter {
			behind = append(behind, p)
		}
	}
	if id != e.cfg.Self || len(behind) > maxDirect {
		behind = e.choose(behind)
	}
	for _, p := range behind {
		s.fresh = append(s.fresh, p.id)
	}
	slices.SortFunc(s.fresh, store.MachineID.Compare)
	inv.of[id] = s
}

// keepOwn signs and stores the inventory of this machine.
func (e *Engine) keepOwn(c store.Time, b []byte) {
	self := e.cfg.Self
	e.keepInventory(self, soft{counter: c, bytes: b, seal: e.signer.seal(softText(self, c, b))})
}

// outbid takes note of a counter of ours that somebody has: we have signed it. If it
// is greater than what we say now, it is from before a restart with a clock that was
// ahead.
func (e *Engine) outbid(now time.Time, c store.Time) {
	e.inventory.floor = max(e.inventory.floor, c)
	if s, ok := e.inventory.of[e.cfg.Self]; ok && s.counter < c {
		e.keepOwn(c.Next(now), s.bytes)
	}
}

// lacks reports whether somebody with these counters has something newer about
// another machine than self.
func (inv *inventories) lacks(self store.MachineID, souls map[store.MachineID]store.Time) bool {
	for id, c := range souls {
		if id != self && c > inv.of[id].counter {
			return true
		}
	}
	return false
}

// pushInventories adds messages for the peers that were chosen when an inventory
// came, and for those whose vector shows that they lack one. A peer is sent its own
// only where it is later than what it says itself, which it has forgotten.
func (e *Engine) pushInventories(order []*peer, out []Packet) []Packet {
	inv := &e.inventory
	for _, id := range slices.SortedFunc(maps.Keys(inv.of), store.MachineID.Compare) {
		s := inv.of[id]
		var to []*peer
		var also []store.MachineID
		for _, p := range order {
			due := p.met && p.souls[id] < s.counter
			if due && (p.browse || slices.Contains(s.fresh, p.id)) {
				to = append(to, p)
				p.souls[id] = s.counter
			}
			if p.souls[id] >= s.counter && p.id != id && len(also) < maxAlso {
				also = append(also, p.id)
			}
		}
		for _, p := range to {
			m := &inventoryMessage{Machine: id, Counter: s.counter, Also: without(also, p.id), Bytes: s.bytes, Seal: s.seal}
			out = append(out, Packet{Peer: p.id, Message: encode(m)})
		}
		s.fresh = nil
		inv.of[id] = s
	}
	for _, p := range order {
		p.browse = false
	}
	return out
}

func without(ids []store.MachineID, id store.MachineID) []store.MachineID {
	return slices.DeleteFunc(slices.Clone(ids), func(o store.MachineID) bool { return o == id })
}
