package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// payloads returns n payloads of about size bytes, all different.
func payloads(n, size int) (ps [][]byte) {
	for i := range n {
		ps = append(ps, fmt.Appendf(nil, "%0*d", size, i))
	}
	return ps
}

func (w *world) mustAgree(t *testing.T, entries int) {
	t.Helper()
	if w.failure != "" || !w.agree() || len(w.hosts[0].applied) != entries {
		t.Fatalf("no agreement on %d entries: %d here; %s", entries, len(w.hosts[0].applied), w.failure)
	}
}

func TestEngine_BulkCrossesInAFewRoundTrips(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	for range 11 {
		w.write(0, payloads(1000, 200)...)
	}
	w.connect(0, 1)
	w.run(8 * delay)
	w.mustAgree(t, 11_000)
	if w.kinds[kindEntries] > 12 || w.bytes > 11_000*220 {
		t.Errorf("%d messages of entries, %d bytes", w.kinds[kindEntries], w.bytes)
	}
}

func TestEngine_NewsIsThereAfterOneMessage(t *testing.T) {
	w := newWorld(t, 4, 1, sound)
	w.mesh()
	w.run(time.Second)
	before := w.sent
	w.write(0, []byte("news"))
	w.run(delay)
	w.mustAgree(t, 1)
	w.run(time.Second)
	// Three messages and three acknowledgements; perhaps an exchange. Nobody
	// passes on what the others were sent as well.
	if w.kinds[kindEntries] != 3 || w.sent-before > 8 {
		t.Errorf("%d messages, %d of them entries", w.sent-before, w.kinds[kindEntries])
	}
}

func TestEngine_FanoutReachesAllThroughOthers(t *testing.T) {
	w := newWorld(t, 12, 3, sound)
	w.mesh()
	w.run(time.Minute)
	w.write(5, []byte("news"))
	w.run(30 * time.Second)
	w.mustAgree(t, 1)
	if n := w.kinds[kindEntries]; n > 55 {
		t.Errorf("%d messages of entries for 11 machines", n)
	}
}

func TestEngine_LaptopCarriesBetweenTwoOffices(t *testing.T) {
	w := newWorld(t, 3, 1, sound)
	w.write(0, payloads(10, 50)...)
	w.connect(0, 2)
	w.run(time.Second)
	w.cut(0, 2)
	w.write(1, payloads(7, 50)...)
	w.connect(1, 2)
	w.run(time.Second)
	w.cut(1, 2)
	w.connect(0, 2)
	w.run(time.Second)
	w.mustAgree(t, 17)
}

func TestEngine_IdleIsOneSmallVectorPerInterval(t *testing.T) {
	w := newWorld(t, 5, 1, sound)
	w.mesh()
	for i := range w.hosts {
		w.write(i, payloads(20, 100)...)
		w.hosts[i].e.SetInventory(w.now, make([]byte, 1000))
	}
	w.run(time.Minute)
	sent, size := w.sent, w.bytes
	w.run(10 * time.Minute)
	// 5 machines, 30 intervals of 20 s.
	if n := w.sent - sent; n < 125 || n > 170 {
		t.Errorf("%d messages in ten minutes, want about 150", n)
	}
	if per := (w.bytes - size) / (w.sent - sent); per > 250 {
		t.Errorf("%d bytes a message", per)
	}
	w.mustAgree(t, 100)
	// News that reach nobody at first are asked for soon all the same.
	w.lost = 1
	w.write(2, []byte("into the void"))
	w.run(2 * time.Second)
	w.lost = 0
	w.run(30 * time.Second)
	w.mustAgree(t, 101)
}

func TestEngine_LostConnectionGoesOnWhereItStopped(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.write(0, payloads(200, 100_000)...)
	for range 20 {
		w.connect(0, 1)
		w.run(3 * delay)
		w.cut(0, 1)
	}
	w.mustAgree(t, 200)
	if n := w.bytes; n > 200*100_000*5/2 {
		t.Errorf("%d bytes for 20 MB", n)
	}
}

func TestEngine_LostMessageOnStandingConnectionIsSentAgain(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.connect(0, 1)
	w.run(time.Second)
	w.lost = 1
	w.write(0, []byte("into the void"))
	w.run(time.Second)
	w.lost = 0
	w.run(time.Minute)
	w.mustAgree(t, 1)
}

