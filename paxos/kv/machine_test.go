package kv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aether-lan/aether/paxos"
)

var began = time.UnixMilli(1_700_000_000_000).UTC()

// tape makes entries of commands, in slots that count up.
type tape struct{ slot paxos.Slot }

func (t *tape) entry(c Command) paxos.Entry {
	t.slot++
	return paxos.Entry{Slot: t.slot, Kind: paxos.Command, Value: c.Append(nil)}
}

func machine(t testing.TB, limits Limits) *Machine {
	t.Helper()
	m, err := New(new(Memory), limits)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func apply(t testing.TB, m *Machine, entries ...paxos.Entry) []Applied {
	t.Helper()
	list, err := m.Apply(entries)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func client(n byte) Client { return Client{n} }

func TestMachine_CommandsAndAnswers(t *testing.T) {
	m, tp := machine(t, Limits{Bytes: 100}), new(tape)
	n := uint64(0)
	do := func(c Command) Result {
		t.Helper()
		n++
		c.Client, c.Number, c.Time = client(1), n, began
		return apply(t, m, tp.entry(c))[0].Result
	}
	apply(t, m, tp.entry(Command{Op: Begin, Client: client(1)})) // slot 1
	for i, c := range []struct {
		c    Command
		want Result
	}{
		{Command{Op: Put, Key: []byte("a"), Value: []byte("1")}, Result{Version: 2}},
		{Command{Op: Put, Key: []byte("a"), Value: []byte("2"), Expect: Expect{Condition: Absent}}, Result{Code: Mismatch, Version: 2, Value: []byte("1")}},
		{Command{Op: Put, Key: []byte("a"), Value: []byte("2"), Expect: Expect{Condition: HasValue, Value: []byte("1")}}, Result{Version: 4}},
		{Command{Op: Put, Key: []byte("a"), Value: []byte("3"), Expect: Expect{Condition: HasVersion, Version: 2}}, Result{Code: Mismatch, Version: 4, Value: []byte("2")}},
		{Command{Op: Put, Key: []byte("b"), Expect: Expect{Condition: HasValue}}, Result{Code: NotFound}},
		{Command{Op: Put, Key: []byte("b"), Expect: Expect{Condition: Absent}}, Result{Version: 7}},
		{Command{Op: Put, Key: []byte("big"), Value: make([]byte, 100)}, Result{Code: Full}},
		{Command{Op: Put, Key: []byte("c"), Value: []byte("x"), Lease: 5}, Result{Code: NoLease}},
		{Command{Op: Delete, Key: []byte("nosuch")}, Result{Code: NotFound}},
		{Command{Op: Delete, Key: []byte("a"), Expect: Expect{Condition: HasVersion, Version: 1}}, Result{Code: Mismatch, Version: 4, Value: []byte("2")}},
		{Command{Op: Delete, Key: []byte("a"), Expect: Expect{Condition: HasVersion, Version: 4}}, Result{Version: 12, Value: []byte("2")}},
		{Command{Op: Refresh, Lease: 5}, Result{Code: NoLease}},
		{Command{Op: Revoke, Lease: 5}, Result{Code: NoLease}},
		{Command{Op: Grant, TTL: time.Second}, Result{Version: 15, Lease: 15}},
	} {
		got := do(c.c)
		if got.Code != c.want.Code || got.Version != c.want.Version || !bytes.Equal(got.Value, c.want.Value) || got.Lease != c.want.Lease {
			t.Errorf("command %d: %+v, want %+v", i, got, c.want)
		}
	}
	if v, ok, err := m.Get([]byte("b")); err != nil || !ok || v.Version != 7 || len(v.Value) != 0 {
		t.Errorf("b is %+v, %v, %v", v, ok, err)
	}
	st, err := m.Status()
	if err != nil || st.Keys != 1 || st.Bytes != 1 || st.Sessions != 1 || st.Leases != 1 {
		t.Errorf("status %+v, %v", st, err)
	}
}

// A command that comes again is answered again and not made again, also on a machine
// that starts anew; one of a session that was forgotten is refused.
func TestMachine_ExactlyOnce(t *testing.T) {
	store, tp := new(Memory), new(tape)
	m, err := New(store, Limits{Sessions: 2})
	if err != nil {
		t.Fatal(err)
	}
	put := func(c Client, n uint64, v string) Command {
		return Command{Op: Put, Client: c, Number: n, Key: []byte("k"), Value: []byte(v)}
	}
	if r := apply(t, m, tp.entry(put(client(1), 1, "early")))[0].Result; r.Code != NoSession {
		t.Errorf("without a session: %+v", r)
	}
	apply(t, m, tp.entry(Command{Op: Begin, Client: client(1)}))
	first := apply(t, m, tp.entry(put(client(1), 1, "one")))[0].Result
	if m, err = New(store, Limits{Sessions: 2}); err != nil {
		t.Fatal(err)
	}
	if again := apply(t, m, tp.entry(put(client(1), 1, "other")))[0].Result; again.Version != first.Version {
		t.Errorf("again: %+v, first %+v", again, first)
	}
	if v, _, _ := m.Get([]byte("k")); string(v.Value) != "one" || v.Version != first.Version {
		t.Errorf("k is %q", v.Value)
	}
	for _, n := range []uint64{0, 3, 1 << 60} {
		if r := apply(t, m, tp.entry(put(client(1), n, "x")))[0].Result; r.Code != NoSession {
			t.Errorf("number %d: %+v", n, r)
		}
	}
	apply(t, m, tp.entry(Command{Op: Begin, Client: client(2)}), tp.entry(Command{Op: Begin, Client: client(3)})) // forgets 1
	if r := apply(t, m, tp.entry(put(client(1), 2, "x")))[0].Result; r.Code != NoSession {
		t.Errorf("a forgotten session: %+v", r)
	}
	if r := apply(t, m, tp.entry(put(client(2), 1, "x")))[0].Result; r.Code != OK {
		t.Errorf("a session that is there: %+v", r)
	}
	if r := apply(t, m, tp.entry(Command{Op: End, Client: client(2)}), tp.entry(put(client(2), 2, "x")))[1].Result; r.Code != NoSession {
		t.Errorf("a session that was ended: %+v", r)
	}
}

// Time goes by what the commands carry and never back; leases end in the same slot
// on all machines, however the commands come in batches.
func TestMachine_LeasesEndByTheStatesTime(t *testing.T) {
	tp := new(tape)
	n := uint64(0)
	cmd := func(at time.Duration, c Command) paxos.Entry {
		n++
		c.Client, c.Number, c.Time = client(1), n, began.Add(at)
		return tp.entry(c)
	}
	entries := []paxos.Entry{tp.entry(Command{Op: Begin, Client: client(1), Time: began})}
	add := func(at time.Duration, c Command) { entries = append(entries, cmd(at, c)) }
	add(0, Command{Op: Grant, TTL: 10 * time.Second}) // lease 2
	for i := range 300 {
		add(0, Command{Op: Put, Key: fmt.Appendf(nil, "k%03d", i), Lease: 2})
	}
	add(0, Command{Op: Put, Key: []byte("moved"), Lease: 2})
	add(0, Command{Op: Put, Key: []byte("moved")})
	add(9*time.Second, Command{Op: Refresh, Lease: 2})
	add(12*time.Second, Command{Op: Put, Key: []byte("still")})
	before := len(entries)
	add(-time.Hour, Command{Op: Put, Key: []byte("back")})
	entries = append(entries, tp.entry(Command{Op: Tick, Time: began.Add(19 * time.Second)}))
	at := len(entries)
	entries = append(entries, tp.entry(Command{Op: Tick, Time: began.Add(19 * time.Second)}))

	whole, single := machine(t, Limits{}), machine(t, Limits{})
	all := apply(t, whole, entries...)
	for i, e := range entries {
		if got := apply(t, single, e)[0]; got.Hash != all[i].Hash {
			t.Fatalf("slot %v: hash %x alone and %x in a batch", e.Slot, got.Hash, all[i].Hash)
		}
		st, err := single.Status()
		if err != nil {
			t.Fatal(err)
		}
		switch i {
		case before:
			if st.Keys != 303 || !st.Time.Equal(began.Add(12*time.Second)) {
				t.Errorf("before the end: %+v", st)
			}
		case at - 1:
			if st.Keys != 303-perCommand || st.Leases != 1 {
				t.Errorf("one command takes %d keys: %+v", perCommand, st)
			}
		case at:
			if st.Keys != 3 || st.Leases != 0 {
				t.Errorf("after the end: %+v", st)
			}
		}
	}
	if _, ok, err := single.NextExpiry(); ok || err != nil {
		t.Errorf("a lease is left: %v", err)
	}
}

// Random commands in random batches, with restarts, against a plain map.
func TestMachine_AgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tp, store := new(tape), new(Memory)
		m, err := New(store, Limits{})
		if err != nil {
			rt.Fatal(err)
		}
		other := machine(t, Limits{}) // takes every command alone
		want := map[string]string{}
		var batch []paxos.Entry
		flush := func() {
			list, err := m.Apply(batch)
			if err != nil {
				rt.Fatal(err)
			}
			for i, e := range batch {
				one, err := other.Apply([]paxos.Entry{e})
				if err != nil {
					rt.Fatal(err)
				}
				if one[0].Hash != list[i].Hash || one[0].Result.Code != list[i].Result.Code {
					rt.Fatalf("slot %v: %+v in a batch, %+v alone", e.Slot, list[i], one[0])
				}
			}
			batch = nil
		}
		batch = append(batch, tp.entry(Command{Op: Begin, Client: client(1)}))
		n := uint64(0)
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n++
				k, v := rapid.SampledFrom([]string{"a", "b", "c", "cc"}).Draw(rt, "key"), rapid.StringN(0, 3, 5).Draw(rt, "value")
				c := Command{Op: Put, Client: client(1), Number: n, Key: []byte(k), Value: []byte(v)}
				old, ok := want[k]
				switch rapid.IntRange(0, 2).Draw(rt, "condition") {
				case 1:
					c.Expect.Condition = Absent
					if ok {
						v = old
					}
				case 2:
					c.Expect = Expect{Condition: HasValue, Value: []byte("x")}
					if !ok {
						batch = append(batch, tp.entry(c))
						return
					}
					if old != "x" {
						v = old
					}
				}
				want[k] = v
				batch = append(batch, tp.entry(c))
			},
			"delete": func(rt *rapid.T) {
				n++
				k := rapid.SampledFrom([]string{"a", "b", "c", "cc"}).Draw(rt, "key")
				delete(want, k)
				batch = append(batch, tp.entry(Command{Op: Delete, Client: client(1), Number: n, Key: []byte(k)}))
			},
			"noop": func(*rapid.T) {
				tp.slot++
				batch = append(batch, paxos.Entry{Slot: tp.slot, Kind: paxos.Noop})
			},
			"flush": func(*rapid.T) { flush() },
			"restart": func(rt *rapid.T) {
				flush()
				if m, err = New(store, Limits{}); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				if len(batch) > 0 {
					return
				}
				got := map[string]string{}
				if err := m.Range(nil, nil, func(k []byte, v Value) bool { got[string(k)] = string(v.Value); return true }); err != nil {
					rt.Fatal(err)
				}
				if !maps.Equal(got, want) {
					rt.Fatalf("the map is %v, want %v", got, want)
				}
				// The hash is that of what is there, whatever way led to it.
				sum := uint64(0)
				_ = store.Scan(nil, nil, func(k, v []byte) bool {
					if !bytes.Equal(k, keyCounts) {
						sum += pairHash(string(k), v)
					}
					return true
				})
				if st, err := m.Status(); err != nil || st.Hash != sum || st.Keys != uint64(len(want)) {
					rt.Fatalf("status %+v, %v, want hash %x", st, err, sum)
				}
			},
		})
	})
}

