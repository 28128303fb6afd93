package gossip

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// hand gives host to an Entries message as if host from had sent it.
func (w *world) hand(from, to int, number uint64, runs ...run) {
	h := w.hosts[to]
	h.e.HandlePacket(w.now, Packet{id(from), encode(&entriesMessage{Session: 77, Number: number, Runs: runs})})
	w.absorb(to)
	w.flush(to)
}

func events[T Event](w *world, i int) (out []T) {
	for _, ev := range w.hosts[i].e.Events() {
		if ev, ok := ev.(T); ok {
			out = append(out, ev)
		}
	}
	return out
}

// meet makes n hosts that all know of each other.
func meet(t *testing.T, n int) *world {
	w := newWorld(t, n, 1, sound)
	w.mesh()
	w.run(time.Second)
	return w
}

func TestProve_ForgedEntriesAreCountedAndTheirBringerIsNamed(t *testing.T) {
	good := signedRun(1, 1, start(id(1)), payloads(3, 10)...)
	altered := func(f func(r *run)) run {
		r := good
		r.Payloads = slices.Clone(good.Payloads)
		r.Seal = slices.Clone(good.Seal)
		f(&r)
		return r
	}
	for name, r := range map[string]run{
		"altered payload":   altered(func(r *run) { r.Payloads[1] = []byte("other") }),
		"left out":          altered(func(r *run) { r.Payloads = r.Payloads[:2] }),
		"another's key":     altered(func(r *run) { r.Seal = signedRun(0, 1, start(id(0)), payloads(3, 10)...).Seal }),
		"altered signature": altered(func(r *run) { r.Seal[sealSize-1] ^= 1 }),
		"another's entries": altered(func(r *run) { r.Machine = id(2) }),
		"shifted":           altered(func(r *run) { r.Payloads = append([][]byte{nil}, r.Payloads...) }),
		"altered past":      altered(func(r *run) { r.Before[0] ^= 1 }),
	} {
		t.Run(name, func(t *testing.T) {
			w := meet(t, 3)
			for n := range uint64(20) {
				w.hand(0, 2, n+1, r)
			}
			if len(w.hosts[2].applied) != 0 {
				t.Error("forged entries were taken")
			}
			if ev := events[Forged](w, 2); len(ev) != 1 || ev[0] != (Forged{Peer: id(0), Author: r.Machine}) {
				t.Error(ev)
			}
			if n := w.hosts[2].e.Counters().Forged; n < 40 {
				t.Errorf("%d counted", n)
			}
			w.hand(1, 2, 1, good)
			if len(w.hosts[2].applied) != 3 {
				t.Error("the author itself is not believed any more")
			}
		})
	}
}

func TestProve_ReplayedEntriesChangeNothing(t *testing.T) {
	w := meet(t, 2)
	r := signedRun(0, 1, start(id(0)), payloads(3, 10)...)
	for n := range uint64(5) {
		w.hand(0, 1, n+1, r)
	}
	c := w.hosts[1].e.Counters()
	if len(w.hosts[1].applied) != 3 || c.Duplicate != 12 || c.Forged != 0 || w.failure != "" {
		t.Errorf("%d applied, %+v %s", len(w.hosts[1].applied), c, w.failure)
	}
}

func TestProve_EntriesThatOverlapGoOnWhereTheyAreNew(t *testing.T) {
	w := meet(t, 2)
	ps := payloads(6, 10)
	w.hand(0, 1, 1, signedRun(0, 1, start(id(0)), ps[:4]...))
	w.hand(0, 1, 2, signedRun(0, 1, start(id(0)), ps...))
	if n := w.hosts[1].e.Vector()[id(0)]; n != 6 {
		t.Error(n)
	}
}

func TestProve_RelaysPassOnTheHeadsOfAuthors(t *testing.T) {
	w := newWorld(t, 4, 1, sound)
	for i := range 3 {
		w.connect(i, i+1) // a line: 3 hears of 0 through two others
	}
	for n := range 40 {
		w.write(0, payloads(1+n%7, 20+n*100)...)
		w.run(time.Duration(n%5) * 20 * time.Millisecond)
	}
	w.run(time.Minute)
	w.mustAgree(t, len(w.hosts[0].applied))
	for i := 1; i < 4; i++ {
		if c := w.hosts[i].e.Counters(); c.Forged != 0 || c.Unread != 0 {
			t.Errorf("%d: %+v", i, c)
		}
	}
	heads := 0
	for k := range w.hosts[3].kv.now {
		if k[1] == headKeys {
			heads++
		}
	}
	if heads == 0 || heads > 12 {
		t.Errorf("%d heads are kept of 40 that came", heads)
	}
}

