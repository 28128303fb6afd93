package index

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// hasRoom asks the file system before a commit, because a commit that runs out of
// room half-way cannot be undone.
func (p *Pebble) hasRoom(reserve int64, size int) error {
	if reserve < 0 {
		return nil
	}
	// Asking costs as much as a small commit. Far from the bound one answer does for a
	// while.
	if left := p.room.Add(-int64(size)); left > 0 && reserve <= p.reserve {
		return nil
	}
	u, err := p.fs.GetDiskUsage(p.dir)
	if err != nil {
		return nil //nolint:nilerr // this file system cannot tell
	}
	if u.AvailBytes < uint64(reserve)+uint64(size) {
		return fmt.Errorf("%w: %s has %d bytes left, of which %d stay free",
			ErrFull, p.dir, u.AvailBytes, reserve)
	}
	if spare := u.AvailBytes - uint64(reserve); spare > plenty {
		p.room.Store(askEvery)
	}
	return nil
}

const (
	// plenty is how many bytes beyond the reserve make it needless to ask at each
	// commit, and askEvery how many are committed then until the next question. Others
	// on the disk may take much of the difference meanwhile.
	plenty   = 4 << 30
	askEvery = 1 << 20
)

// pebbleTxn is an indexed batch: Pebble reads through it by itself.
type pebbleTxn struct {
	p     *Pebble
	batch *pebble.Batch
	err   error // why the Txn cannot be used
	frees bool  // see store.Freeing
}

// Freeing implements [store.Freeing].
func (t *pebbleTxn) Freeing() { t.frees = true }

func (t *pebbleTxn) Get(key []byte) ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	return t.p.get(t.batch, key)
}

func (t *pebbleTxn) Scan(from, to []byte, f func(key, value []byte) bool) error {
	if t.err != nil {
		return t.err
	}
	return t.p.scan(t.batch, from, to, f)
}

func (t *pebbleTxn) Last(from, to []byte) (key, value []byte, err error) {
	if t.err != nil {
		return nil, nil, t.err
	}
	return t.p.last(t.batch, from, to)
}

func (t *pebbleTxn) Set(key, value []byte) error {
	if t.err != nil {
		return t.err
	}
	return t.note(t.batch.Set(key, value, nil))
}

func (t *pebbleTxn) Delete(key []byte) error {
	if t.err != nil {
		return t.err
	}
	return t.note(t.batch.Delete(key, nil))
}

// note ends the Txn at a change that failed: what follows, Commit too, fails alike.
func (t *pebbleTxn) note(err error) error {
	if err != nil {
		t.Discard()
		t.err = fmt.Errorf("index: change: %w", damaged(err))
	}
	return t.err
}

func (t *pebbleTxn) Commit(sync bool) error {
	if t.err != nil {
		return t.err
	}
	defer t.Discard()
	if err := t.p.enter(); err != nil {
		return err
	}
	defer t.p.leave()
	reserve := t.p.reserve
	switch {
	case t.batch.Empty():
		reserve /= 64 // what only syncs what was let in before is let far into it
	case t.frees:
		reserve /= 8
	}
	if err := t.p.hasRoom(reserve, t.batch.Len()); err != nil {
		return err
	}
	if t.batch.Empty() {
		if !sync {
			return nil
		}
		// Pebble makes nothing of an empty batch; a note in the log makes it
		// carry the commits before this one to the disk.
		if err := t.batch.LogData(nil, nil); err != nil {
			return fmt.Errorf("index: commit: %w", damaged(err))
		}
	}
	opts := pebble.NoSync
	if sync {
		opts = pebble.Sync
	}
	if err := t.p.db.Apply(t.batch, opts); err != nil {
		return fmt.Errorf("index: commit: %w", damaged(err))
	}
	return nil
}

func (t *pebbleTxn) Discard() {
	if t.err == nil {
		t.err = ErrDone
		t.batch.Close() // only gives memory back
	}
}
