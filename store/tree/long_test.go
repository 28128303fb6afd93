package tree_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/tree"
)

// TestLong_ManyOperations makes changes of all kinds on disk and watches the memory:
// it depends on neither the number of operations nor that of files. AETHER_LONG=1 runs
// it with ten million operations, AETHER_LONG_OPS with another number. What the heap
// holds after a tenth of them it may hold half more of at the end.
//
//	AETHER_LONG=1 go test ./store/tree -run Long_Many -v -timeout 4h
func TestLong_ManyOperations(t *testing.T) {
	if os.Getenv("AETHER_LONG") == "" {
		t.Skip("ten million operations take an hour; AETHER_LONG=1 runs them")
	}
	ops := 10_000_000
	if s := os.Getenv("AETHER_LONG_OPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1000 {
			t.Fatalf("AETHER_LONG_OPS=%s is no number from 1000", s)
		}
		ops = n
	}
	l := newLongRun(t)
	began := time.Now()
	var first uint64
	for part := range 10 {
		for range ops / 10 {
			l.step()
		}
		heap := heapInUse()
		totals, err := l.tree.Totals(l.kv)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d operations, %d files: %d MB of heap, %.0f operations a second, the slowest %v", l.ops, totals.Files,
			heap>>20, float64(l.ops)/time.Since(began).Seconds(), l.slowest)
		if part == 0 {
			first = heap
		} else if heap > first+first/2 {
			t.Errorf("%d MB of heap after %d operations, %d MB after a tenth", heap>>20, l.ops, first>>20)
		}
		if totals.Files != int64(l.files) {
			t.Errorf("%d files, want %d", totals.Files, l.files)
		}
	}
	l.check(t)
}

// longDirs is how many directories a long run spreads its files over; longKept of the
// files at most lie in each.
const (
	longDirs = 1000
	longKept = 1000
)

// longRun is a tree on disk that is changed at random. What it should hold is known
// from two numbers a directory: its files are named by what lies between them.
type longRun struct {
	t       *testing.T
	kv      *index.Pebble
	tree    *tree.Tree
	rng     *rand.Rand
	now     time.Time
	dirs    []longDir
	ops     int
	files   int
	slowest time.Duration
}

type longDir struct {
	id         store.FileID
	from, next int // the files' numbers
}

func newLongRun(t *testing.T) *longRun {
	kv, err := index.Open(vfs.Default, t.TempDir(), index.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kv.Close() })
	tr, err := tree.Open(kv, store.MachineID{1})
	if err != nil {
		t.Fatal(err)
	}
	const seed = 1
	t.Logf("seed %d", seed)
	l := &longRun{t: t, kv: kv, tree: tr, rng: rand.New(rand.NewPCG(seed, 0)), now: epoch}
	for i := range longDirs {
		var d longDir
		l.do(func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
			d.id, ops, events, err = tr.CreateAt(tx, tree.Place{Dir: tree.Root, Name: fmt.Sprint("d", i)}, true, tree.Version{Mode: 0o755}, l.now)
			return ops, events, err
		})
		l.dirs = append(l.dirs, d)
	}
	return l
}

func (l *longRun) do(f func(tx store.Txn) ([]tree.Op, []tree.Event, error)) {
	l.now = l.now.Add(time.Millisecond)
	began := time.Now()
	tx := l.kv.Begin()
	ops, _, err := f(tx)
	if err == nil && l.ops%1000 == 999 { // the past is given up as it is by a node
		_, err = l.tree.ForgetPast(tx, l.now.Add(-time.Minute), 4000)
	}
	if err != nil {
		l.t.Fatalf("after %d operations: %v", l.ops, err)
	}
	if err := tx.Commit(false); err != nil {
		l.t.Fatal(err)
	}
	l.ops += len(ops)
	l.slowest = max(l.slowest, time.Since(began))
}

func longName(n int) string { return fmt.Sprintf("file %08d.txt", n) }

// step makes a file, writes, renames or removes one.
func (l *longRun) step() {
	d := &l.dirs[l.rng.IntN(len(l.dirs))]
	pick := func() tree.Place { return tree.Place{Dir: d.id, Name: longName(d.from + l.rng.IntN(d.next-d.from))} }
	kind := l.rng.IntN(10)
	switch {
	case d.next == d.from || kind < 4 && d.next-d.from < longKept:
		l.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := l.tree.CreateAt(tx, tree.Place{Dir: d.id, Name: longName(d.next)}, false, size(1), l.now)
			return ops, events, err
		})
		d.next++
		l.files++
	case kind < 7:
		p := pick()
		e, err := l.tree.Child(l.kv, p.Dir, p.Name)
		if err != nil {
			l.t.Fatal(err)
		}
		l.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return l.tree.WriteNode(tx, e.ID, e.Version.Dot, size(int64(l.ops)), l.now)
		})
	case kind < 8: // the first one becomes the last
		l.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return l.tree.RenameAt(tx, tree.Place{Dir: d.id, Name: longName(d.from)}, tree.Place{Dir: d.id, Name: longName(d.next)}, tree.NoReplace, l.now)
		})
		d.from++
		d.next++
	default:
		l.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return l.tree.RemoveAt(tx, tree.Place{Dir: d.id, Name: longName(d.from)}, false, l.now)
		})
		d.from++
		l.files--
	}
}

// check lists everything.
func (l *longRun) check(t *testing.T) {
	t.Helper()
	for _, d := range l.dirs {
		n := d.from
		err := l.tree.Children(l.kv, d.id, "", func(e tree.Entry) bool {
			if e.Path != longName(n) {
				t.Errorf("%q instead of %q", e.Path, longName(n))
				return false
			}
			n++
			return true
		})
		if err != nil || n != d.next {
			t.Fatalf("files up to %d, want %d, %v", n, d.next, err)
		}
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
