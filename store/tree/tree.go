package tree

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
)

// maxAhead is how far a machine's clock follows those of others.
const maxAhead = time.Minute

// Tree is the drive's names as one machine has them. It holds nothing but its own
// ID; everything else lies in the KV. It is not safe for concurrent use with the
// same Txn; readers may read from the KV or a Txn of their own at any time.
type Tree struct {
	self   store.MachineID
	spares spares
}

// Open returns the tree that kv holds, as seen by the machine self.
func Open(kv store.KV, self store.MachineID) (*Tree, error) {
	if self.IsZero() {
		return nil, fmt.Errorf("tree: open: %w", store.ErrBadID)
	}
	if _, err := loadState(kv); err != nil {
		return nil, fmt.Errorf("tree: open: %w", err)
	}
	return &Tree{self: self}, nil
}

// Totals are the sums over the whole drive.
type Totals struct {
	// Files counts files and conflict copies that hold bytes of their own.
	Files int64
	// Bytes is the sum of their sizes.
	Bytes int64
	// Conflicts counts the names that exist only because of a conflict.
	Conflicts int64
	// Parked counts operations that wait for others which they have seen.
	Parked int64
}

// Totals returns the sums; they are kept up to date, so this is one read.
func (t *Tree) Totals(r store.Reader) (Totals, error) {
	s, err := loadState(r)
	return Totals{Files: s.Files, Bytes: s.Bytes, Conflicts: s.Conflicts, Parked: s.Parked}, err
}

// Hash returns a digest of everything that the drive shows. Machines with equal
// vectors have equal hashes; where not, one of them has a bug. It is no defence
// against forgery: it adds the hashes of all rows.
func (t *Tree) Hash(r store.Reader) ([32]byte, error) {
	s, err := loadState(r)
	return s.Sum, err
}

// Apply applies an operation, our own or another's; one that was applied before
// changes nothing. The operations of one author must come in order; one that
// comes before something it has seen is kept and applied later. Events report
// everything that this caused.
func (t *Tree) Apply(tx store.Txn, op Op, now time.Time) ([]Event, error) {
	w, err := newWork(tx, t)
	if err != nil {
		return nil, fmt.Errorf("tree: apply: %w", err)
	}
	if err := w.accept(&op, now); err != nil {
		return nil, fmt.Errorf("tree: apply %s: %w", op.Dot, err)
	}
	events, err := w.finish()
	if err != nil {
		return nil, fmt.Errorf("tree: apply %s: %w", op.Dot, err)
	}
	return events, nil
}
