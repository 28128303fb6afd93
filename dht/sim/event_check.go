package sim

import (
	"fmt"
	"slices"

	"github.com/aether-lan/aether/dht"
)

// sorted returns the running hosts in the order of the ring.
func (w *world) sorted() []*host {
	list := w.running()
	slices.SortFunc(list, func(a, b *host) int { return a.self.ID.Compare(b.self.ID) })
	return list
}

// whole returns nil when all running nodes are one ordered ring with right lists.
func (w *world) whole() error {
	list := w.sorted()
	for i, h := range list {
		v := h.node.View()
		if want := list[(i+len(list)-1)%len(list)].self; !v.Predecessor.Is(want) {
			return fmt.Errorf("host %d has host %d for its predecessor, which is host %d", h.at, w.number(v.Predecessor), w.number(want))
		}
		if least := min(len(list)-1, 6); len(v.Successors) < least {
			return fmt.Errorf("host %d has %d successors of %d", h.at, len(v.Successors), least)
		}
		for k, p := range v.Successors {
			if want := list[(i+1+k)%len(list)].self; !p.Is(want) {
				return fmt.Errorf("successor %d of host %d is host %d, ought to be host %d", k+1, h.at, w.number(p), w.number(want))
			}
		}
	}
	return nil
}

// known returns nil when every node that keeps all members has exactly the running
// ones.
func (w *world) known() error {
	list := w.sorted()
	for _, h := range list {
		s := h.node.Status()
		if !s.Full {
			continue
		}
		var have []dht.Peer
		for _, m := range h.node.Members() {
			if m.State == dht.Alive || m.State == dht.Suspect {
				have = append(have, m.Peer)
			}
		}
		if len(have) != len(list) {
			return fmt.Errorf("host %d knows %d members of %d", h.at, len(have), len(list))
		}
		for i, p := range have {
			if !p.Is(list[i].self) {
				return fmt.Errorf("host %d has host %d, incarnation %d, for a member", h.at, w.number(p), p.Incarnation)
			}
		}
	}
	return nil
}

func (w *world) number(p dht.Peer) int {
	if h := w.byID[p.ID]; h != nil {
		return h.at
	}
	return -1
}

// owner returns the running host that owns a key.
func (w *world) owner(key dht.ID) *host {
	list := w.sorted()
	i, _ := slices.BinarySearchFunc(list, key, func(h *host, key dht.ID) int { return h.self.ID.Compare(key) })
	return list[i%len(list)]
}

// bounded returns nil when no node keeps more than it may.
func (w *world) bounded() error {
	for _, h := range w.running() {
		s := h.node.Status()
		most := w.node.MaxMembers
		if most == 0 {
			most = 1024
		}
		if all := len(h.node.Members()); all > 4*most+4*dht.MaxSuccessors+64 || s.Calls > 8192 || s.Lookups > 4096 || s.Dead > most+len(h.known) {
			return fmt.Errorf("host %d keeps %d peers, %d calls, %d lookups", h.at, all, s.Calls, s.Lookups)
		}
	}
	return nil
}
