package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

var indexKey = bytes.Repeat([]byte{7}, index.KeySize)

func openKey(t testing.TB, fs vfs.FS, key []byte) *index.Pebble {
	t.Helper()
	p, err := index.Open(fs, "/kv", index.Config{Cache: 1 << 20, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// files returns what lies in the directory of a KV, by name.
func files(t testing.TB, fs vfs.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List("/kv")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		f, err := fs.Open(path.Join("/kv", name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

// witness is a file system that counts the writes in which a word occurs, and
// the files that were written in the place of old ones.
type witness struct {
	vfs.FS
	word string

	mu      sync.Mutex
	writes  int
	in      map[string]int // writes with the word, by the ending of the file's name
	reused  int
	headers map[string]bool // first 64 bytes of files
}

func (w *witness) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, c)
	return &witnessed{File: f, w: w, kind: path.Ext(name)}, err
}

func (w *witness) ReuseForWrite(o, n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	w.mu.Lock()
	w.reused++
	w.mu.Unlock()
	f, err := w.FS.ReuseForWrite(o, n, c)
	return &witnessed{File: f, w: w, kind: path.Ext(n)}, err
}

type witnessed struct {
	vfs.File
	w     *witness
	kind  string
	begun bool
}

func (f *witnessed) Write(p []byte) (int, error) {
	f.w.mu.Lock()
	f.w.writes++
	if bytes.Contains(p, []byte(f.w.word)) {
		f.w.in[f.kind]++
	}
	if !f.begun && bytes.HasPrefix(p, []byte("AEix")) {
		if f.w.headers[string(p[:64])] {
			f.w.in["a header was used twice"]++
		}
		f.w.headers[string(p[:64])] = true
	}
	f.begun = true
	f.w.mu.Unlock()
	return f.File.Write(p)
}

// fill commits n MiB under names that contain word, enough for flushes,
// compactions and logs that take the place of old ones.
func fill(t testing.TB, kv store.KV, rng *rand.ChaCha8, n int, word string) {
	t.Helper()
	value := make([]byte, 16<<10)
	for i := range n * 64 {
		_, _ = rng.Read(value)
		set(t, kv, i%16 == 0, fmt.Sprintf("%s-%05d", word, i), word+string(value))
	}
}

// TestSealed_NoNameReachesTheDisk watches every write, to files that are gone too.
func TestSealed_NoNameReachesTheDisk(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "sealed": indexKey} {
		t.Run(name, func(t *testing.T) {
			w := &witness{FS: vfs.NewMem(), word: "Tax return 2024", in: map[string]int{}, headers: map[string]bool{}}
			rng := rand.NewChaCha8([32]byte{1})
			for range 2 {
				p := openKey(t, w, key)
				fill(t, p, rng, 12, w.word)
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if w.reused == 0 {
				t.Error("no log was recycled: the test does not see what it should")
			}
			found := 0
			for _, b := range files(t, w.FS) {
				found += bytes.Count(b, []byte(w.word))
			}
			if key != nil {
				if len(w.in) > 0 || found > 0 {
					t.Errorf("of %d writes with the word: %v, %d times in the files that are left", w.writes, w.in, found)
				}
				return
			}
			if w.in[".log"] == 0 || w.in[".sst"] == 0 || found == 0 {
				t.Errorf("the search finds nothing in plain files either: %v, %d", w.in, found)
			}
		})
	}
}

func TestSealed_SurvivesReopening(t *testing.T) {
	fs := vfs.NewMem()
	rng := rand.NewChaCha8([32]byte{2})
	p := openKey(t, fs, indexKey)
	fill(t, p, rng, 12, "a")
	want := all(t, p, nil, nil)
	for range 3 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = openKey(t, fs, indexKey)
		if got := all(t, p, nil, nil); !slices.Equal(got, want) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
	}
	p.Close()
}

func TestOpen_AnotherKeyChangesNothing(t *testing.T) {
	other := bytes.Repeat([]byte{8}, index.KeySize)
	for _, c := range []struct {
		name        string
		with, given []byte
		says        string
	}{
		{"another", indexKey, other, "another"},
		{"none for a sealed one", indexKey, nil, "no key was given"},
		{"one for a plain one", nil, indexKey, "not encrypted"},
		{"too short", indexKey, indexKey[:31], "31"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			p := openKey(t, fs, c.with)
			set(t, p, true, "a", "1")
			p.Close()
			before := files(t, fs)
			_, err := index.Open(fs, "/kv", index.Config{Key: c.given})
			if !errors.Is(err, index.ErrKey) || errors.Is(err, index.ErrDamaged) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Open = %v, want ErrKey saying %q", err, c.says)
			}
			if after := files(t, fs); !maps.EqualFunc(before, after, bytes.Equal) {
				t.Error("the files changed")
			}
			p = openKey(t, fs, c.with)
			defer p.Close()
			if got := all(t, p, nil, nil); !slices.Equal(got, []string{"a=1"}) {
				t.Errorf("afterwards it holds %q", got)
			}
		})
	}
}

// TestSealed_CrashKeepsPrefix is TestPebble_CrashKeepsPrefix with a key, and so
// many bytes that logs take the place of old ones, whose ends then are noise.
func TestSealed_CrashKeepsPrefix(t *testing.T) {
	reused := 0
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewCrashableMem()
		committed, synced := 0, 0
		value := make([]byte, 40<<10)
		for range 4 {
			w := &witness{FS: mem, word: "~", in: map[string]int{}, headers: map[string]bool{}}
			p := openKey(t, w, indexKey)
			n := len(all(t, p, []byte("a"), []byte("b")))
			if n < synced || n > committed {
				t.Fatalf("seed %d: %d commits survived, %d synced of %d", seed, n, synced, committed)
			}
			committed, synced = n, n
			for range 250 + rng.IntN(150) {
				committed++
				sync := rng.IntN(40) == 0
				_, _ = rand.NewChaCha8([32]byte{byte(committed)}).Read(value)
				set(t, p, sync, fmt.Sprintf("a%06d", committed), string(value[:rng.IntN(len(value))]))
				if sync {
					synced = committed
				}
				if committed%60 == 0 { // or the logs are used again only where the machine has time
					if err := index.Flush(p); err != nil {
						t.Fatal(err)
					}
					synced = committed
				}
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			p.Close()
			mem, reused = crashed, reused+w.reused
		}
	}
	if reused == 0 {
		t.Error("no log was recycled: the test does not see what it should")
	}
}

func TestSealed_FullDiskRefusesAndStaysUsable(t *testing.T) {
	fs := vfs.NewMem()
	p := openKey(t, fs, indexKey)
	defer p.Close()
	refusesOnFullDisk(t, fs, p)
}

// eventful is a file system that calls before ahead of what changes it.
type eventful struct {
	*vfs.MemFS
	before func()
}

func (e eventful) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	e.before()
	f, err := e.MemFS.Create(name, c)
	return eventfulFile{f, e.before}, err
}

