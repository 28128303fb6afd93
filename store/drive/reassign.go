package drive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// Reassign gives the current versions of the files at paths the holders that the
// members of today ask for, without touching their bytes. A path whose version is
// no longer old's is passed over: somebody wrote it meanwhile.
func (d *Drive) Reassign(ctx context.Context, entries []tree.Entry) error {
	err := d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		var ops []tree.Op
		var events []tree.Event
		for _, old := range entries {
			e, err := t.Lookup(tx, old.Path)
			if err != nil || e.Dir || e.Conflict || e.Version.Dot != old.Version.Dot {
				continue
			}
			v := e.Version
			v.Holders = d.cfg.Holders([16]byte(v.Content.Root[:16]))
			if slices.Equal(v.Holders, e.Version.Holders) {
				continue
			}
			o, ev, err := t.Put(tx, e.Path, v, now)
			if err != nil {
				return nil, nil, err
			}
			ops, events = append(ops, o...), append(events, ev...)
		}
		return ops, events, nil
	})
	if err == nil {
		err = d.Sync(ctx)
	}
	if err != nil {
		return fmt.Errorf("drive: reassign: %w", err)
	}
	return nil
}
