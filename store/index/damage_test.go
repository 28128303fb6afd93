package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store/index"
)

// aged returns a KV's file system after flushes.
func aged(t *testing.T, key []byte) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	rng := rand.NewChaCha8([32]byte{4})
	for i := range 2 {
		p := openKey(t, fs, key)
		fill(t, p, rng, 6, fmt.Sprint("name", i))
		set(t, p, true, "last", "one")
		p.Close()
	}
	return fs
}

// named returns the files of the directory whose names match the pattern.
func named(t *testing.T, fs vfs.FS, pattern string) (names []string) {
	t.Helper()
	for name := range files(t, fs) {
		if ok, _ := path.Match(pattern, name); ok {
			names = append(names, name)
		}
	}
	if slices.Sort(names); len(names) == 0 {
		t.Fatalf("no file is called %s", pattern)
	}
	return names
}

// rewrite changes what a file holds.
func rewrite(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	b := change(files(t, fs)[name])
	f, err := fs.Create(path.Join("/kv", name), "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func truncated(b []byte) []byte { return b[:len(b)/2] }
func emptied([]byte) []byte     { return nil }
func flipped(b []byte) []byte   { b[len(b)/2] ^= 0x10; return b }

// TestOpen_DamageIsAnError damages a directory in one way and expects an error
// that names the file, no panic, and files that are not made worse.
func TestOpen_DamageIsAnError(t *testing.T) {
	remove := func(t *testing.T, fs vfs.FS, name string) {
		if err := fs.Remove(path.Join("/kv", name)); err != nil {
			t.Fatal(err)
		}
	}
	change := func(f func([]byte) []byte) func(*testing.T, vfs.FS, string) {
		return func(t *testing.T, fs vfs.FS, name string) { rewrite(t, fs, name, f) }
	}
	keys := map[string][]byte{"plain": nil, "sealed": indexKey}
	whole := map[string]*vfs.MemFS{}
	for kind, key := range keys {
		whole[kind] = aged(t, key)
	}
	for _, c := range []struct {
		name, pattern string
		damage        func(*testing.T, vfs.FS, string)
		says          string // else the file's name
	}{
		{"manifest removed", "MANIFEST-*", remove, ""},
		{"manifest truncated", "MANIFEST-*", change(func(b []byte) []byte { return b[:100] }), ""},
		{"manifest emptied", "MANIFEST-*", change(emptied), ""},
		{"manifest flipped", "MANIFEST-*", change(func(b []byte) []byte { b[80] ^= 4; return b }), ""},
		{"manifest's marker removed", "marker.manifest.*", remove, "marker.manifest"},
		{"manifest's marker renamed", "marker.manifest.*", func(t *testing.T, fs vfs.FS, name string) {
			if err := fs.Rename("/kv/"+name, "/kv/marker.manifest.x"); err != nil {
				t.Fatal(err)
			}
		}, "invalid marker"},
		{"format's marker renamed", "marker.format-version.*", func(t *testing.T, fs vfs.FS, name string) {
			if err := fs.Rename("/kv/"+name, "/kv/marker.format-version.000001.none"); err != nil {
				t.Fatal(err)
			}
		}, "format"},
		{"table removed", "*.sst", remove, ""},
		{"table truncated", "*.sst", change(truncated), ""},
		{"table emptied", "*.sst", change(emptied), ""},
		{"log removed", "*.log", remove, ".log"},
	} {
		for kind, key := range keys {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				fs := copied(t, whole[kind])
				names := named(t, fs, c.pattern)
				if c.pattern == "*.log" {
					for _, name := range names {
						c.damage(t, fs, name)
					}
				} else {
					c.damage(t, fs, names[len(names)-1])
				}
				tables := len(named(t, fs, "*"))
				p, err := index.Open(fs, "/kv", index.Config{Key: key})
				if err == nil {
					p.Close()
					t.Fatal("the directory was opened")
				}
				says := c.says
				if says == "" {
					says = strings.TrimSuffix(names[len(names)-1], ".sst")
				}
				if !errors.Is(err, index.ErrDamaged) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "rebuilt") {
					t.Errorf("Open = %v; ErrDamaged that names %s was expected", err, says)
				}
				if n := len(named(t, fs, "*")); n < tables {
					t.Errorf("Open took %d files away", tables-n)
				}
				if _, err := fs.Lock("/kv/LOCK"); err != nil {
					t.Errorf("the lock is still held: %v", err)
				}
			})
		}
	}
}

// TestKV_FlippedTableIsAnErrorOfReading: tables are too large to be read whole at
// Open.
func TestKV_FlippedTableIsAnErrorOfReading(t *testing.T) {
	for kind, key := range map[string][]byte{"plain": nil, "sealed": indexKey} {
		t.Run(kind, func(t *testing.T) {
			fs := aged(t, key)
			for _, name := range named(t, fs, "*.sst") {
				rewrite(t, fs, name, flipped)
			}
			p, err := index.Open(fs, "/kv", index.Config{Key: key})
			if err == nil {
				defer p.Close()
				err = p.Scan(nil, nil, func(_, _ []byte) bool { return true })
			}
			if !errors.Is(err, index.ErrDamaged) || !strings.Contains(err.Error(), ".sst") {
				t.Errorf("Scan = %v, want ErrDamaged naming a table", err)
			}
		})
	}
}

// TestOpen_TornLogKeepsAPrefix cuts the log at many places and turns what follows
// into noise or zeros.
func TestOpen_TornLogKeepsAPrefix(t *testing.T) {
	for kind, key := range map[string][]byte{"plain": nil, "sealed": indexKey} {
		t.Run(kind, func(t *testing.T) {
			fs := vfs.NewMem()
			p := openKey(t, fs, key)
			for i := range 300 {
				set(t, p, false, fmt.Sprintf("%04d", i), strings.Repeat("v", i))
				if err := index.Bring(p); err != nil {
					t.Fatal(err)
				}
			}
			p.Close()
			log := named(t, fs, "*.log")[0]
			whole := files(t, fs)[log]
			rng, last := rand.New(rand.NewPCG(5, 5)), 0
			for cut := 0; cut <= len(whole); cut += 1 + rng.IntN(len(whole)/25) {
				for _, tail := range []int{0, 1, 2} {
					crashed := copied(t, fs)
					rewrite(t, crashed, log, func(b []byte) []byte {
						b = b[:cut]
						for range tail * 200 {
							b = append(b, byte(rng.Uint32())*byte(tail-1))
						}
						return b
					})
					p, err := index.Open(crashed, "/kv", index.Config{Key: key})
					if key != nil && cut < 64 && cut+tail*200 >= 64 && (tail == 2 || cut > 0) {
						// A header in pieces cannot come from a crash.
						if !errors.Is(err, index.ErrDamaged) {
							t.Errorf("cut in the header: %v", err)
						}
						continue
					}
					if err != nil {
						t.Fatalf("cut at %d, tail %d: %v", cut, tail, err)
					}
					n := len(all(t, p, nil, nil))
					p.Close()
					if n < last && tail == 0 || n > 300 {
						t.Fatalf("cut at %d: %d commits, %d at a cut before", cut, n, last)
					}
					last = max(last, n)
				}
			}
			if last < 250 {
				t.Errorf("at most %d commits survived", last)
			}
		})
	}
}

// copied returns another file system with the same directory.
func copied(t *testing.T, fs vfs.FS) *vfs.MemFS {
	t.Helper()
	c := vfs.NewMem()
	if err := c.MkdirAll("/kv", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files(t, fs) {
		rewrite(t, c, name, func([]byte) []byte { return b })
	}
	return c
}