func TestMachine_RangeKeepsToItsPrefix(t *testing.T) {
	m, tp := machine(t, Limits{}), new(tape)
	apply(t, m, tp.entry(Command{Op: Begin, Client: client(1)}))
	for i, k := range []string{"a", "a\xff", "a\xff\xff", "b", "ab", "\xff"} {
		apply(t, m, tp.entry(Command{Op: Put, Client: client(1), Number: uint64(i + 1), Key: []byte(k)}))
	}
	for _, c := range []struct {
		prefix, from string
		want         []string
	}{
		{"a", "", []string{"a", "ab", "a\xff", "a\xff\xff"}}, {"a\xff", "", []string{"a\xff", "a\xff\xff"}},
		{"a", "ab", []string{"ab", "a\xff", "a\xff\xff"}}, {"\xff", "", []string{"\xff"}}, {"c", "", nil}, {"a", "b", nil},
	} {
		var got []string
		err := m.Range([]byte(c.prefix), []byte(c.from), func(k []byte, _ Value) bool { got = append(got, string(k)); return true })
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("range %q from %q: %q, %v, want %q", c.prefix, c.from, got, err, c.want)
		}
	}
}

// Large values are forgotten sooner, and a reader that does not come for them is too
// slow sooner.
func TestMachine_WatchesAreBoundedInBytes(t *testing.T) {
	m, tp := machine(t, Limits{}), new(tape)
	w, err := m.Watch(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, m, tp.entry(Command{Op: Begin, Client: client(1)}))
	for n := range uint64(3 * rememberedBytes >> 20) {
		apply(t, m, tp.entry(Command{Op: Put, Client: client(1), Number: n + 1, Key: []byte("k"), Value: make([]byte, 1<<20-4096)}))
		if m.ears.bytes > rememberedBytes || w.bytes > queuedBytes || len(m.ears.last) == 0 {
			t.Fatalf("%d bytes of changes are remembered, %d wait", m.ears.bytes, w.bytes)
		}
	}
	first := m.ears.last[0].Version
	if _, err := m.Watch(nil, first-2); !errors.Is(err, ErrLagging) {
		t.Errorf("a watch of what was forgotten: %v", err)
	}
	late, err := m.Watch(nil, first-1)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := late.Next(t.Context()); err != nil || len(list) != len(m.ears.last) || list[0].Version != first {
		t.Errorf("%d changes, %v", len(list), err)
	}
	list, err := w.Next(t.Context())
	if err != nil || len(list) == 0 {
		t.Errorf("%d changes, %v", len(list), err)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrLagging) {
		t.Errorf("a slow reader: %v", err)
	}
}

