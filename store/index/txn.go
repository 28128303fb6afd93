package index

import "fmt"

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

// pebbleTxn keeps its changes in a tree of its own, as a Txn of a [Memory] does.
type pebbleTxn struct {
	p       *Pebble
	changes *node
	edition edition
	size    int   // bytes of the changes
	err     error // why the Txn cannot be used
	frees   bool  // see store.Freeing
}

// Freeing implements [store.Freeing].
func (t *pebbleTxn) Freeing() { t.frees = true }

func (t *pebbleTxn) Get(key []byte) ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	return t.p.get(t.changes, key)
}

func (t *pebbleTxn) Scan(from, to []byte, f func(key, value []byte) bool) error {
	if t.err != nil {
		return t.err
	}
	return t.p.scan(t.changes, &t.edition, from, to, f)
}

func (t *pebbleTxn) Last(from, to []byte) (key, value []byte, err error) {
	if t.err != nil {
		return nil, nil, t.err
	}
	return t.p.last(t.changes, from, to)
}

func (t *pebbleTxn) Set(key, value []byte) error { return t.change(leaf(key, value, false)) }

func (t *pebbleTxn) Delete(key []byte) error { return t.change(leaf(key, nil, true)) }

func (t *pebbleTxn) change(l *node) error {
	if t.err != nil {
		return t.err
	}
	const head = 16 // bytes that Pebble's log adds, about
	t.size += head + len(l.key) + len(l.value)
	l.edition = t.edition
	t.changes = t.changes.with(l)
	return nil
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
	if err := t.p.disk.Err(); err != nil {
		return fmt.Errorf("index: commit: %w", err)
	}
	reserve := t.p.reserve
	switch {
	case t.changes == nil:
		reserve /= 64 // what only syncs what was let in before is let far into it
	case t.frees:
		reserve /= 8
	}
	if err := t.p.hasRoom(reserve, t.size); err != nil {
		return err
	}
	if t.changes != nil {
		t.p.gather(t.changes)
	}
	if !sync {
		return nil
	}
	if err := t.p.bring(true); err != nil {
		return fmt.Errorf("index: commit: %w", damaged(err))
	}
	return nil
}

func (t *pebbleTxn) Discard() {
	if t.err == nil {
		t.err, t.changes = ErrDone, nil
	}
}
