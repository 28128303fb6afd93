package drive

import (
	"context"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// KeepConflict makes the conflict copy at p what the path that it is a copy of shows; what
// that showed stays in the past. See [tree.Tree.Keep].
func (d *Drive) KeepConflict(ctx context.Context, p string) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	return d.do(ctx, "keep", p, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.Keep(tx, p, now)
	})
}

// DropConflict removes the conflict copy at p, and fails with tree.ErrNoConflict for
// everything else.
func (d *Drive) DropConflict(ctx context.Context, p string) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	return d.do(ctx, "drop", p, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		if _, err := t.Conflict(tx, p); err != nil {
			return nil, nil, err
		}
		return t.Remove(tx, p, false, now)
	})
}
