package drive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file enumerates crashes: all workloads of up to three operations, each
// followed by a sync or not, are cut after every operation and before every write
// and sync of the disk below. What is left is opened, and must be what the drive
// held after one of the operations, none being lost that was acknowledged as
// durable. So must what a second crash leaves while it is being opened. Shorter workloads contain the cuts in the first operations of longer
// ones, so only the last operation of each is cut.

// held is what a drive holds: contents by path; isDir for a directory.
type held map[string]string

const isDir = "\x00"

// files and emptyDirs return paths in order.
func (h held) files() (paths []string) {
	for _, p := range slices.Sorted(maps.Keys(h)) {
		if h[p] != isDir {
			paths = append(paths, p)
		}
	}
	return paths
}

func (h held) emptyDirs() (paths []string) {
	for _, p := range slices.Sorted(maps.Keys(h)) {
		below := func(q string) bool { return strings.HasPrefix(q, p+"/") }
		if h[p] == isDir && !slices.ContainsFunc(slices.Collect(maps.Keys(h)), below) {
			paths = append(paths, p)
		}
	}
	return paths
}

// step is an operation of a workload.
type step struct {
	name string
	// do makes the step on a drive, and in now what the drive holds afterwards; n
	// is its place in the workload. Where there is nothing to do it on, it returns
	// nil.
	do func(now held, n int) func(context.Context, *Drive) error
}

func put(now held, p, content string) func(context.Context, *Drive) error {
	now[p] = content
	return func(ctx context.Context, d *Drive) error {
		_, err := d.Put(ctx, p, strings.NewReader(content), Attributes{})
		return err
	}
}

func rename(now held, from, to string) func(context.Context, *Drive) error {
	now[to] = now[from]
	delete(now, from)
	return func(ctx context.Context, d *Drive) error { return d.Rename(ctx, from, to) }
}

func remove(now held, p string) func(context.Context, *Drive) error {
	delete(now, p)
	return func(ctx context.Context, d *Drive) error { return d.Remove(ctx, p, false) }
}

func someText(n, size int) string { return string(randomBytes(byte(10+n), size)) }

var steps = []step{
	{"put", func(now held, n int) func(context.Context, *Drive) error {
		return put(now, fmt.Sprintf("/new%d", n), someText(n, 3000))
	}},
	{"put big", func(now held, n int) func(context.Context, *Drive) error {
		return put(now, fmt.Sprintf("/big%d", n), someText(n, 300<<10))
	}},
	{"overwrite", func(now held, n int) func(context.Context, *Drive) error {
		if files := now.files(); len(files) > 0 {
			return put(now, files[0], someText(n, 2000))
		}
		return nil
	}},
	{"append", func(now held, n int) func(context.Context, *Drive) error {
		if files := now.files(); len(files) > 0 {
			return put(now, files[0], now[files[0]]+someText(n, 2000))
		}
		return nil
	}},
	{"rename", func(now held, n int) func(context.Context, *Drive) error {
		to := fmt.Sprintf("/moved%d", n)
		if now["/d"] == isDir {
			to = "/d" + to
		}
		if files := now.files(); len(files) > 0 {
			return rename(now, files[0], to)
		}
		return nil
	}},
	{"rename over", func(now held, _ int) func(context.Context, *Drive) error {
		if files := now.files(); len(files) > 1 {
			return rename(now, files[0], files[len(files)-1])
		}
		return nil
	}},
	{"remove", func(now held, _ int) func(context.Context, *Drive) error {
		if files := now.files(); len(files) > 0 {
			return remove(now, files[len(files)-1])
		}
		return nil
	}},
	{"mkdir", func(now held, n int) func(context.Context, *Drive) error {
		p := fmt.Sprintf("/dir%d", n)
		now[p] = isDir
		return func(ctx context.Context, d *Drive) error { return d.Mkdir(ctx, p) }
	}},
	{"rmdir", func(now held, _ int) func(context.Context, *Drive) error {
		if dirs := now.emptyDirs(); len(dirs) > 0 {
			return remove(now, dirs[0])
		}
		return nil
	}},
}

// job is a step with or without a sync.
type job struct {
	step
	sync bool
}

func (d job) String() string {
	if d.sync {
		return d.name + ", sync"
	}
	return d.name
}

// crash is what is left of a disk, and what it may hold.
type crash struct {
	fs   *vfs.MemFS
	when string
	may  []held     // in the order of the operations
	left *vfs.MemFS // fs again, to be crashed a second time
	rng  *rand.Rand // for the second crash; nil: there is none
}

// check opens what is left of a disk.
func (c crash) check(ctx context.Context) error {
	d, h, err := c.open(ctx, c.fs)
	if err != nil {
		return err
	}
	before, err := d.close()
	if err != nil || c.rng == nil {
		return err
	}
	if d, err = openDisk(c.fs); err != nil {
		return fmt.Errorf("%s: second open: %w", c.when, err)
	}
	after, err := d.dump()
	if err == nil && !slices.Equal(before, after) {
		err = fmt.Errorf("%s: the second open changed\n%s\nto\n%s", c.when, strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if _, cerr := d.close(); err != nil || cerr != nil {
		return errors.Join(err, cerr)
	}
	return c.checkAgain(ctx, h)
}

// open opens a disk and compares what it holds with what it may.
func (c crash) open(ctx context.Context, fs vfs.FS) (*disk, held, error) {
	d, err := openDisk(fs)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: open: %w", c.when, err)
	}
	h, err := d.holds(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.when, err)
	}
	if !slices.ContainsFunc(c.may, func(m held) bool { return maps.Equal(h, m) }) {
		return nil, nil, fmt.Errorf("%s: holds %v, may hold %v", c.when, h, c.may)
	}
	return d, h, nil
}

