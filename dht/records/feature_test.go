package records

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

// wait lets time pass.
func (a *alone) wait(d time.Duration) (all []Event) {
	for end := a.now.Add(d); ; {
		for {
			_, seq, ok := a.e.Unsaved()
			if !ok {
				break
			}
			a.e.Saved(a.now, seq)
		}
		all = append(all, a.e.Events()...)
		t, ok := a.e.NextTimeout()
		if !ok || t.After(end) {
			a.now = end
			return all
		}
		if t.After(a.now) {
			a.now = t
		}
		a.e.HandleTimeout(a.now)
	}
}

// A record goes when its time is up, and its version goes on.
func TestEngine_RecordsExpire(t *testing.T) {
	a := newAlone(t, Config{Tombstone: time.Minute})
	a.do(Request{Op: Put, Name: "a", Value: []byte("x"), TTL: 10 * time.Second})
	a.wait(4 * time.Second)
	if p := a.do(Request{Op: Get, Name: "a"}); p.Status != OK || p.Record.TTL > 6*time.Second || p.Record.TTL < 5*time.Second {
		t.Errorf("after 4 of 10 seconds: %v, %v left", p.Status, p.Record.TTL)
	}
	a.wait(7 * time.Second)
	if p := a.do(Request{Op: Get, Name: "a"}); p.Status != NotFound || p.Record.Version != 2 {
		t.Errorf("after 11: %v, version %d", p.Status, p.Record.Version)
	}
	a.wait(2 * time.Minute)
	if p := a.do(Request{Op: Get, Name: "a"}); p.Status != NotFound || p.Record.Version != 0 || a.e.Status().Records != 0 {
		t.Errorf("after two minutes: %v, version %d, %+v", p.Status, p.Record.Version, a.e.Status())
	}
}

func TestEngine_Leases(t *testing.T) {
	a := newAlone(t, Config{})
	const ttl = 10 * time.Second
	for _, s := range []struct {
		wait   time.Duration
		q      Request
		status Status
		holder string
		fence  uint64
	}{
		{0, Request{Op: Acquire, Holder: "x", TTL: ttl}, OK, "x", 1},
		{0, Request{Op: Acquire, Holder: "y", TTL: ttl}, Conflict, "x", 1},
		{5 * time.Second, Request{Op: Renew, Holder: "x", Version: 1, TTL: ttl}, OK, "x", 1},
		{8 * time.Second, Request{Op: Acquire, Holder: "y", TTL: ttl}, Conflict, "x", 1},
		{0, Request{Op: Renew, Holder: "y", TTL: ttl}, Conflict, "x", 1},
		{0, Request{Op: Put, Value: []byte("mine")}, Conflict, "x", 1},
		{0, Request{Op: Delete}, Conflict, "x", 1},
		{3 * time.Second, Request{Op: Acquire, Holder: "y", TTL: ttl}, OK, "y", 3},
		{0, Request{Op: Renew, Holder: "x", Version: 1, TTL: ttl}, Conflict, "y", 3},
		{0, Request{Op: Release, Holder: "x", Version: 1}, Conflict, "y", 3},
		{0, Request{Op: Release, Holder: "y", Version: 3}, OK, "", 0},
		{0, Request{Op: Renew, Holder: "y", Version: 3, TTL: ttl}, NotFound, "", 0},
		{0, Request{Op: Acquire, Holder: "x", TTL: ttl}, OK, "x", 5},
		{0, Request{Op: Acquire, Holder: "x", TTL: 2 * ttl}, OK, "x", 5},
	} {
		a.wait(s.wait)
		s.q.Name = "lease"
		p := a.do(s.q)
		if p.Status != s.status || p.Record.Holder != s.holder || p.Record.Fence != s.fence {
			t.Errorf("%v of %s: %v, %q, fence %d; want %v, %q, %d", s.q.Op, s.q.Holder, p.Status, p.Record.Holder, p.Record.Fence, s.status, s.holder, s.fence)
		}
	}
}

