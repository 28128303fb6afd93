package node

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/tree"
)

// herald is the log and the tree of a machine, on an index on disk.
type herald struct {
	id   store.MachineID
	kv   *index.Pebble
	e    *gossip.Engine
	tree *tree.Tree
}

func newHerald(b *testing.B, n byte) *herald {
	b.Helper()
	key := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), n))
	h := &herald{id: store.MachineIDOf(key.Public().(ed25519.PublicKey))}
	var err error
	if h.kv, err = index.Open(vfs.Default, b.TempDir(), index.Config{Key: make([]byte, 32)}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.kv.Close() })
	if h.e, err = gossip.New(h.kv, gossip.Config{Self: h.id, Key: key}); err != nil {
		b.Fatal(err)
	}
	if h.tree, err = tree.Open(h.kv, h.id); err != nil {
		b.Fatal(err)
	}
	return h
}

// do runs f in a Txn and commits it.
func (h *herald) do(b *testing.B, f func(tx store.Txn) error) {
	b.Helper()
	tx := h.kv.Begin()
	defer tx.Discard()
	if err := f(tx); err != nil {
		b.Fatal(err)
	}
	if err := tx.Commit(false); err != nil {
		b.Fatal(err)
	}
	h.e.Committed()
}

// write makes n files in directories of a thousand.
func (h *herald) write(b *testing.B, n int) {
	b.Helper()
	now := time.Now()
	for first := 0; first < n; first += 1000 {
		h.do(b, func(tx store.Txn) error {
			put := func(ops []tree.Op, _ []tree.Event, err error) error {
				for i := 0; i < len(ops) && err == nil; i++ {
					var payload []byte
					if payload, err = ops[i].Append(nil); err == nil {
						err = h.e.Append(tx, ops[i].Dot, payload)
					}
				}
				return err
			}
			dir := fmt.Sprintf("/%d", first/1000)
			err := put(h.tree.Mkdir(tx, dir, tree.Version{Mode: 0o755, ModTime: now}, now))
			for i := first; i < min(n, first+1000) && err == nil; i++ {
				v := tree.Version{Mode: 0o644, ModTime: now, Content: store.Content{Size: int64(i)}, Holders: []store.MachineID{h.id, {9}}}
				binary.BigEndian.PutUint64(v.Content.Root[:], uint64(i)+1)
				err = put(h.tree.Put(tx, fmt.Sprintf("%s/file %d.txt", dir, i), v, now))
			}
			return err
		})
	}
}

// absorb stores and applies what has come.
func (h *herald) absorb(b *testing.B, now time.Time) {
	b.Helper()
	for entries := h.e.Received(); len(entries) > 0; entries = h.e.Received() {
		h.do(b, func(tx store.Txn) error {
			if err := h.e.Store(tx, entries); err != nil {
				return err
			}
			for _, e := range entries {
				op, err := tree.ParseOp(e.Payload)
				if err == nil {
					_, err = h.tree.Apply(tx, op, now)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// BenchmarkJoin tells a new member of b.N files, each an operation, from log to tree;
// run it with -benchtime 1000000x. It reports operations a second and by how much the
// heap was larger than before at its largest, which must not grow with b.N.
func BenchmarkJoin(b *testing.B) {
	from, to := newHerald(b, 1), newHerald(b, 2)
	from.write(b, b.N)
	want := from.e.Vector()[from.id]
	now := time.Now()
	from.e.PeerUp(now, to.id)
	to.e.PeerUp(now, from.id)
	before := heapInUse()
	var peak, turn int
	b.ResetTimer()
	for to.e.Vector()[from.id] < want {
		for _, p := range from.e.Outgoing() {
			to.e.HandlePacket(now, gossip.Packet{Peer: from.id, Message: p.Message})
			to.absorb(b, now)
		}
		for _, p := range to.e.Outgoing() {
			from.e.HandlePacket(now, gossip.Packet{Peer: to.id, Message: p.Message})
		}
		if turn++; turn%4 == 0 {
			peak = max(peak, heapInUse()-before)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(peak)/(1<<20), "MiB-more")
}

// heapInUse returns the bytes of the heap that are in use.
func heapInUse() int {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}
