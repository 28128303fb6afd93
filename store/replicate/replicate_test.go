package replicate

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/script"
	"github.com/aether-lan/aether/store"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// machine returns the ID of a machine with a name of one letter.
func machine(name string) store.MachineID { return store.MachineID{name[0]} }

func nameOf(m store.MachineID) string { return string(m[:1]) }

// dot reads "a/3".
func dot(s string) store.Dot {
	m, n, _ := strings.Cut(s, "/")
	seq, err := strconv.ParseUint(n, 10, 64)
	if err != nil {
		panic(err)
	}
	return store.Dot{Machine: machine(m), Seq: seq}
}

func dotText(d store.Dot) string { return fmt.Sprintf("%s/%d", nameOf(d.Machine), d.Seq) }

func dots(s string) (ds []store.Dot) {
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		ds = append(ds, dot(f))
	}
	return ds
}

// assignment reads "a/3" and "sabc": the holders.
func assignment(d, holders string, size int64) Assignment {
	a := Assignment{Dot: dot(d), Content: store.Content{Size: size}}
	for _, h := range holders {
		a.Holders = append(a.Holders, machine(string(h)))
	}
	return a
}

func inventoryText(inv inventory) string {
	var b strings.Builder
	for _, h := range inv {
		fmt.Fprintf(&b, "%s..%d", nameOf(h.author), h.upTo)
		for _, r := range h.ranges {
			fmt.Fprintf(&b, ",%d-%d", r.first, r.last)
		}
		b.WriteString(" ")
	}
	return strings.TrimSpace(b.String())
}

// parseInventoryText reads what inventoryText writes.
func parseInventoryText(words []string) (inv inventory) {
	for _, w := range words {
		parts := strings.Split(w, ",")
		m, n, _ := strings.Cut(parts[0], "..")
		h := holding{author: machine(m)}
		fmt.Sscan(n, &h.upTo)
		for _, p := range parts[1:] {
			var s span
			fmt.Sscanf(p, "%d-%d", &s.first, &s.last)
			h.ranges = append(h.ranges, s)
		}
		inv = append(inv, h)
	}
	return inv
}

// bench is an Engine of machine s with its KV, for scripts.
type bench struct {
	t   testing.TB
	kv  *memory
	e   *Engine
	now time.Time
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, kv: newMemory(), now: start}
	b.open()
	return b
}

func (b *bench) open() {
	var err error
	b.e, err = New(b.kv, Config{
		Self: machine("s"), BatchFiles: 3, BatchBytes: 100, MaxFetches: 3, Rand: rand.New(rand.NewPCG(1, 1)), Window: 4,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) tx(f func(tx store.Txn) error) string {
	tx := b.kv.Begin()
	if err := f(tx); err != nil {
		return "error: " + err.Error() + "\n"
	}
	tx.Commit(true)
	return ""
}

// checkKeepers fails where Keepers says something else than Copies.
func checkKeepers(t testing.TB, e *Engine, list ...Assignment) {
	t.Helper()
	k := e.Keepers()
	for _, a := range list {
		if ids := k.Of(a, nil); len(ids) != e.Copies(a) {
			t.Errorf("%s: keepers %v, %d copies", dotText(a.Dot), ids, e.Copies(a))
		}
	}
}

// do carries out one command of a script.
func (b *bench) do(args []string) string {
	switch args[0] {
	case "assign", "hold": // DOT HOLDERS SIZE
		size, _ := strconv.ParseInt(args[3], 10, 64)
		a := assignment(args[1], args[2], size)
		return b.tx(func(tx store.Txn) error {
			if args[0] == "hold" {
				return b.e.Hold(tx, a)
			}
			return b.e.Assign(tx, b.now, a)
		}) + b.run(0)
	case "forget":
		return b.tx(func(tx store.Txn) error { return b.e.Forget(tx, dot(args[1])) }) + b.run(0)
	case "up":
		b.e.PeerUp(b.now, machine(args[1]))
		return b.run(0)
	case "down":
		b.e.PeerDown(b.now, machine(args[1]))
		return b.run(0)
	case "holds": // PEER INVENTORY...
		if err := b.e.PeerHolds(b.now, machine(args[1]), parseInventoryText(args[2:]).append(nil)); err != nil {
			return err.Error()
		}
		return b.run(0)
	case "done": // ID fetched=... missing=... err=...
		return b.done(args) + b.run(0)
	case "copies":
		a := assignment(args[1], args[2], 0)
		checkKeepers(b.t, b.e, a)
		return fmt.Sprint(b.e.Copies(a))
	case "inventory":
		inv, err := parseInventory(b.e.Inventory())
		if err != nil {
			b.t.Fatal(err)
		}
		return inventoryText(inv)
	case "pending":
		files, n := b.e.Pending()
		return fmt.Sprintf("%d files, %d bytes", files, n)
	case "wait":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			b.t.Fatal(err)
		}
		return b.run(d)
	case "restart":
		b.open()
		return b.run(0)
	}
	b.t.Fatalf("unknown command %q", args)
	return ""
}

func (b *bench) done(args []string) string {
	var r FetchResult
	fmt.Sscan(args[1], &r.ID)
	for _, a := range args[2:] {
		k, v, _ := strings.Cut(a, "=")
		switch k {
		case "fetched":
			r.Fetched = dots(v)
		case "missing":
			r.Missing = dots(v)
		case "err":
			r.Err = errors.New(v)
		}
	}
	return b.tx(func(tx store.Txn) error { return b.e.Done(tx, b.now, r) })
}

// run lets d pass and returns what the engine said meanwhile.
func (b *bench) run(d time.Duration) string {
	end := b.now.Add(d)
	var out strings.Builder
	for range 1000 {
		for _, ev := range b.e.Events() {
			switch ev := ev.(type) {
			case Held:
				fmt.Fprintf(&out, "held %s\n", dotText(ev.Assignment.Dot))
			case PeerFailed:
				fmt.Fprintf(&out, "failed %s, pause %v\n", nameOf(ev.Peer), ev.Until.Sub(b.now).Round(100*time.Millisecond))
			case Unavailable:
				fmt.Fprintf(&out, "%s lacks %s\n", nameOf(ev.Peer), dotText(ev.Dot))
			default:
				fmt.Fprintln(&out, ev)
			}
		}
		for _, f := range b.e.Outgoing() {
			fmt.Fprintf(&out, "fetch %d from %s:", f.ID, nameOf(f.Peer))
			for _, a := range f.Assignments {
				out.WriteString(" " + dotText(a.Dot))
			}
			out.WriteString("\n")
		}
		at, ok := b.e.NextTimeout()
		if !ok || at.After(end) {
			b.now = end
			return out.String()
		}
		if at.After(b.now) {
			b.now = at
		}
		b.e.HandleTimeout(b.now)
	}
	b.t.Error("the engine asks for timeouts without end")
	return out.String()
}

func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t testing.TB) func([]string) string { return newBench(t).do })
}

