package tree_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/tree"
)

// counted counts what a Txn writes.
type counted struct {
	store.Txn
	sets *int
}

func (c counted) Set(key, value []byte) error { *c.sets++; return c.Txn.Set(key, value) }

// timed is a tree in a real index.
type timed struct {
	kv   store.KV
	tree *tree.Tree
	n    int
	sets int
}

func newTimed(t testing.TB) *timed {
	kv, err := index.Open(vfs.NewMem(), "index", index.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kv.Close(); err != nil {
			t.Error(err)
		}
	})
	tr, err := tree.Open(kv, store.MachineID{1})
	if err != nil {
		t.Fatal(err)
	}
	return &timed{kv: kv, tree: tr}
}

// do commits one change, a millisecond after the one before.
func (b *timed) do(t testing.TB, f func(tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error)) {
	t.Helper()
	b.n++
	tx := b.kv.Begin()
	defer tx.Discard()
	if _, _, err := f(counted{tx, &b.sets}, epoch.Add(time.Duration(b.n)*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(false); err != nil {
		t.Fatal(err)
	}
}

func (b *timed) put(t testing.TB, path string, size int) {
	t.Helper()
	b.do(t, func(tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return b.tree.Put(tx, path, tree.Version{Content: store.Content{Size: int64(size)}, Mode: 0o644}, now)
	})
}

func (b *timed) mkdir(t testing.TB, path string) {
	t.Helper()
	b.do(t, func(tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return b.tree.Mkdir(tx, path, tree.Version{Mode: 0o755}, now)
	})
}

func BenchmarkPast_Create(t *testing.B) {
	b := newTimed(t)
	for n := range t.N {
		b.put(t, fmt.Sprintf("/f%d", n), n)
	}
	t.ReportMetric(float64(b.sets)/float64(t.N), "sets/op")
}

// BenchmarkPast_Overwrite makes new versions of 1,000 files.
func BenchmarkPast_Overwrite(t *testing.B) {
	b := newTimed(t)
	for n := range 1000 {
		b.put(t, fmt.Sprintf("/f%d", n), n)
	}
	b.sets = 0
	t.ResetTimer()
	for n := range t.N {
		b.put(t, fmt.Sprintf("/f%d", n%1000), 1000+n)
	}
	t.ReportMetric(float64(b.sets)/float64(t.N), "sets/op")
}

// BenchmarkPast_Rename moves 1,000 files to and fro.
func BenchmarkPast_Rename(t *testing.B) {
	b := newTimed(t)
	for n := range 1000 {
		b.put(t, fmt.Sprintf("/f%d.0", n), n)
	}
	b.sets = 0
	t.ResetTimer()
	for n := range t.N {
		i, turn := n%1000, n/1000
		b.do(t, func(tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
			return b.tree.Rename(tx, fmt.Sprintf("/f%d.%d", i, turn), fmt.Sprintf("/f%d.%d", i, turn+1), now)
		})
	}
	t.ReportMetric(float64(b.sets)/float64(t.N), "sets/op")
}

// BenchmarkPast_RemoveDirectory removes 1,000 files at once; the time is that of all.
func BenchmarkPast_RemoveDirectory(t *testing.B) {
	b := newTimed(t)
	t.StopTimer()
	for range t.N {
		b.mkdir(t, "/d")
		for n := range 1000 {
			b.put(t, fmt.Sprintf("/d/f%d", n), n)
		}
		b.sets = 0
		t.StartTimer()
		b.do(t, func(tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
			return b.tree.Remove(tx, "/d", true, now)
		})
		t.StopTimer()
	}
	t.ReportMetric(float64(b.sets), "sets/op")
}

// pairs counts what scans go through.
type pairs struct {
	store.Reader
	n int
}

func (p *pairs) Scan(from, to []byte, f func(key, value []byte) bool) error {
	return p.Reader.Scan(from, to, func(k, v []byte) bool { p.n++; return f(k, v) })
}

// TestListAt_ReadsAPageAtATime: a directory of which half is gone, with a file of
// a thousand versions. The first names come after two pages, the whole list
// reads each name but once, and old versions are leapt over.
func TestListAt_ReadsAPageAtATime(t *testing.T) {
	const names, versions = 10_000, 1000
	kv := index.NewMemory()
	tr, err := tree.Open(kv, store.MachineID{1})
	if err != nil {
		t.Fatal(err)
	}
	tx := kv.Begin()
	change := func(n int, f func(now time.Time) ([]tree.Op, []tree.Event, error)) {
		if _, _, err := f(epoch.Add(time.Duration(n) * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n%1000 == 0 {
			if err := tx.Commit(false); err != nil {
				t.Fatal(err)
			}
			tx = kv.Begin()
		}
	}
	put := func(n int, path string) {
		change(n, func(now time.Time) ([]tree.Op, []tree.Event, error) {
			return tr.Put(tx, path, tree.Version{Content: store.Content{Size: int64(n)}}, now)
		})
	}
	for n := range names {
		put(n, fmt.Sprintf("/f%05d", n))
	}
	for n := range versions {
		put(names+n, "/f00003")
	}
	for n := 0; n < names; n += 2 {
		change(names+versions+n, func(now time.Time) ([]tree.Op, []tree.Event, error) {
			return tr.Remove(tx, fmt.Sprintf("/f%05d", n), false, now)
		})
	}
	if err := tx.Commit(false); err != nil {
		t.Fatal(err)
	}
	list := func(at, most int) (got, read int) {
		r := &pairs{Reader: kv}
		if err := tr.ListAt(r, "/", epoch.Add(time.Duration(at)*time.Millisecond), "", func(tree.Entry) bool { got++; return got < most }); err != nil {
			t.Fatal(err)
		}
		return got, r.n
	}
	if _, read := list(names+versions-1, 10); read > 700 {
		t.Errorf("%d pairs read for ten names", read)
	}
	for _, c := range []struct{ at, want int }{{names + versions - 1, names}, {3 * names, names / 2}, {names / 4, names/4 + 1}} {
		if got, read := list(c.at, names); got != c.want || read > names+names/2 {
			t.Errorf("at %d: %d names, want %d, from %d pairs", c.at, got, c.want, read)
		}
	}
}