func TestProve_HeadThatHasNotComeHoldsBackItsEntriesOnly(t *testing.T) {
	w := newWorld(t, 3, 1, sound)
	b := w.hosts[1].e
	b.cfg.Inbox = 8000 // a part of what comes under one head
	w.write(0, payloads(100, 100)...)
	w.connect(0, 1)
	w.run(12 * time.Millisecond)
	for w.hosts[1].e.Vector()[id(0)] == 0 {
		w.run(time.Millisecond)
	}
	if n := b.Vector()[id(0)]; n == 0 || n >= 100 || b.log.covered[id(0)] != 0 {
		t.Fatalf("%d entries are here, %d can be passed on", n, b.log.covered[id(0)])
	}
	w.cut(0, 1)
	w.connect(1, 2)
	w.run(time.Minute)
	if len(w.hosts[2].applied) != 0 {
		t.Error("entries without a head were passed on")
	}
	w.connect(0, 1)
	w.run(time.Minute)
	w.mustAgree(t, 100)
}

// fork gives host i the log of before back, and so another one than it had.
func (w *world) fork(i, entries int) {
	h := w.hosts[i]
	for k := range w.hosts {
		w.cut(i, k)
	}
	old := newMemKV()
	for k, v := range h.kv.now {
		if k[1] == entryKeys && store.MachineID([]byte(k[2:18])) == h.id && dotOf(k).Seq > uint64(entries) {
			continue
		}
		if k[1] == entryKeys {
			old.now[k] = v
		}
	}
	ps := make([][]byte, entries)
	for k, v := range old.now {
		if d := dotOf(k); d.Machine == h.id {
			ps[d.Seq-1] = v
		}
	}
	h.kv = newMemKV()
	w.open(h)
	w.write(i, ps...)
}

func TestFork_IsFoundAndNobodyTakesMore(t *testing.T) {
	for ours := range 3 { // how many entries the second log has that the first has otherwise
		t.Run(fmt.Sprint(ours), func(t *testing.T) {
			w := meet(t, 3)
			w.write(0, payloads(5, 10)...)
			w.run(time.Second)
			w.fork(0, 4)
			for n := range ours {
				w.write(0, fmt.Appendf(nil, "other %d", n))
			}
			w.mesh()
			w.run(time.Minute)
			if ours == 0 { // it has written nothing else: its own come back
				w.mustAgree(t, 5)
				if ev := events[Relapsed](w, 0); len(ev) == 0 {
					t.Error("it was not told")
				}
				return
			}
			for i := range 3 {
				ev := events[Forked](w, i)
				if len(ev) != 1 || ev[0].Author != id(0) || ev[0].Seq > 5 {
					t.Errorf("%d: %v", i, ev)
				}
			}
			if tx := w.hosts[0].kv.Begin(); !errors.Is(w.hosts[0].e.Append(tx, store.Dot{Machine: id(0), Seq: 5 + uint64(ours)}, nil), ErrForked) {
				t.Error("it may go on")
			}
			before, sent := len(w.hosts[1].applied), w.kinds[kindEntries]
			w.crash(1) // it remembers
			w.mesh()
			w.run(10 * time.Minute)
			if len(w.hosts[1].applied) != before || w.kinds[kindEntries]-sent > 4 {
				t.Errorf("%d entries, not %d; %d messages of entries", len(w.hosts[1].applied), before, w.kinds[kindEntries]-sent)
			}
			w.write(2, []byte("others go on"))
			w.run(time.Minute)
			if _, ok := w.hosts[1].applied[store.Dot{Machine: id(2), Seq: 1}]; !ok {
				t.Error("the others do not hear of each other")
			}
		})
	}
}