// A request that comes again is answered as before, and done once.
func TestEngine_RequestsAreDoneOnce(t *testing.T) {
	a := newAlone(t, Config{})
	first := Request{ID: RequestID{200}, Op: Put, Name: "a", Value: []byte("1")}
	a.do(first)
	for range remembered - 1 {
		a.do(Request{Op: Put, Name: "a", Value: []byte("2")})
	}
	if p := a.do(first); p.Status != OK || p.Record.Version != 1 {
		t.Errorf("again: %v, version %d", p.Status, p.Record.Version)
	}
	if p := a.do(Request{Op: Get, Name: "a"}); p.Record.Version != remembered || string(p.Record.Value) != "2" {
		t.Errorf("it was done twice: version %d", p.Record.Version)
	}
	a.do(Request{Op: Put, Name: "a", Value: []byte("3")})
	first.Again = true
	if p := a.do(first); p.Status != Unknown {
		t.Errorf("long after: %v", p.Status)
	}
	if p := a.do(Request{ID: RequestID{201}, Op: Swap, Name: "a", Version: 3, Again: true}); p.Status != Conflict {
		t.Errorf("a swap that cannot have been done: %v", p.Status)
	}
}

// Fields of a newer version stay through puts, swaps, deletion, a restart and a new
// epoch at this one.
func TestEngine_KeepsUnknownFields(t *testing.T) {
	a := newAlone(t, Config{})
	disk := map[string][]byte{}
	newer := slices.Concat(appendField(nil, 50, []byte("fifty")), appendField(nil, 70, []byte("seventy")))
	steps := []Request{
		{Op: Put, Name: "a", Value: []byte("1"), Fields: newer},
		{Op: Put, Name: "a", Value: []byte("2")},
		{Op: Swap, Name: "a", Version: 2, Value: []byte("3")},
		{Op: Delete, Name: "a"},
		{Op: Put, Name: "a", Value: []byte("4")},
	}
	for i, q := range steps {
		q.ID[0] = byte(i + 1)
		a.e.Do(a.now, q)
		a.runOn(disk)
		// It starts anew each time, so a new epoch has to take everything over.
		self := a.e.cfg.Self
		self.Incarnation++
		e, err := Restore(Config{Self: self}, rowsOf(disk))
		if err != nil {
			t.Fatal(err)
		}
		a.e = e
		a.e.HandleView(a.now, dht.View{Self: self, Predecessor: self, Successors: []dht.Peer{self}})
		a.runOn(disk)
	}
	p := a.do(Request{ID: RequestID{99}, Op: Get, Name: "a"})
	if p.Status != OK || string(p.Record.Value) != "4" || !bytes.Equal(p.Record.Unknown, newer) || p.Record.Version != 5 {
		t.Errorf("%v: version %d, %q, fields %q", p.Status, p.Record.Version, p.Record.Value, p.Record.Unknown)
	}
	if g := a.e.Status().Leads[0]; g.Epoch < 6 {
		t.Errorf("after five starts it leads %v", g)
	}
}

// runOn lets five seconds pass on a disk.
func (a *alone) runOn(disk map[string][]byte) {
	for range 100 {
		a.now = a.now.Add(50 * time.Millisecond)
		a.e.HandleTimeout(a.now)
		a.saveTo(disk)
	}
}

func (a *alone) saveTo(disk map[string][]byte) {
	for {
		b, seq, ok := a.e.Unsaved()
		if !ok {
			return
		}
		for _, r := range b {
			if r.Value == nil {
				delete(disk, string(r.Key))
			} else {
				disk[string(r.Key)] = r.Value
			}
		}
		a.e.Saved(a.now, seq)
	}
}

func rowsOf(disk map[string][]byte) func(func(k, v []byte) bool) {
	return func(yield func(k, v []byte) bool) {
		for _, k := range sortedNames(disk) {
			if !yield([]byte(k), disk[k]) {
				return
			}
		}
	}
}