func (e eventful) Remove(name string) error {
	e.before()
	return e.MemFS.Remove(name)
}

func (e eventful) Rename(o, n string) error {
	e.before()
	return e.MemFS.Rename(o, n)
}

func (e eventful) OpenDir(name string) (vfs.File, error) {
	f, err := e.MemFS.OpenDir(name)
	return eventfulFile{f, e.before}, err
}

type eventfulFile struct {
	vfs.File
	before func()
}

func (f eventfulFile) Write(p []byte) (int, error) {
	f.before()
	return f.File.Write(p)
}

func (f eventfulFile) Sync() error {
	f.before()
	return f.File.Sync()
}

func (f eventfulFile) SyncData() error {
	f.before()
	return f.File.SyncData()
}

// TestOpen_CrashWhileOpening crashes at every event of opening what crashes left
// before, three times over, so that compactions and new manifests are among them.
func TestOpen_CrashWhileOpening(t *testing.T) {
	for kind, key := range map[string][]byte{"plain": nil, "sealed": indexKey} {
		t.Run(kind, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(6, 6))
			left, want := vfs.NewCrashableMem(), []string(nil)
			for round := range 4 {
				var mu sync.Mutex
				var crashed []*vfs.MemFS
				p := openKey(t, eventful{left, func() {
					mu.Lock()
					defer mu.Unlock()
					for _, percent := range []int{0, 50, 100} {
						crashed = append(crashed, left.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
					}
				}}, key)
				mu.Lock()
				left = left.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
				opening := crashed
				mu.Unlock()
				p.Close()
				for i, fs := range opening {
					p := openKey(t, fs, key)
					if got := all(t, p, nil, nil); !slices.Equal(got, want) {
						t.Fatalf("round %d: after crash %d the index holds %d keys, want %d", round, i, len(got), len(want))
					}
					p.Close()
				}
				p = openKey(t, left, key)
				set(t, p, true, fmt.Sprint("key", round), "value")
				want = all(t, p, nil, nil)
				left = left.CrashClone(vfs.CrashCloneCfg{})
				p.Close()
			}
		})
	}
}