func TestEngine_LargestPayloadCrosses(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.write(0, make([]byte, MaxPayload), []byte("small"), make([]byte, MaxPayload), nil)
	w.connect(0, 1)
	w.run(time.Second)
	w.mustAgree(t, 4)
	tx := w.hosts[0].kv.Begin()
	if err := w.hosts[0].e.Append(tx, store.Dot{Machine: id(0), Seq: 5}, make([]byte, MaxPayload+1)); err == nil {
		t.Error("a larger one was taken")
	}
}

func TestEngine_AppendTakesOnlyTheNextOfSelf(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.write(0, []byte("one"))
	e, tx := w.hosts[0].e, w.hosts[0].kv.Begin()
	for _, d := range []store.Dot{{Machine: id(1), Seq: 1}, {Machine: id(0), Seq: 1}, {Machine: id(0), Seq: 3}, {Machine: id(0)}} {
		if err := e.Append(tx, d, nil); !errors.Is(err, ErrOrder) {
			t.Errorf("%v: %v", d, err)
		}
	}
	two := store.Dot{Machine: id(0), Seq: 2}
	for range 2 {
		if err := e.Append(tx, two, nil); err != nil {
			t.Error(err)
		}
		if e.Vector().Has(two) {
			t.Error("in the vector before it is committed")
		}
		e.Rollback()
	}
	if err := e.Store(tx, []Entry{{Dot: store.Dot{Machine: id(1), Seq: 2}}}); !errors.Is(err, ErrOrder) {
		t.Error("stored with a gap:", err)
	}
}

func TestEngine_RollbackHandsOverAgain(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	e := w.hosts[1].e
	e.PeerUp(epoch, id(0))
	e.HandlePacket(epoch, Packet{id(0), encode(&entriesMessage{Session: 1, Number: 1, Runs: []run{signedRun(0, 1, start(id(0)), payloads(3, 3)...)}})})
	first := e.Received()
	if len(first) != 3 || e.Received() != nil {
		t.Fatal(first)
	}
	e.Rollback()
	if again := e.Received(); len(again) != 3 || again[0].Dot != first[0].Dot {
		t.Error(again)
	}
	for _, p := range e.Outgoing() {
		if p.Message[1] == kindAck {
			t.Error("acknowledged before it is committed")
		}
	}
}

func TestEngine_UnequalRootsRaiseTheAlarmOnce(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.mesh()
	w.write(0, []byte("x"))
	w.run(time.Second)
	w.hosts[0].e.SetRoot([32]byte{1})
	w.hosts[1].e.SetRoot([32]byte{2})
	w.run(time.Minute)
	for i, h := range w.hosts {
		if ev := h.e.Events(); !slices.Equal(ev, []Event{Diverged{id(1 - i)}}) {
			t.Errorf("host %d: %v", i, ev)
		}
	}
	w.write(0, []byte("y")) // forgets the root of host 0
	w.run(time.Minute)
	for i, h := range w.hosts {
		if ev := h.e.Events(); len(ev) != 0 {
			t.Errorf("host %d, later: %v", i, ev)
		}
	}
}

func TestEngine_LostDiskIsReportedAndRefilled(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.mesh()
	w.write(0, payloads(5, 10)...)
	w.run(time.Second)
	w.cut(0, 1)
	w.hosts[0].kv = newMemKV()
	w.open(w.hosts[0])
	w.mesh()
	w.run(time.Second)
	w.mustAgree(t, 5)
	if ev := w.hosts[0].e.Events(); !slices.Contains(ev, Event(Relapsed{Peer: id(1), Ours: 0, Theirs: 5})) {
		t.Error(ev)
	}
	w.hosts[0].seq = 5
	w.write(0, []byte("goes on"))
	w.run(time.Second)
	w.mustAgree(t, 6)
}