// checkAgain crashes at one event of opening what is left, and opens the rest: it
// must hold what it held before.
func (c crash) checkAgain(ctx context.Context, h held) error {
	var mu sync.Mutex
	event, at := 0, 1+c.rng.IntN(30)
	percent := c.rng.IntN(3) * 50
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}
	var left *vfs.MemFS
	fs := &crashFS{MemFS: c.left, before: func(bool) {
		mu.Lock()
		defer mu.Unlock()
		if event++; event == at {
			left = c.left.CrashClone(cfg)
		}
	}}
	d, _, err := c.open(ctx, fs)
	if err != nil {
		return err
	}
	if _, err := d.close(); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if left == nil {
		left = c.left.CrashClone(cfg)
	}
	again := crash{fs: left, when: fmt.Sprintf("%s; then at event %d of opening it, %d %%", c.when, at, percent), may: []held{h}}
	return again.check(ctx)
}

// String shows sizes in place of contents.
func (h held) String() string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintf(&b, " %s:%d", p, len(h[p]))
	}
	return "[" + strings.TrimSpace(b.String()) + "]"
}

// begin is the disk that all workloads start from, and what it holds.
func begin(t *testing.T) (*vfs.MemFS, held) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	d, err := openDisk(fs)
	if err != nil {
		t.Fatal(err)
	}
	d.sync = true
	h := held{"/d": isDir}
	for _, do := range []func(context.Context, *Drive) error{
		func(ctx context.Context, d *Drive) error { return d.Mkdir(ctx, "/d") },
		put(h, "/a", someText(100, 1500)), put(h, "/b", someText(101, 5000)),
	} {
		if err := do(t.Context(), d.Drive); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.close(); err != nil {
		t.Fatal(err)
	}
	return fs, h
}

// run does a workload on a copy of the disk and returns the crashes in its last
// operation, none where an operation does not apply.
func run(ctx context.Context, start *vfs.MemFS, h held, work []job, rng *rand.Rand, all bool) ([]crash, error) {
	states := []held{h}
	var doing []func(context.Context, *Drive) error
	for n, w := range work {
		h = maps.Clone(h)
		do := w.do(h, n)
		if do == nil {
			return nil, nil
		}
		states, doing = append(states, h), append(doing, do)
	}
	mem := start.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
	var (
		mu      sync.Mutex
		crashes []crash
		cutting bool
		durable int  // operations that are acknowledged as durable
		begun   int  // operations begun
		synced  bool // something was since the last cut
		events  int
	)
	cut := func(percent int) {
		c := crash{
			fs:   mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}),
			when: fmt.Sprintf("%v, at event %d, %d %% of what was not synced", work, events, percent),
			may:  states[durable : begun+1],
		}
		if all || rng.IntN(4) == 0 {
			c.left, c.rng = c.fs.CrashClone(vfs.CrashCloneCfg{}), rng
		}
		crashes = append(crashes, c)
	}
	fs := &crashFS{MemFS: mem, before: func(sync bool) {
		mu.Lock()
		defer mu.Unlock()
		if !cutting {
			return
		}
		if events++; synced {
			cut(0)
		}
		synced = sync
		if cut(100); all || sync {
			cut(50)
		}
	}}
	d, err := openDisk(fs)
	if err != nil {
		return nil, err
	}
	for n, do := range doing {
		mu.Lock()
		begun, cutting = n+1, n == len(doing)-1
		mu.Unlock()
		d.sync = work[n].sync
		if err := do(ctx, d.Drive); err != nil {
			return nil, fmt.Errorf("%v: %w", work[:n+1], err)
		}
		mu.Lock()
		if work[n].sync {
			durable = n + 1
		}
		mu.Unlock()
	}
	mu.Lock()
	cutting, events = false, events+1
	for _, percent := range []int{0, 50, 100} {
		cut(percent)
	}
	mu.Unlock()
	_, err = d.close()
	return crashes, err
}

// workloads returns those of n operations.
func workloads(n int) (all [][]job) {
	if n == 0 {
		return [][]job{nil}
	}
	for _, w := range workloads(n - 1) {
		for _, s := range steps {
			for _, sync := range []bool{true, false} {
				all = append(all, append(slices.Clone(w), job{s, sync}))
			}
		}
	}
	return all
}

// TestCrash_EveryShortWorkload takes all workloads of one and two operations and one in
// 32 of those of three; with AETHER_CRASH_ALL=1 all, and more cuts in each.
func TestCrash_EveryShortWorkload(t *testing.T) {
	const seed = 1
	start, h := begin(t)
	everything := os.Getenv("AETHER_CRASH_ALL") != ""
	var chosen [][]job
	rng := rand.New(rand.NewPCG(seed, 0))
	for n, one := range []int{1: 1, 2: 1, 3: 32} {
		for _, w := range workloads(n) {
			if n > 0 && (everything || rng.IntN(one) == 0) {
				chosen = append(chosen, w)
			}
		}
	}
	var next, states, failed atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for failed.Load() < 5 {
				i := int(next.Add(1)) - 1
				if i >= len(chosen) {
					return
				}
				rng := rand.New(rand.NewPCG(seed, uint64(i)+1))
				crashes, err := run(t.Context(), start, h, chosen[i], rng, everything)
				if err != nil {
					t.Error(err)
					failed.Add(1)
				}
				for _, c := range crashes {
					states.Add(1)
					if err := c.check(t.Context()); err != nil {
						t.Error(err)
						failed.Add(1)
						break
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("seed %d: %d workloads, %d crash states", seed, len(chosen), states.Load())
}
