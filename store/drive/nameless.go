package drive

import (
	"context"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// CreateNameless makes an empty file without a name, as O_TMPFILE of open(2) asks for
// it. What is written to it is gone when it is closed, unless NameAt has given it a
// name.
func (d *Drive) CreateNameless(ctx context.Context, dir store.FileID, v tree.Version) (n tree.Node, err error) {
	err = d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		if v.ModTime.IsZero() {
			v.ModTime = now
		}
		var err error
		if v.Holders, err = d.chosen(tx, tree.Version{}, v.Content, func() (store.FileID, error) { return dir, nil }); err != nil {
			return nil, nil, err
		}
		id, ops, events, err := t.CreateNameless(tx, dir, v, now)
		if err != nil {
			return nil, nil, err
		}
		n, err = t.Node(tx, id)
		return ops, events, err
	})
	if err != nil {
		return n, fmt.Errorf("drive: create: %w", err)
	}
	return n, nil
}

// NameAt gives the file id, which has no name, the name at, with all that has been
// written to it.
func (d *Drive) NameAt(ctx context.Context, id store.FileID, at tree.Place) error {
	err := d.at(ctx, "link", at, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.NameAt(tx, id, at, now)
	})
	if err != nil {
		return err
	}
	i := d.Opened(id)
	if i == nil {
		return nil
	}
	err = i.Save(ctx)
	if cerr := i.CloseFor(ctx); err == nil {
		err = cerr
	}
	return err
}