func TestEngine_InventoryOutlivesARestartWithASlowClock(t *testing.T) {
	w := newWorld(t, 3, 1, sound)
	w.connect(0, 1)
	w.connect(1, 2)
	w.hosts[0].e.SetInventory(w.now.Add(time.Hour), []byte("from the future"))
	w.run(time.Minute)
	if b, _ := w.hosts[2].e.Inventory(id(0)); string(b) != "from the future" {
		t.Fatalf("host 2 has %q", b)
	}
	w.crash(0)
	w.hosts[0].e.SetInventory(w.now, []byte("now"))
	w.connect(0, 1)
	w.run(time.Minute)
	for _, h := range w.hosts[1:] {
		if b, _ := h.e.Inventory(id(0)); string(b) != "now" {
			t.Errorf("%s has %q", h.id.Short(), b)
		}
	}
	if err := w.hosts[0].e.SetInventory(w.now, make([]byte, MaxInventory+1)); err == nil {
		t.Error("too large an inventory was taken")
	}
}

func TestEngine_FullInboxIsRefilledFromTheVector(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	w.hosts[1].e.cfg.Inbox = 20_000
	w.write(0, payloads(1000, 100)...)
	w.connect(0, 1)
	w.run(10 * time.Second)
	w.mustAgree(t, 1000)
	if w.hosts[1].e.Counters().Overflow == 0 {
		t.Error("the inbox never overflowed")
	}
}

func TestEngine_TooManyAuthorsDoNotSpin(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	b := w.hosts[1].e
	for i := range MaxMachines {
		b.inbox.heard[store.MachineID{99, byte(i), byte(i >> 8)}] = 1
	}
	w.write(0, []byte("x"))
	w.connect(0, 1)
	w.run(time.Minute)
	if c := b.Counters(); c.Refused == 0 || w.sent > 150 {
		t.Errorf("%+v, %d messages in a minute", c, w.sent)
	}
}

func TestEngine_GarbageIsCountedAndDropped(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	e := w.hosts[0].e
	e.HandlePacket(epoch, Packet{id(1), encode(&ackMessage{})})
	e.PeerUp(epoch, id(1))
	e.HandlePacket(epoch, Packet{id(1), []byte{0xff}})
	e.HandlePacket(epoch, Packet{id(1), make([]byte, MaxMessage+1)})
	if c := e.Counters(); c.Stranger != 1 || c.Garbage != 2 {
		t.Errorf("%+v", c)
	}
}

func TestEngine_NothingToDoWithoutPeers(t *testing.T) {
	w := newWorld(t, 2, 1, sound)
	e := w.hosts[0].e
	e.PeerUp(epoch, id(0)) // itself: ignored
	if _, ok := e.NextTimeout(); ok || e.Outgoing() != nil {
		t.Error("something to do")
	}
	e.PeerUp(epoch, id(1))
	if at, ok := e.NextTimeout(); !ok || at.Before(epoch.Add(3*time.Second)) || at.After(epoch.Add(7*time.Second)) {
		t.Error(at, ok)
	}
	e.PeerDown(epoch, id(1))
	if _, ok := e.NextTimeout(); ok {
		t.Error("a timer without peers")
	}
}

