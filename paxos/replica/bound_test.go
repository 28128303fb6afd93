package replica

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
)

// A follower that is away for ever does not make the others keep what it misses: their
// directories and memory stay as they are while many times as much is written. When it
// is back, it gets a snapshot.
func TestReplica_ADeadFollowerCostsTheOthersNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 256 MiB to each of two nodes: run without -short")
	}
	const (
		value    = 64 << 10
		writers  = 8
		total    = 4096 // values: 256 MiB
		keys     = 16
		maxDisk  = 128 << 20 // Pebble keeps four logs of 16 MiB and as much in tables
		maxAlive = 128 << 20 // of heap, both nodes together, beyond that at the start
	)
	p, ctx := newPod(t, 3, func(c *Config) {
		c.SnapshotEvery, c.Keep = 200, 50
		c.Timing = paxos.Timing{Election: 2 * time.Second} // a busy disk is no dead leader
	}), soon(t)
	leader := p.leader(ctx)
	dead := leader%3 + 1
	p.kill(dead)
	begin := heap()
	r := p.running[leader]
	var disk, alive int64
	for part := range 4 {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				id := kv.Client{byte(part), byte(w)}
				if _, err := r.Do(ctx, kv.Command{Op: kv.Begin, Client: id}); err != nil {
					t.Error(err)
				}
				for i := range total / 4 / writers {
					b := make([]byte, value)
					copy(b, fmt.Sprint(part, w, i))
					if _, err := r.Do(ctx, kv.Command{Op: kv.Put, Client: id, Number: uint64(i + 1), Key: fmt.Appendf(nil, "k%d", i%keys), Value: b}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for id := range p.running {
			disk = max(disk, sizeOf(t, p.config(id).Dir))
		}
		alive = max(alive, heap()-begin)
	}
	t.Logf("%d MiB written; at most %d MiB in a directory, %d MiB of heap", total*value>>20, disk>>20, alive>>20)
	if disk > maxDisk {
		t.Errorf("a directory of %d bytes, more than %d", disk, maxDisk)
	}
	if alive > maxAlive {
		t.Errorf("%d bytes of heap, more than %d", alive, maxAlive)
	}
	back := p.start(dead, false)
	until(t, ctx, "the follower does not catch up", func() bool { return back.applied.Load() >= r.applied.Load() })
}

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// sizeOf returns the bytes of all files in dir.
func sizeOf(t *testing.T, dir string) (sum int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a file that was there
		}
		if i, err := d.Info(); err == nil && d.Type().IsRegular() {
			sum += i.Size()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return sum
}