func TestEngine_RefusesWhatIsNoAssignment(t *testing.T) {
	if _, err := New(newMemory(), Config{}); err == nil {
		t.Error("an Engine of no machine")
	}
	b := newBench(t)
	many := assignment("a/1", "s", 0)
	for len(many.Holders) <= MaxHolders {
		many.Holders = append(many.Holders, machine("x"))
	}
	for name, a := range map[string]Assignment{
		"no version": {Holders: []store.MachineID{machine("s")}}, "version 0": assignment("a/0", "s", 1),
		"negative size": assignment("a/1", "s", -1), "not to this machine": assignment("a/1", "ab", 1), "many holders": many,
	} {
		if out := b.tx(func(tx store.Txn) error { return b.e.Assign(tx, b.now, a) }); out == "" {
			t.Errorf("%s: assigned", name)
		}
	}
	if f, _ := b.e.Pending(); f != 0 {
		t.Errorf("%d are pending", f)
	}
}

func TestEngine_DamageIsAnEvent(t *testing.T) {
	b := newBench(t)
	b.do([]string{"assign", "a/1", "s", "1"})
	b.kv.m[string(queueKey(dot("a/1")))] = []byte{0xff}
	b.e.PeerUp(b.now, machine("a"))
	b.e.HandleTimeout(b.now)
	ev := b.e.Events()
	if len(ev) != 1 || !errors.Is(ev[0].(Broken).Err, errBadRow) {
		t.Errorf("events %v", ev)
	}
	if at, ok := b.e.NextTimeout(); !ok || !at.After(b.now) {
		t.Errorf("next timeout %v, %v: it would spin", at, ok)
	}
}