func TestConfig_Bad(t *testing.T) {
	for _, cfg := range []Config{{}, {Self: id(0)}, {Self: id(0), Key: identity(1)},
		{Self: id(0), Key: identity(0), Fanout: -1}, {Self: id(0), Key: identity(0), MessageSize: 1 << 20}} {
		if _, err := New(newMemKV(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	kv := newMemKV()
	kv.now[string([]byte{store.PrefixGossip, vectorKeys, 1})] = []byte{1}
	if _, err := New(kv, Config{Self: id(0), Key: identity(0)}); err == nil {
		t.Error("a malformed vector was taken")
	}
}

func TestMessage_CheckRefuses(t *testing.T) {
	seal := make([]byte, sealSize)
	for name, m := range map[string]message{
		"unsorted vector": &vectorMessage{Has: []has{{Machine: id(1), Seq: 1}, {Machine: id(0), Seq: 1}}},
		"empty line":      &vectorMessage{Has: []has{{Machine: id(1)}}},
		"short root":      &vectorMessage{Root: []byte{1}},
		"no runs":         &entriesMessage{Number: 1},
		"number zero":     &entriesMessage{Runs: []run{{Machine: id(1), First: 1, Payloads: payloads(1, 1)}}},
		"first zero":      &entriesMessage{Number: 1, Runs: []run{{Machine: id(1), Payloads: payloads(1, 1), Seal: seal}}},
		"wrapping run":    &entriesMessage{Number: 1, Runs: []run{{Machine: id(1), First: 1<<64 - 1, Payloads: payloads(1, 1), Seal: seal}}},
		"large payload":   &entriesMessage{Number: 1, Runs: []run{{Machine: id(1), First: 1, Payloads: payloads(1, MaxPayload+1), Seal: seal}}},
		"large run":       &entriesMessage{Number: 1, Runs: []run{{Machine: id(1), First: 1, Payloads: payloads(3, MaxPayload), Seal: seal}}},
		"unsigned run":    &entriesMessage{Number: 1, Runs: []run{{Machine: id(1), First: 1, Payloads: payloads(1, 1)}}},
		"empty evidence":  &evidenceMessage{Run: run{Machine: id(1), First: 1, Seal: seal}},
		"two claims":      &vectorMessage{Yours: []claim{{Seq: 1, Hash: seal[:32], Seal: seal}, {Seq: 1, Hash: seal[:32], Seal: seal}}},
		"short claim":     &vectorMessage{Yours: []claim{{Seq: 1, Hash: seal[:31], Seal: seal}}},
		"claim of none":   &vectorMessage{Yours: []claim{{Hash: seal[:32], Seal: seal}}},
		"counter zero":    &inventoryMessage{Machine: id(1), Seal: seal},
		"far counter":     &inventoryMessage{Machine: id(1), Counter: maxCounter + 1, Seal: seal},
		"nobody's":        &inventoryMessage{Counter: 1, Seal: seal},
		"unsigned soul":   &inventoryMessage{Machine: id(1), Counter: 1},
	} {
		if _, err := parse(encode(m)); !errors.Is(err, errGarbage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// signedRun returns entries of the n-th machine from number first on, as it would
// send them.
func signedRun(n int, first uint64, before hash, ps ...[]byte) run {
	r := run{Machine: id(n), First: first, Before: before, Payloads: ps}
	s := signer{self: id(n), key: identity(n)}
	r.Seal = s.seal(headText(id(n), r.last(), r.end()))
	return r
}

func signedInventory(n int, c store.Time, b []byte) *inventoryMessage {
	s := signer{self: id(n), key: identity(n)}
	return &inventoryMessage{Machine: id(n), Counter: c, Bytes: b, Seal: s.seal(softText(id(n), c, b))}
}

func samples() [][]byte {
	r := signedRun(1, 1, start(id(1)), payloads(3, 4)...)
	h := r.end()
	return [][]byte{
		encode(&vectorMessage{Has: []has{{Machine: id(0), Seq: 3, Tail: 7}, {Machine: id(1), Inventory: 9}, {Machine: id(2), Refused: true}}, Root: make([]byte, 32), Want: true}),
		encode(&vectorMessage{Yours: []claim{{Seq: 3, Hash: h[:], Seal: r.Seal}}}),
		encode(&entriesMessage{Session: 1, Number: 1, Also: []store.MachineID{id(2)}, Runs: []run{r}}),
		encode(&entriesMessage{Session: 1, Number: 2, Runs: []run{signedRun(1, 9, h, payloads(1, 4)...)}}),
		encode(&ackMessage{Session: 1, First: 1, Number: 2}),
		encode(signedInventory(1, 5, []byte("x"))),
		encode(&evidenceMessage{Run: r}),
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if again := encode(m); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// FuzzEngine feeds messages, each behind its length, to an engine with two peers.
func FuzzEngine(f *testing.F) {
	for _, s := range samples() {
		f.Add(append([]byte{byte(len(s))}, s...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t, 3, 1, sound)
		w.mesh()
		w.run(time.Second)
		for n := 0; len(b) > 0 && n < 50; n++ {
			size := min(int(b[0]), len(b)-1)
			w.hosts[0].e.HandlePacket(w.now, Packet{id(1 + n%2), b[1 : 1+size]})
			b = b[1+size:]
			w.absorb(0)
			w.flush(0)
			if len(w.wire) > 1000 {
				t.Fatal("many messages for one")
			}
		}
		w.run(time.Second)
		if w.failure != "" {
			t.Fatal(w.failure)
		}
	})
}