func TestMachine_WatchGivesEveryChangeOnce(t *testing.T) {
	m, tp := machine(t, Limits{}), new(tape)
	apply(t, m, tp.entry(Command{Op: Begin, Client: client(1)}))
	n := uint64(0)
	put := func(k string) {
		n++
		apply(t, m, tp.entry(Command{Op: Put, Client: client(1), Number: n, Key: []byte(k)}))
	}
	put("a1") // slot 2
	put("b1")
	w, err := m.Watch([]byte("a"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	put("a2")
	got, err := w.Next(t.Context())
	if err != nil || len(got) != 2 || string(got[0].Key) != "a1" || string(got[1].Key) != "a2" || got[1].Version != 4 {
		t.Errorf("changes %+v, %v", got, err)
	}
	late, err := m.Watch(nil, tp.slot)
	if err != nil {
		t.Fatal(err)
	}
	for i := range queued + 1 {
		put(fmt.Sprint(i))
	}
	total := 0
	for err == nil {
		got, err = late.Next(t.Context())
		total += len(got)
	}
	if !errors.Is(err, ErrLagging) || total != queued {
		t.Errorf("a slow reader had %d changes and then %v", total, err)
	}
	for i := range 2 * remembered {
		put(fmt.Sprint(i))
	}
	if n := len(m.ears.last); n < remembered || n > 2*remembered {
		t.Errorf("%d changes are remembered", n)
	}
	if _, err := m.Watch(nil, 1); !errors.Is(err, ErrLagging) {
		t.Errorf("a watch from too long ago: %v", err)
	}
	if err := m.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrLagging) {
		t.Errorf("after a snapshot: %v", err)
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add(Command{Op: Put, Client: client(3), Number: 7, Time: began, Key: []byte("k"), Value: []byte("v"), Expect: Expect{HasValue, []byte("o"), 4}, Lease: 9, TTL: time.Second}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil {
			return
		}
		again, err := ParseCommand(c.Append(nil))
		if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", c) {
			t.Errorf("%+v becomes %+v, %v", c, again, err)
		}
		m := machine(t, Limits{})
		if _, err := m.Apply([]paxos.Entry{{Slot: 1, Kind: paxos.Command, Value: b}}); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseResult(f *testing.F) {
	f.Add(Result{Code: Mismatch, Version: 7, Value: []byte("v"), Lease: 3}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseResult(b)
		if err != nil {
			return
		}
		again, err := ParseResult(r.Append(nil))
		if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", r) {
			t.Errorf("%+v becomes %+v, %v", r, again, err)
		}
	})
}
