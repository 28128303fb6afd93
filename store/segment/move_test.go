package segment_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/segment"
)

// between calls f before an operation of one kind on a segment file, once, when it has
// let some pass.
type between struct {
	kind errorfs.OpKind
	mu   sync.Mutex
	pass int
	f    func()
}

func (b *between) MaybeError(op errorfs.Op) error {
	if op.Kind != b.kind || !strings.HasSuffix(op.Path, ".seg") {
		return nil
	}
	b.mu.Lock()
	f := b.f
	if b.pass--; b.pass >= 0 {
		f = nil
	}
	if f != nil {
		b.f = nil
	}
	b.mu.Unlock()
	if f != nil {
		f()
	}
	return nil
}

func (*between) String() string { return "between" }

// TestCompactSome_OthersGoOn deletes, changes and syncs a body while a slice reads,
// writes, or syncs it, and looks after a crash.
func TestCompactSome_OthersGoOn(t *testing.T) {
	meanwhile := map[string]func(f fixture) error{
		"delete": func(f fixture) error { return errors.Join(f.Delete(refOf(2)), f.Sync()) },
		"class":  func(f fixture) error { return errors.Join(f.SetClass(refOf(2), segment.Cache), f.Sync()) },
		"log":    func(f fixture) error { return errors.Join(f.SetClass(refOf(1), segment.Replica), f.Sync()) },
		"put anew": func(f fixture) error {
			return errors.Join(f.Delete(refOf(2)), f.Put(refOf(2), bodyOf(2), segment.Cache), f.Sync())
		},
	}
	for name, do := range meanwhile {
		for _, kind := range []errorfs.OpKind{errorfs.OpFileReadAt, errorfs.OpFileWriteAt, errorfs.OpFileSyncData} {
			for pass := range 4 {
				called := compactWhile(t, fmt.Sprintf("%s during %v behind %d", name, kind, pass), kind, pass, do)
				if !called && pass == 0 {
					t.Errorf("%s never happened during %v", name, kind)
				}
			}
		}
	}
}

// compactWhile reports whether there were more operations of kind than pass.
func compactWhile(t *testing.T, name string, kind errorfs.OpKind, pass int, do func(f fixture) error) (called bool) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	b := &between{kind: kind}
	f := open(t, errorfs.Wrap(mem, b), segment.Config{})
	for n, class := range []segment.Class{segment.Replica, segment.Log, segment.Replica, segment.Replica} {
		f.put(n, class)
	}
	f.sync()
	if err := errors.Join(f.Delete(refOf(0)), f.Delete(refOf(3)), f.Sync()); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.pass, b.f = pass, func() {
		called = true
		if err := do(f); err != nil {
			t.Error(err)
		}
	}
	b.mu.Unlock()
	freed, more, err := f.CompactSome(1 << 20)
	first := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	for err == nil && more {
		var n int64
		n, more, err = f.CompactSome(1 << 20)
		freed += n
	}
	if err != nil || freed < sizeOf(0)+sizeOf(3) {
		t.Fatalf("%s: %d freed: %v", name, freed, err)
	}
	b.mu.Lock()
	b.f = nil
	b.mu.Unlock()
	if !called {
		f.close()
		return false
	}
	last := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	what, _, _ := strings.Cut(name, " during")
	for i, f := range []fixture{f, open(t, first, segment.Config{}), open(t, last, segment.Config{})} {
		if f.holds(2) != (what != "delete") || !f.holds(1) || f.holds(0) || f.holds(3) {
			t.Errorf("%s: the wrong bodies are there", name)
		}
		if cache := what == "class" || what == "put anew"; cache != (f.Usage().Cache == sizeOf(2)) {
			t.Errorf("%s: usage %+v", name, f.Usage())
		}
		logs := 0
		err := f.Logs(func(store.Ref, []byte) error { logs++; return nil })
		if err != nil || (logs == 1) != (what != "log") {
			t.Errorf("%s: %d logs, %v", name, logs, err)
		}
		f.sync()
		if err := recount(f, []vfs.FS{mem, first, last}[i]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.close()
	}
	return true
}

// TestCompactSome_InSlices compacts with small limits and looks that each slice moves
// little, that all is freed in the end, and that what is not worth it is left alone.
func TestCompactSome_InSlices(t *testing.T) {
	fs := vfs.NewMem()
	f := open(t, fs, segment.Config{Space: 8 << 20, SegmentSize: 256 << 10})
	defer f.close()
	for n := range 300 {
		f.put(n, segment.Replica)
	}
	f.sync()
	for n := range 60 {
		if n%10 == 0 {
			f.Delete(refOf(n))
		}
	}
	if freed, more, err := f.CompactSome(1 << 20); freed != 0 || more || err != nil {
		t.Errorf("a tenth is dead: %d, %v, %v", freed, more, err)
	}
	for n := range 300 {
		if n%3 != 0 {
			f.Delete(refOf(n))
		}
	}
	dead := f.Usage().Dead
	var freed int64
	slices := 0
	for more := true; more; slices++ {
		used := f.Usage()
		n, m, err := f.CompactSome(16 << 10)
		if err != nil {
			t.Fatal(err)
		}
		freed, more = freed+n, m
		if u := f.Usage(); u.Dead-used.Dead > 16<<10+6100 || u.Replicas != used.Replicas {
			t.Fatalf("a slice: from %+v to %+v", used, u)
		}
	}
	left := f.Usage()
	if freed != dead-left.Dead || left.Dead*4 > dead || slices < 10 {
		t.Errorf("%d freed of %d in %d slices, now %+v", freed, dead, slices, left)
	}
	f.sync()
	if err := recount(f, fs); err != nil {
		t.Error(err)
	}
}