func TestFork_WhoHasTheOtherLogIsShownThisOne(t *testing.T) {
	w := newWorld(t, 3, 1, sound)
	w.connect(0, 1)
	w.write(0, payloads(5, 10)...)
	w.run(time.Second)
	w.fork(0, 4)
	w.write(0, []byte("five"), []byte("six"))
	w.connect(0, 2)
	w.run(time.Minute)
	w.cut(0, 2)
	w.connect(1, 2) // neither has ever seen both logs
	w.run(time.Minute)
	for _, i := range []int{1, 2} {
		if ev := events[Forked](w, i); len(ev) != 1 || ev[0].Author != id(0) {
			t.Errorf("%d: %v", i, ev)
		}
	}
}

func TestRelapse_NothingIsAppendedBeforeAllIsBack(t *testing.T) {
	w := meet(t, 2)
	w.write(0, payloads(5, 10)...)
	w.run(time.Second)
	w.cut(0, 1)
	w.hosts[0].kv = newMemKV()
	w.open(w.hosts[0])
	e := w.hosts[0].e
	if err := e.Ready(); err != nil {
		t.Fatal(err)
	}
	w.connect(0, 1)
	w.run(delay) // the vector has come, the entries have not
	if err := e.Append(w.hosts[0].kv.Begin(), store.Dot{Machine: id(0), Seq: 1}, nil); !errors.Is(err, ErrRelapsed) {
		t.Error(err)
	}
	w.run(time.Second)
	if err := e.Ready(); err != nil || e.Vector()[id(0)] != 5 {
		t.Error(err, e.Vector())
	}
}

func TestRelapse_NobodyCanInventEntriesOfOurs(t *testing.T) {
	w := meet(t, 3)
	h := make([]byte, 32)
	w.hosts[0].e.HandlePacket(w.now, Packet{id(1), encode(&vectorMessage{
		Has: []has{{Machine: id(0), Seq: 1 << 60, Inventory: maxCounter}}, Yours: []claim{{Seq: 1 << 60, Hash: h, Seal: make([]byte, sealSize)}}})})
	if err := w.hosts[0].e.Ready(); err != nil {
		t.Error(err)
	}
	if ev := events[Forged](w, 0); len(ev) != 1 {
		t.Error(ev)
	}
	if err := w.hosts[0].e.SetInventory(w.now, []byte("mine")); err != nil {
		t.Error(err)
	}
	w.flush(0)
	w.run(time.Second)
	if b, _ := w.hosts[2].e.Inventory(id(0)); string(b) != "mine" {
		t.Errorf("a lie about its counter hides an inventory: %q", b)
	}
}

func TestInventory_ForgedIsDropped(t *testing.T) {
	w := meet(t, 3)
	m := signedInventory(1, 5, []byte("true"))
	m.Bytes = []byte("lie")
	w.hosts[0].e.HandlePacket(w.now, Packet{id(2), encode(m)})
	if _, ok := w.hosts[0].e.Inventory(id(1)); ok {
		t.Error("taken")
	}
	if ev := events[Forged](w, 0); len(ev) != 1 || ev[0] != (Forged{Peer: id(2), Author: id(1)}) {
		t.Error(ev)
	}
}

func TestMember_EntriesOfOthersAreRefusedAndNotSentAgain(t *testing.T) {
	w := newWorld(t, 3, 1, sound)
	member := false
	w.hosts[2].e.cfg.Member = func(m store.MachineID) bool { return member || m != id(0) }
	w.write(0, payloads(5, 10)...)
	w.write(1, payloads(3, 10)...)
	w.mesh()
	w.run(10 * time.Minute)
	if v := w.hosts[2].e.Vector(); v[id(0)] != 0 || v[id(1)] != 3 {
		t.Error(v)
	}
	if n := w.hosts[2].e.Counters().Refused; n > 20 {
		t.Errorf("%d entries were sent that are not wanted", n)
	}
	member = true
	w.run(time.Minute)
	w.mustAgree(t, 8)
}

func BenchmarkAppend(b *testing.B) {
	w := newWorld(b, 1, 1, sound)
	h, tx := w.hosts[0], discard{}
	payload := make([]byte, 180)
	b.ReportAllocs()
	for n := range b.N {
		if err := h.e.Append(tx, store.Dot{Machine: h.id, Seq: uint64(n) + 1}, payload); err != nil {
			b.Fatal(err)
		}
		h.e.log.committed()
	}
}

// discard is a Txn that keeps nothing.
type discard struct{ store.Txn }

func (discard) Set(_, _ []byte) error { return nil }
func (discard) Delete(_ []byte) error { return nil }
