package replicate

import (
	"testing"

	"github.com/aether-lan/aether/store"
)

// Without takes one version out of an inventory and nothing else.
func TestInventory_Without(t *testing.T) {
	a, b := store.MachineID{'a'}, store.MachineID{'b'}
	inv := inventory{{author: a, upTo: 10, ranges: []span{{12, 12}, {15, 20}}}, {author: b, upTo: 3}}
	for seq := uint64(1); seq <= 22; seq++ {
		got := inv.without(store.Dot{Machine: a, Seq: seq})
		for s := uint64(1); s <= 22; s++ {
			d := store.Dot{Machine: a, Seq: s}
			if want := inv.covers(d) && s != seq; got.covers(d) != want {
				t.Errorf("without %d: covers %d = %v", seq, s, !want)
			}
		}
		if !got.covers(store.Dot{Machine: b, Seq: 3}) {
			t.Errorf("without %d of a: b's are gone", seq)
		}
		if _, err := parseInventory(got.append(nil)); err != nil {
			t.Errorf("without %d: %v", seq, err)
		}
	}
}

// A version that a machine could not prove does not count, and is not fetched from
// there, until it says again that it has it.
func TestEngine_Doubt(t *testing.T) {
	self, peer := store.MachineID{'s'}, store.MachineID{'p'}
	e, err := New(newMemory(), Config{Self: self})
	if err != nil {
		t.Fatal(err)
	}
	told := inventory{{author: peer, upTo: 5}}.append(nil)
	if err := e.PeerHolds(start, peer, told); err != nil {
		t.Fatal(err)
	}
	at := Assignment{Dot: store.Dot{Machine: peer, Seq: 3}, Holders: []store.MachineID{peer}}
	if n := e.Copies(at); n != 1 {
		t.Fatalf("%d copies", n)
	}
	e.Doubt(peer, at.Dot)
	e.Doubt(store.MachineID{'x'}, at.Dot) // nobody
	if n := e.Copies(at); n != 0 {
		t.Errorf("%d copies after the doubt", n)
	}
	if err := e.PeerHolds(start, peer, told); err != nil {
		t.Fatal(err)
	}
	if n := e.Copies(at); n != 1 {
		t.Errorf("%d copies once it was told anew", n)
	}
}