func TestEngine_MemoryOfWhoLacksWhatIsBounded(t *testing.T) {
	kv := newMemory()
	e, err := New(kv, Config{Self: machine("s"), MaxMissing: 10, BatchFiles: 5})
	if err != nil {
		t.Fatal(err)
	}
	tx := kv.Begin()
	for i := range 100 {
		e.Assign(tx, start, assignment(fmt.Sprintf("a/%d", i+1), "s", 1))
	}
	tx.Commit(true)
	e.PeerUp(start, machine("a"))
	e.PeerUp(start, machine("b"))
	now := start
	for range 200 {
		e.HandleTimeout(now)
		for _, f := range e.Outgoing() {
			r := FetchResult{ID: f.ID}
			for _, a := range f.Assignments {
				r.Missing = append(r.Missing, a.Dot)
			}
			e.Done(kv.Begin(), now, r)
		}
		if len(e.missing) > 10 {
			t.Fatalf("%d versions are remembered", len(e.missing))
		}
		at, ok := e.NextTimeout()
		if !ok {
			t.Fatal("gave up")
		}
		now = later(now, at)
	}
	if now.Sub(start) < 3*time.Minute {
		t.Errorf("200 turns took only %v: it asks without pause", now.Sub(start))
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func TestInventory_AgreesWithAPlainModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b := newBench(t)
		queued, last := make(map[store.Dot]bool), make(map[string]uint64)
		for range rng.IntN(60) {
			author := string("ab"[rng.IntN(2)])
			seq := last[author] + 1 + rng.Uint64N(3)
			if rng.IntN(3) == 0 && last[author] > 0 {
				seq = 1 + rng.Uint64N(last[author])
			}
			d := fmt.Sprintf("%s/%d", author, seq)
			switch rng.IntN(4) {
			case 0, 1:
				b.do([]string{"assign", d, "s", "1"})
				queued[dot(d)] = true
				last[author] = max(last[author], seq)
			case 2:
				b.do([]string{"hold", d, "s", "1"})
				delete(queued, dot(d))
				last[author] = max(last[author], seq)
			case 3:
				b.do([]string{"forget", d})
				delete(queued, dot(d))
			}
		}
		inv, err := parseInventory(b.e.Inventory())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, author := range []string{"a", "b"} {
			for seq := uint64(1); seq < last[author]+5; seq++ {
				d := store.Dot{Machine: machine(author), Seq: seq}
				want := seq <= last[author] && !queued[d]
				if inv.covers(d) != want {
					t.Fatalf("seed %d: %v held = %v in %s", seed, d, !want, inventoryText(inv))
				}
			}
		}
		if f, n := b.e.Pending(); f != len(queued) || n != int64(len(queued)) {
			t.Fatalf("seed %d: pending %d, %d, want %d", seed, f, n, len(queued))
		}
	}
}

func TestInventory_ClaimsLessWhenThereIsTooMuch(t *testing.T) {
	b := newBench(t)
	tx := b.kv.Begin()
	for i := range 3 * MaxInventoryRanges {
		b.e.Assign(tx, start, assignment(fmt.Sprintf("a/%d", 2*i+2), "s", 1))
	}
	b.e.Hold(tx, assignment("a/5000", "s", 1))
	tx.Commit(true)
	inv, err := parseInventory(b.e.Inventory())
	if err != nil || len(inv) != 1 || inv[0].upTo != 1 || len(inv[0].ranges) != MaxInventoryRanges {
		t.Fatalf("%v, %v", inventoryText(inv), err)
	}
	if inv.covers(dot("a/5000")) || inv.covers(dot("a/4")) || !inv.covers(dot("a/3")) {
		t.Error(inventoryText(inv))
	}
}

func TestInventory_RefusesWhatIsNotCanonical(t *testing.T) {
	good := parseInventoryText([]string{"a..3,5-5,9-12", "b..0"})
	b := good.append(nil)
	if inv, err := parseInventory(b); err != nil || inventoryText(inv) != inventoryText(good) {
		t.Fatalf("%v, %v", inventoryText(inv), err)
	}
	for n := range b {
		if _, err := parseInventory(b[:n]); !errors.Is(err, ErrBadInventory) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	max := bytes.Repeat([]byte{0xff}, 9)
	max = append(max, 1)
	one := append([]byte{1, 1}, make([]byte, 16)...)
	for name, b := range map[string][]byte{
		"trailing":         append(bytes.Clone(b), 0),
		"version":          append([]byte{2}, b[1:]...),
		"author twice":     parseInventoryText([]string{"a..3", "a..4"}).append(nil),
		"out of order":     parseInventoryText([]string{"b..3", "a..4"}).append(nil),
		"long varint":      append(bytes.Clone(one), 0x80, 0, 0),
		"range past end":   append(append(append(bytes.Clone(one), max...), 1), 0, 0),
		"length past end":  append(append(bytes.Clone(one), 5, 1, 0), max...),
		"too many ranges":  append(bytes.Clone(one), 5, MaxInventoryRanges+1),
		"too many authors": {1, 0xff, 0xff, 0xff, 0x7f},
	} {
		if _, err := parseInventory(b); !errors.Is(err, ErrBadInventory) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzInventory(f *testing.F) {
	f.Add(parseInventoryText([]string{"a..3,5-5,9-12", "b..0"}).append(nil))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		inv, err := parseInventory(b)
		if err != nil {
			return
		}
		if !bytes.Equal(inv.append(nil), b) {
			t.Fatalf("%x became %s", b, inventoryText(inv))
		}
		for _, h := range inv {
			end := h.upTo
			for _, r := range h.ranges {
				if r.first <= end || r.first == end+1 || r.last < r.first {
					t.Fatalf("ranges touch: %s", inventoryText(inv))
				}
				end = r.last
			}
		}
	})
}

func FuzzRow(f *testing.F) {
	a := assignment("a/3", "sb", 9)
	v, err := recordEnc.Marshal(record{File: a.File, Content: a.Content, Holders: a.Holders})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(queueKey(a.Dot), v)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		a, err := parseRow(key, value)
		if err != nil {
			return
		}
		v, err := recordEnc.Marshal(record{File: a.File, Content: a.Content, Holders: a.Holders})
		if err != nil {
			t.Fatal(err)
		}
		b, err := parseRow(key, v)
		if err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%v became %v: %v", a, b, err)
		}
	})
}
