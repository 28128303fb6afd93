package drive

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// History calls f with what p led to, newest first, until f returns false: see
// [tree.Tree.History].
func (d *Drive) History(p string, f func(tree.Past) bool) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	if err := d.cfg.Tree.History(d.cfg.KV, p, f); err != nil {
		return fmt.Errorf("drive: history %s: %w", p, err)
	}
	return nil
}

// StatAt returns what was at p at an instant; the zero time is now.
func (d *Drive) StatAt(p string, when time.Time) (tree.Entry, error) {
	if when.IsZero() {
		return d.Stat(p)
	}
	p, err := Clean(p)
	if err != nil {
		return tree.Entry{}, err
	}
	e, err := d.cfg.Tree.LookupAt(d.cfg.KV, p, when)
	if err != nil {
		return e, fmt.Errorf("drive: %s at %s: %w", p, when.Format(time.RFC3339), err)
	}
	return e, nil
}

// ListAt is List as it would have been at an instant; the zero time is now.
func (d *Drive) ListAt(p string, when time.Time, f func(tree.Entry) bool) error {
	if when.IsZero() {
		return d.List(p, f)
	}
	p, err := Clean(p)
	if err != nil {
		return err
	}
	if err := d.cfg.Tree.ListAt(d.cfg.KV, p, when, "", f); err != nil {
		return fmt.Errorf("drive: list %s at %s: %w", p, when.Format(time.RFC3339), err)
	}
	return nil
}

// Restore makes p what it was at an instant, or with the zero time takes back the last
// change of it. It returns the path of what is back: see [tree.Tree.Restore].
func (d *Drive) Restore(ctx context.Context, p string, when time.Time) (got string, err error) {
	if p, err = Clean(p); err != nil {
		return "", err
	}
	err = d.do(ctx, "restore", p, func(t *tree.Tree, tx store.Txn, now time.Time) (ops []tree.Op, events []tree.Event, err error) {
		got = p
		if when.IsZero() {
			var back tree.Past
			if back, ops, events, err = t.Undo(tx, p, now); back.Path != "" {
				got = back.Path
			}
			return ops, events, err
		}
		if ops, events, err = t.Restore(tx, p, when, now); err == nil {
			got = besides(p, events)
		}
		return ops, events, err
	})
	return got, err
}

// besides returns where something is back: at p, or under a name beside it.
func besides(p string, events []tree.Event) string {
	for _, ev := range events {
		if ev.Kind == tree.NameChanged && ev.Name == path.Base(p) {
			return p
		}
	}
	for _, ev := range events {
		if ev.Kind == tree.NameChanged && ev.Name != "" {
			return path.Join(path.Dir(p), ev.Name)
		}
	}
	return p
}

// forgetSlice is how many past versions are forgotten in one change.
const forgetSlice = 512

// Forget forgets at most limit past versions that ended before an instant, the oldest
// first, and returns how many. Their bytes are garbage then.
func (d *Drive) Forget(ctx context.Context, before time.Time, limit int) (forgotten int, err error) {
	// Not while a collection looks: what was brought back from the past since it
	// looked at the present must still be in the past.
	d.garbage.one.Lock()
	defer d.garbage.one.Unlock()
	return d.forget(ctx, before, limit)
}

// forget is Forget; the caller holds garbage.one.
func (d *Drive) forget(ctx context.Context, before time.Time, limit int) (forgotten int, err error) {
	for forgotten < limit {
		n := 0
		err := d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, _ time.Time) ([]tree.Op, []tree.Event, error) {
			store.Freeing(tx)
			var err error
			n, err = t.ForgetPast(tx, before, min(forgetSlice, limit-forgotten))
			return nil, nil, err
		})
		if err != nil {
			return forgotten, fmt.Errorf("drive: forget: %w", err)
		}
		if forgotten += n; n == 0 {
			break
		}
	}
	return forgotten, nil
}

// PastTotals returns how many past versions are kept, how many bytes they hold, and
// since when: see [tree.Tree.PastTotals].
func (d *Drive) PastTotals() (rows, size int64, oldest time.Time, err error) {
	return d.cfg.Tree.PastTotals(d.cfg.KV)
}

// Totals returns the sums over the drive.
func (d *Drive) Totals() (tree.Totals, error) { return d.cfg.Tree.Totals(d.cfg.KV) }

// MakeRoom removes garbage, and then the past, its older half first, until enough says
// that there is room enough or there is nothing more to remove.
func (d *Drive) MakeRoom(ctx context.Context, enough func() bool) error {
	d.garbage.one.Lock()
	defer d.garbage.one.Unlock()
	for !enough() {
		if ok, err := d.makeRoom(ctx); err != nil || !ok {
			return err
		}
	}
	return nil
}

// makeRoom gives up the past, its older half first, until a collection finds
// something to remove. The caller holds garbage.one.
func (d *Drive) makeRoom(ctx context.Context) (bool, error) {
	for {
		c, err := d.collect(ctx)
		if err != nil || c.Removed+c.Cached > 0 {
			return err == nil, err
		}
		rows, _, _, err := d.PastTotals()
		if err != nil || rows == 0 {
			return false, err
		}
		n, err := d.forget(ctx, time.Now().Add(time.Hour), int(max(64, rows/2)))
		if err != nil || n == 0 {
			return false, err
		}
	}
}
