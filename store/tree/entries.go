package tree

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
)

// The time of a directory goes with its entries: it is that of the latest operation
// by which a name in it began or ceased to lead to a file, unless the time was set
// since. It follows from operations that are there anyway. Like past rows it is a
// machine's own memory: what came and went between two messages was seen by one
// machine and not by another. It is in no hash.

// contained is what is kept of what lies in a directory.
type contained struct {
	shown   uint64     // how many of the children are shown; not counted for the root
	changed store.Time // of the latest change of its names, where it is canonical; 0: none
}

// loadContained reads what is kept of a directory; what is missing is zero.
func loadContained(r store.Reader, dir store.FileID) (c contained, err error) {
	b, err := r.Get(key(keyCount, dir[:]))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return c, nil
	case err != nil:
		return c, err
	case len(b) != 16:
		return c, fmt.Errorf("tree: read directory %s: %d bytes", dir, len(b))
	}
	return contained{be64(b), store.Time(be64(b[8:]))}, nil
}

func (c contained) save(tx store.Txn, dir store.FileID) error {
	return tx.Set(key(keyCount, dir[:]), append(u64(c.shown), u64(uint64(c.changed))...))
}

// sameBearer reports whether two rows, as kept, lead to the same file or directory.
func sameBearer(a, b []byte) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return bytes.Equal(a[:len(store.FileID{})], b[:len(store.FileID{})])
}

// entriesChanged notes that the current operation changed what dir shows.
func (w *work) entriesChanged(dir store.FileID) error {
	c, err := loadContained(w.tx, dir)
	if err != nil || c.changed >= w.current.Time {
		return err
	}
	c.changed = w.current.Time
	return c.save(w.tx, dir)
}

// withEntries raises the times of a directory to that of its entries; set is when it
// was given the time that it has.
func (n *Node) withEntries(r store.Reader, set store.Time) error {
	c, err := loadContained(r, n.ID)
	if err != nil || c.changed == 0 {
		return err
	}
	at := fine(c.changed)
	if c.changed > set {
		n.Version.ModTime = at
	}
	if at.After(n.Changed) {
		n.Changed = at
	}
	return nil
}

// fine returns t as an instant. Its count within the millisecond is spread over it,
// so that two changes never have the same time.
func fine(t store.Time) time.Time {
	return t.Wall().Add(time.Duration(t&0xffff) * time.Millisecond >> 16)
}