// A watch hears of each change once it is done, in order; a watch of a prefix hears of
// what is there, too.
func TestEngine_Watches(t *testing.T) {
	a := newAlone(t, Config{MaxWatches: 2})
	a.do(Request{Op: Put, Name: "task/1", Value: []byte("x")})
	a.do(Request{ID: RequestID{100}, Op: Watch, Name: "a"})
	a.e.Do(a.now, Request{ID: RequestID{101}, Op: Watch, Name: "task/", Limit: 1})
	var heard []string
	for _, name := range []string{"a", "task/2", "b", "a"} {
		a.n++
		a.e.Do(a.now, Request{ID: RequestID{a.n}, Op: Put, Name: name})
	}
	a.e.Do(a.now, Request{ID: RequestID{90}, Op: Delete, Name: "task/1"})
	for _, v := range append(a.e.Events(), a.wait(time.Second)...) {
		if c, ok := v.(Changed); ok {
			heard = append(heard, fmt.Sprintf("%d %s %d %v", c.Watch[0], c.Record.Name, c.Record.Version, c.Record.Deleted))
		}
	}
	want := "101 task/1 1 false, 100 a 1 false, 101 task/2 1 false, 100 a 2 false, 101 task/1 2 true"
	if got := strings.Join(heard, ", "); got != want {
		t.Errorf("heard %s\nwant  %s", got, want)
	}
	if p := a.do(Request{ID: RequestID{102}, Op: Watch, Name: "c"}); p.Status != Busy {
		t.Errorf("a third watch of two: %v", p.Status)
	}
	if p := a.do(Request{ID: RequestID{100}, Op: Unwatch}); p.Status != OK {
		t.Errorf("unwatch: %v", p.Status)
	}
}

func TestEngine_Scan(t *testing.T) {
	a := newAlone(t, Config{})
	for _, n := range []string{"b/2", "a", "b/1", "b/3", "c", "b/0"} {
		a.do(Request{Op: Put, Name: n})
	}
	a.do(Request{Op: Delete, Name: "b/2"})
	names := func(p Response) (s string) {
		for _, r := range p.Records {
			s += r.Name + " "
		}
		return s
	}
	p := a.do(Request{Op: Scan, Name: "b/", Limit: 2})
	if got := names(p); got != "b/0 b/1 " || !p.More {
		t.Errorf("first two: %s, more %v", got, p.More)
	}
	p = a.do(Request{Op: Scan, Name: "b/", Value: []byte("b/1"), Limit: 2})
	if got := names(p); got != "b/3 " || p.More {
		t.Errorf("the rest: %s, more %v", got, p.More)
	}
}

// A listing shows what is done, also while something newer is not.
func TestEngine_ScanShowsWhatIsDone(t *testing.T) {
	a := newAlone(t, Config{})
	a.do(Request{Op: Put, Name: "a", Value: []byte("1")})
	for i := range 3 {
		a.e.Do(a.now, Request{ID: RequestID{byte(100 + i)}, Op: Put, Name: "a", Value: []byte("later")})
	}
	a.e.Do(a.now, Request{ID: RequestID{110}, Op: Put, Name: "b"})
	a.e.Do(a.now, Request{ID: RequestID{111}, Op: Scan})
	v := a.e.Events()
	if len(v) != 1 {
		t.Fatalf("%+v", v)
	}
	if list := v[0].(Answered).Response.Records; len(list) != 1 || string(list[0].Value) != "1" {
		t.Errorf("listed %+v", list)
	}
	a.do(Request{Op: Get, Name: "b"})
	if p := a.do(Request{Op: Scan}); len(p.Records) != 2 || p.Records[0].Version != 4 {
		t.Errorf("then %+v", p.Records)
	}
}

