package node

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

// simKV is the index of a simulated machine: in memory, with the promises of store.KV
// about a crash and not one more. What was committed without sync is remembered, so
// that a crash can take back the latest commits.
type simKV struct {
	*index.Memory
	loose [][]simChange // commits that are not on the disk, oldest first
	full  bool          // the disk: no commit gets through
	lies  bool          // a mistake: sync does nothing
}

// simChange is what a key had before a commit.
type simChange struct {
	key, before []byte
	absent      bool
}

var errSimBroken = errors.New("the index of a simulation is broken")

func newSimKV() *simKV { return &simKV{Memory: index.NewMemory()} }

// Begin implements store.KV.
func (k *simKV) Begin() store.Txn { return &simTxn{Txn: k.Memory.Begin(), kv: k} }

// Close implements kv. A simulated index outlives its machine.
func (k *simKV) Close() error { return nil }

// newSimFS returns the empty disk of a machine, with its directory.
func newSimFS(t testing.TB) *vfs.MemFS {
	fs := vfs.NewCrashableMem()
	err := fs.MkdirAll("/sim", 0o700)
	if err == nil {
		var root vfs.File
		if root, err = fs.OpenDir("/"); err == nil {
			err = errors.Join(root.Sync(), root.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// crash takes back all but the oldest keep of the loose commits.
func (k *simKV) crash(keep int) {
	for _, commit := range slices.Backward(k.loose[keep:]) {
		tx := k.Memory.Begin()
		for _, c := range slices.Backward(commit) {
			if c.absent {
				_ = tx.Delete(c.key)
			} else {
				_ = tx.Set(c.key, c.before)
			}
		}
		if err := tx.Commit(false); err != nil {
			panic(err) // memory does not fail
		}
	}
	k.loose = nil
}

type simTxn struct {
	store.Txn
	kv      *simKV
	keys    [][]byte
	freeing bool
}

func (t *simTxn) Freeing() { t.freeing = true }

func (t *simTxn) Set(key, value []byte) error {
	t.keys = append(t.keys, bytes.Clone(key))
	return t.Txn.Set(key, value)
}

func (t *simTxn) Delete(key []byte) error {
	t.keys = append(t.keys, bytes.Clone(key))
	return t.Txn.Delete(key)
}

func (t *simTxn) Commit(sync bool) error {
	if t.kv.full && !t.freeing && len(t.keys) > 0 {
		t.Discard()
		return index.ErrFull
	}
	var changes []simChange
	for _, key := range t.keys {
		before, err := t.kv.Get(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return errors.Join(errSimBroken, err)
		}
		changes = append(changes, simChange{key: key, before: before, absent: err != nil})
	}
	if err := t.Txn.Commit(sync); err != nil {
		return err
	}
	if len(changes) > 0 {
		t.kv.loose = append(t.kv.loose, changes)
	}
	if sync && !t.kv.lies {
		t.kv.loose = nil
	}
	return nil
}
