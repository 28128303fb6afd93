package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/segment"
)

// clone copies a file system on which nothing is open.
func clone(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeFile(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(bytes.Clone(b)) // which, with the race detector, a vfs.MemFS spoils
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// small puts short bodies from a number up to another and closes.
func small(t *testing.T, fs vfs.FS, from, to int, class segment.Class) {
	t.Helper()
	f := open(t, fs, segment.Config{})
	for n := from; n < to; n++ {
		if err := f.Put(refOf(n), smallBody(n), class); err != nil {
			t.Fatal(err)
		}
	}
	f.close()
}

func smallBody(n int) []byte { return fmt.Appendf(nil, "body %d", n) }

const smallSize = head + 6 // of a record with one of the first ten

// scrubbed returns the damage by ref.
func scrubbed(t *testing.T, s *segment.Store, c segment.ScrubConfig) map[store.Ref]segment.Damage {
	t.Helper()
	found := map[store.Ref]segment.Damage{}
	c.Found = func(d segment.Damage) { found[d.Ref] = d }
	r, err := s.Scrub(t.Context(), c)
	if err != nil || r.Damaged != int64(len(found)) {
		t.Fatalf("scrub: %+v, %d found, %v", r, len(found), err)
	}
	return found
}

func is(f fixture, n int) error {
	b, err := f.Get(refOf(n))
	if err == nil && !bytes.Equal(b, smallBody(n)) {
		err = fmt.Errorf("%d has the body %q", n, b)
	}
	return err
}

// TestOpen_TruncatedAnywhere cuts a segment at each byte: whole records stay, the
// others are told of by Scrub until they are repaired, put or deleted.
func TestOpen_TruncatedAnywhere(t *testing.T) {
	fs := vfs.NewCrashableMem()
	small(t, fs, 0, 5, segment.Log)
	whole := readFile(t, fs, "/chunks/00000001.seg")
	const size = smallSize + 8
	for cut := 0; cut < len(whole); cut += 1 + cut%3 {
		fs := clone(fs)
		writeFile(t, fs, "/chunks/00000001.seg", whole[:cut])
		f := open(t, fs, segment.Config{})
		left := cut / size
		damage := scrubbed(t, f.Store, segment.ScrubConfig{})
		for n := range 5 {
			d, lost := damage[refOf(n)]
			if err := is(f, n); n < left && err != nil || n >= left && !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("cut at %d: %d: %v", cut, n, err)
			}
			if lost != (n >= left) || lost && (!errors.Is(d.Err, segment.ErrLost) || d.Segment != 1 || d.Offset != int64(n*size) || d.Class != segment.Log) {
				t.Fatalf("cut at %d: %d: scrub says %+v", cut, n, d)
			}
		}
		if err := errors.Join(f.Repair(refOf(4), smallBody(4)), is(f, 4), f.Put(refOf(3), smallBody(3), segment.Replica), f.Delete(refOf(3)), f.Delete(refOf(2))); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		for range 2 {
			f.sync()
			if damage := scrubbed(t, f.Store, segment.ScrubConfig{}); len(damage) != max(0, 2-left) {
				t.Fatalf("cut at %d: scrub says %+v after repair", cut, damage)
			}
			if err := recount(f, fs); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			f.close()
			f = open(t, fs, segment.Config{})
		}
		f.close()
	}
}

// TestScrub_FlippedAnywhere flips a bit of each byte: the record is found, others are
// not, compaction leaves it alone, and Repair or Delete ends it.
func TestScrub_FlippedAnywhere(t *testing.T) {
	fs := vfs.NewCrashableMem()
	small(t, fs, 0, 5, segment.Replica)
	whole := readFile(t, fs, "/chunks/00000001.seg")
	for i := range whole {
		fs, b := clone(fs), bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		writeFile(t, fs, "/chunks/00000001.seg", b)
		f := open(t, fs, segment.Config{})
		n := i / smallSize
		damage := scrubbed(t, f.Store, segment.ScrubConfig{})
		d := damage[refOf(n)]
		if len(damage) != 1 || !errors.Is(d.Err, segment.ErrCorrupt) || d.Segment != 1 || d.Offset != int64(n*smallSize) {
			t.Fatalf("byte %d: scrub says %+v", i, damage)
		}
		other := (n + 1) % 5
		if err := errors.Join(f.Delete(refOf(other)), f.Delete(refOf((n+2)%5))); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, _, err := f.CompactSome(1); err != nil {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
		if _, err := f.Get(refOf(n)); !errors.Is(err, segment.ErrCorrupt) {
			t.Fatalf("byte %d: Get = %v", i, err)
		}
		if i%2 == 0 {
			if err := errors.Join(f.Repair(refOf(n), smallBody(n)), is(f, n)); err != nil {
				t.Fatalf("byte %d: %v", i, err)
			}
		} else if err := f.Delete(refOf(n)); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var err error
			if _, more, err = f.CompactSome(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
		if damage := scrubbed(t, f.Store, segment.ScrubConfig{}); len(damage) != 0 || f.Usage().Dead != 0 {
			t.Fatalf("byte %d: %+v, usage %+v", i, damage, f.Usage())
		}
		f.sync()
		if err := recount(f, fs); err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		f.close()
	}
}

// TestOpen_SwappedAndForeignFiles swaps two segments, takes one away, and adds one of
// another pool: nothing is served under a wrong ref, and all of it is told.
func TestOpen_SwappedAndForeignFiles(t *testing.T) {
	made := vfs.NewCrashableMem()
	small(t, made, 0, 5, segment.Replica)
	small(t, made, 5, 8, segment.Cache)
	names := []string{"/chunks/00000001.seg", "/chunks/00000002.seg"}
	one, two := readFile(t, made, names[0]), readFile(t, made, names[1])

	fs := clone(made)
	writeFile(t, fs, names[0], two)
	writeFile(t, fs, names[1], one)
	f := open(t, fs, segment.Config{})
	damage := scrubbed(t, f.Store, segment.ScrubConfig{})
	for n := range 8 {
		if err, d := is(f, n), damage[refOf(n)]; (err == nil) != (d.Err == nil) {
			t.Errorf("swapped: %d: %v, scrub says %+v", n, err, d)
		}
		if damage[refOf(n)].Err != nil {
			if err := errors.Join(f.Repair(refOf(n), smallBody(n)), is(f, n)); err != nil {
				t.Error(err)
			}
		}
	}
	if len(damage) == 0 || len(scrubbed(t, f.Store, segment.ScrubConfig{})) != 0 {
		t.Errorf("swapped: scrub says %+v, and after repair %+v", damage, scrubbed(t, f.Store, segment.ScrubConfig{}))
	}
	f.close()

	fs = clone(made)
	f = open(t, fs, segment.Config{})
	fs.Remove(names[0]) // while it is in use
	if damage = scrubbed(t, f.Store, segment.ScrubConfig{}); len(damage) != 5 {
		t.Errorf("missing: scrub says %+v", damage)
	}
	for n, d := range damage {
		if !strings.Contains(d.Err.Error(), "segment 1 is missing") {
			t.Errorf("missing: %s: %+v", n, d)
		}
	}
	if err := errors.Join(f.Repair(refOf(0), smallBody(0)), is(f, 0)); err != nil {
		t.Error(err)
	}
	f.close()
	f = open(t, fs, segment.Config{})
	if damage = scrubbed(t, f.Store, segment.ScrubConfig{}); len(damage) != 4 {
		t.Errorf("missing since: scrub says %+v", damage)
	}
	f.close()

	fs = clone(made)
	other := vfs.NewCrashableMem()
	small(t, other, 6, 9, segment.Replica) // its bodies are others, if only Check knows
	writeFile(t, fs, "/chunks/00000007.seg", readFile(t, other, names[0]))
	f = open(t, fs, segment.Config{})
	foreign := func(ref store.Ref, body []byte) error {
		if ref == refOf(8) {
			return errors.New("not of this pool")
		}
		return nil
	}
	damage = scrubbed(t, f.Store, segment.ScrubConfig{Check: foreign})
	if d := damage[refOf(8)]; len(damage) != 1 || d.Segment != 7 || d.Err == nil {
		t.Errorf("foreign: scrub says %+v", damage)
	}
	for n := range 9 {
		if err := is(f, n); err != nil {
			t.Error(err)
		}
	}
	if err := f.Delete(refOf(8)); err != nil {
		t.Error(err)
	}
	f.close()
}

// TestScrub_ResumesAndKeepsItsRate stops a scrub in the middle and goes on.
func TestScrub_ResumesAndKeepsItsRate(t *testing.T) {
	f := open(t, vfs.NewMem(), segment.Config{SegmentSize: 64 << 10})
	defer f.close()
	var total int64
	for n := range 100 {
		f.put(n, segment.Replica)
		total += sizeOf(n)
	}
	f.sync()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	seen := map[store.Ref]int{}
	c := segment.ScrubConfig{
		Check: func(ref store.Ref, _ []byte) error { seen[ref]++; return nil },
		Progress: func(done, of int64) {
			if done > of || of != total {
				t.Errorf("progress %d of %d", done, of)
			}
			if len(seen) == 40 {
				stop()
			}
		},
	}
	if r, err := f.Scrub(ctx, c); !errors.Is(err, context.Canceled) || r.Bodies != 40 {
		t.Errorf("stopped at %+v: %v", r, err)
	}
	c.Resume = true
	if r, err := f.Scrub(t.Context(), c); err != nil || r != (segment.ScrubResult{Bodies: 100, Bytes: total}) {
		t.Errorf("resumed: %+v, %v", r, err)
	}
	for ref, n := range seen {
		if n != 1 {
			t.Errorf("%s was read %d times", ref, n)
		}
	}
	if r, err := f.Scrub(t.Context(), c); err != nil || r.Bodies != 100 || len(seen) != 100 || seen[refOf(0)] != 2 {
		t.Errorf("there was nothing to resume: %+v, %v", r, err)
	}
	// A deadline before the next bytes may be read ends it at once.
	ctx, stop = context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if r, err := f.Scrub(ctx, segment.ScrubConfig{Rate: 100}); err == nil || r.Bodies > 4 {
		t.Errorf("at 100 bytes a second: %+v, %v", r, err)
	}
}

// stubborn fails operations on segment files from one on.
type stubborn struct {
	mu    sync.Mutex
	left  int // operations until the first that fails; below 0 none does
	kinds map[errorfs.OpKind]bool
	err   error
	times int
}

func (s *stubborn) MaybeError(op errorfs.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left < 0 || !s.kinds[op.Kind] || !strings.HasSuffix(op.Path, ".seg") {
		return nil
	}
	if s.left > 0 {
		s.left--
		return nil
	}
	s.times++
	return s.err
}

func (*stubborn) String() string { return "stubborn" }

func (s *stubborn) set(left int) (times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, times, s.times = left, s.times, 0
	return times
}

// TestStore_FullAtEveryStep lets the disk be full from each operation on that takes
// room: the error reaches who puts or syncs, what was put is there and what was not is
// not, deleting goes on, and after room was made so does all else.
func TestStore_FullAtEveryStep(t *testing.T) {
	kinds := map[string]map[errorfs.OpKind]bool{
		"all":      {errorfs.OpFilePreallocate: true, errorfs.OpFileWriteAt: true, errorfs.OpCreate: true},
		"writing":  {errorfs.OpFileWriteAt: true},
		"creating": {errorfs.OpCreate: true},
		"at once":  {errorfs.OpFileWriteAt: true},
	}
	for name, kinds := range kinds {
		for step, failed := 0, true; failed; step++ {
			fs := vfs.NewMem()
			disk := &stubborn{left: -1, kinds: kinds, err: syscall.ENOSPC}
			var below vfs.FS = fs
			if name == "at once" {
				below = errorfs.Wrap(fs, unprepared{})
			}
			f := open(t, errorfs.Wrap(below, disk), segment.Config{Space: 4 << 20, SegmentSize: 32 << 10})
			disk.set(step)
			failed = fillTheDisk(t, fmt.Sprintf("%s, step %d", name, step), f, fs, disk)
			f.close()
		}
	}
}

// unprepared is a file system that takes no room before it is written to, so that
// nothing can be written behind.
type unprepared struct{}

func (unprepared) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpFilePreallocate {
		return syscall.EOPNOTSUPP
	}
	return nil
}

func (unprepared) String() string { return "unprepared" }

func fillTheDisk(t *testing.T, name string, f fixture, fs vfs.FS, disk *stubborn) (failed bool) {
	t.Helper()
	var kept []int
	for n := range 60 {
		err := f.Put(refOf(n), bodyOf(n), segment.Replica)
		if err == nil && n%10 == 9 {
			if err = f.Sync(); err == nil {
				_, _, err = f.CompactSome(8 << 10)
			}
			kept = append(kept, n)
			if errors.Is(err, syscall.ENOSPC) {
				err = nil
			}
		} else if err == nil {
			kept = append(kept, n)
		} else if f.Has(refOf(n)) || !errors.Is(err, segment.ErrFull) {
			t.Fatalf("%s: Put(%d) = %v, there: %v", name, n, err, f.Has(refOf(n)))
		}
		if err == nil && n%4 == 3 {
			if err := f.Delete(refOf(kept[0])); err != nil {
				t.Fatalf("%s: Delete = %v", name, err)
			}
			kept = kept[1:]
		}
	}
	failed = disk.set(-1) > 0
	f.put(100, segment.Replica)
	f.sync()
	for range 2 {
		for _, n := range append(kept, 100) {
			if !f.holds(n) {
				t.Fatalf("%s: %d is gone", name, n)
			}
		}
		for more := true; more; {
			var err error
			if _, more, err = f.CompactSome(1 << 20); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		f.sync()
		if err := recount(f, fs); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return failed
}

// TestStore_SyncThatFailsIsTheEnd fails each fdatasync: whoever waits for it hears of it, so does
// everybody later, nothing is tried again, and what was durable is, when opened anew.
func TestStore_SyncThatFailsIsTheEnd(t *testing.T) {
	for step := range 6 {
		fs := vfs.NewCrashableMem()
		disk := &stubborn{left: -1, kinds: map[errorfs.OpKind]bool{errorfs.OpFileSyncData: true}, err: syscall.EIO}
		f := open(t, errorfs.Wrap(fs, disk), segment.Config{SegmentSize: 32 << 10})
		disk.set(step)
		durable, err := 0, error(nil)
		for n := 0; err == nil && n < 40; n++ {
			f.put(n, segment.Replica)
			if n%10 != 9 {
				continue
			}
			if err = f.Sync(); err == nil {
				durable = n + 1
				for i := n - 6; i < n; i++ {
					err = errors.Join(err, f.Delete(refOf(i)))
				}
				if err == nil {
					_, _, err = f.CompactSome(4 << 10)
				}
			}
		}
		if !errors.Is(err, syscall.EIO) || disk.set(-1) != 1 {
			t.Fatalf("step %d: %v, want EIO, once", step, err)
		}
		if err := f.Put(refOf(50), nil, segment.Replica); !errors.Is(err, syscall.EIO) {
			t.Errorf("step %d: Put = %v", step, err)
		}
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("step %d: Sync = %v", step, err)
		}
		if _, _, err := f.CompactSome(1); !errors.Is(err, syscall.EIO) {
			t.Errorf("step %d: CompactSome = %v", step, err)
		}
		if durable > 0 && !f.holds(0) {
			t.Errorf("step %d: reading goes on", step)
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		_ = f.Store.Close() // it says EIO
		f.kv.Close()
		f = open(t, crashed, segment.Config{SegmentSize: 32 << 10})
		for n := range durable {
			if !f.holds(n) && n%10 < 3 {
				t.Errorf("step %d: %d is gone", step, n)
			}
		}
		f.close()
	}
}