// What is over a bound is refused and counted; deletions always work.
func TestEngine_Bounds(t *testing.T) {
	a := newAlone(t, Config{MaxBytes: 200_000})
	long := strings.Repeat("n", MaxName)
	for _, c := range []struct {
		q    Request
		want Status
	}{
		{Request{Op: Put, Name: long + "x"}, TooLarge},
		{Request{Op: Put, Name: long, Value: make([]byte, MaxValue+1)}, TooLarge},
		{Request{Op: Put, Name: long, Value: make([]byte, MaxValue)}, OK},
		{Request{Op: Put, Name: "a", TTL: -1}, TooLarge},
		{Request{Op: Put, Name: "a", Fields: []byte{1, 1, 1}}, Invalid},
		{Request{Op: Acquire, Name: "a", Holder: "x"}, Invalid},
		{Request{Op: merge, Name: "a"}, Invalid},
		{Request{Op: 77, Name: "a"}, Invalid},
		{Request{Op: Put, Name: long, Value: make([]byte, MaxValue), Fields: appendField(nil, 50, make([]byte, MaxUnknown-10))}, OK},
		{Request{Op: Put, Name: long, Fields: appendField(nil, 51, make([]byte, MaxUnknown-10))}, TooLarge},
		{Request{Op: Put, Name: long}, OK},
		{Request{Op: Put, Name: "b", Value: make([]byte, MaxValue)}, OK},
		{Request{Op: Put, Name: "c", Value: make([]byte, MaxValue)}, OK},
		{Request{Op: Put, Name: "d", Value: make([]byte, MaxValue)}, OK},
		{Request{Op: Put, Name: "e"}, Full},
		{Request{Op: Delete, Name: "b"}, OK},
		{Request{Op: Put, Name: "e"}, OK},
	} {
		if p := a.do(c.q); p.Status != c.want {
			t.Errorf("%v %.8s of %d bytes: %v, want %v", c.q.Op, c.q.Name, len(c.q.Value), p.Status, c.want)
		}
	}
	if s := a.e.Status(); s.Stats.Full != 1 {
		t.Errorf("%d times full", s.Stats.Full)
	}
}

// Nothing is told to be done before it is on disk, also in a ring of one.
func TestEngine_WaitsForTheDisk(t *testing.T) {
	a := newAlone(t, Config{})
	a.do(Request{Op: Put, Name: "a"})
	a.e.Do(a.now, Request{ID: RequestID{200}, Op: Put, Name: "a", Value: []byte("x")})
	a.e.Do(a.now, Request{ID: RequestID{201}, Op: Get, Name: "a"})
	if v := a.e.Events(); len(v) != 0 {
		t.Fatalf("before the disk: %+v", v)
	}
	b, seq, ok := a.e.Unsaved()
	if len(b) != 2 || !ok {
		t.Errorf("to be saved: %v", b)
	}
	a.e.Saved(a.now, seq)
	if v := a.e.Events(); len(v) != 2 {
		t.Errorf("after the disk: %+v", v)
	}
}

// Rows that are damaged are refused whole.
func TestRestore_RefusesDamage(t *testing.T) {
	a := newAlone(t, Config{})
	disk := map[string][]byte{}
	a.e.Do(a.now, Request{ID: RequestID{1}, Op: Put, Name: "a", Value: []byte("x")})
	a.runOn(disk)
	if _, err := Restore(Config{}, rowsOf(disk)); err != nil {
		t.Fatal(err)
	}
	for _, k := range sortedNames(disk) {
		kept := disk[k]
		disk[k] = kept[:len(kept)-1]
		if _, err := Restore(Config{}, rowsOf(disk)); err == nil {
			t.Errorf("row %q is damaged, and taken", k)
		}
		disk[k] = kept
		if k[0] == rowFloor {
			delete(disk, k)
			if _, err := Restore(Config{}, rowsOf(disk)); err == nil {
				t.Error("the floor is gone, and nobody minds")
			}
			disk[k] = kept
		}
	}
}

// A node that was cut off says who is missing.
func TestEngine_NamesWhoIsMissing(t *testing.T) {
	w := newWorld(t, 3, Sound)
	w.calm = true
	w.run(time.Second, nil)
	w.ask(0, Request{Op: Put, Name: "a"})
	w.run(w.now+5*time.Second, nil)
	for _, h := range w.hosts {
		if h.e.leadAt(h.e.key("a")) == nil {
			h.up = false // silent, and the ring has not noticed
		}
	}
	var out Response
	w.check.pending[RequestID{9, 9}] = func(p Response) { out = p }
	for _, h := range w.hosts {
		if h.up {
			h.do(func(e *Engine, now time.Time) { e.Do(now, Request{ID: RequestID{9, 9}, Op: Get, Name: "a"}) })
		}
	}
	w.run(w.now+3*time.Second, nil)
	if out.Status != NoMajority || strings.Count(out.Text, ",") < 1 || !strings.HasPrefix(out.Text, "no answer from ") {
		t.Errorf("%v: %q", out.Status, out.Text)
	}
}
