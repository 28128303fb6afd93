package drive

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/tree"
)

// Placing is a version of a file for which machines are chosen.
type Placing struct {
	// Tx is the change that makes the version.
	Tx store.Reader
	// Was is the length of the version before, in bytes.
	Was int64
	// Now are the machines that keep the version before; none for a new file, and one
	// that was empty.
	Now []store.MachineID
	// Content is what it holds, and Dir returns the directory in which the file lies.
	Content store.Content
	Dir     func() (store.FileID, error)
}

// keepers returns the machines that shall keep a new version of the file p.
func (d *Drive) keepers(t *tree.Tree, tx store.Txn, p string, c store.Content) ([]store.MachineID, error) {
	old, err := t.Lookup(tx, p)
	if err != nil || old.Dir {
		return d.chosen(tx, tree.Version{}, c, func() (store.FileID, error) {
			e, err := t.Lookup(tx, path.Dir(p))
			return e.ID, err
		})
	}
	return d.chosen(tx, old.Version, c, func() (store.FileID, error) { return t.Home(tx, old.ID) })
}

// chosen returns the machines that shall keep a new version of a file: those that
// keep the version before as far as they can, so that few bytes move.
func (d *Drive) chosen(tx store.Txn, old tree.Version, c store.Content, dir func() (store.FileID, error)) ([]store.MachineID, error) {
	p := Placing{Tx: tx, Content: c, Was: old.Content.Size, Dir: dir}
	if old.Content.Size > 0 {
		p.Now = old.Holders
	}
	return d.cfg.Holders(p)
}

// FirstChunks returns the addresses of the chunks that the first list of c names, at
// most limit. Where a list is not here it is that of the first that is missing.
func (d *Drive) FirstChunks(c store.Content, limit int) (refs []store.Ref) {
	root, ok := chunk.Root(c)
	if !ok {
		return nil
	}
	parts := []chunk.Part{root}
	for parts[0].Depth > 0 {
		body, err := d.cfg.Bodies.Get(parts[0].Ref)
		if err != nil {
			break
		}
		below, err := d.cfg.Keys.Children(parts[0], body)
		if err != nil || len(below) == 0 {
			break
		}
		parts = below
	}
	for _, p := range parts[:min(len(parts), limit)] {
		refs = append(refs, p.Ref)
	}
	return refs
}

// Kept names a version of a file by the operation that named its holders,
// [tree.Version].Placed.
type Kept struct {
	File   store.FileID
	Placed store.Dot
}

// Assign gives versions other holders, without touching their bytes. choose is asked
// within the change, with what is there at that moment; what it returns, unless that is
// nil or what was before, is what holds. A version that is there no more, or has been
// given other holders meanwhile, is passed over.
func (d *Drive) Assign(ctx context.Context, versions []Kept, choose func(tx store.Reader, k Kept, v tree.Version) []store.MachineID) (changed int, err error) {
	err = d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		var ops []tree.Op
		var events []tree.Event
		for _, k := range versions {
			v, err := t.Held(tx, k.File, k.Placed)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			holders := choose(tx, k, v)
			if holders == nil || slices.Equal(holders, v.Holders) {
				continue
			}
			o, ev, err := t.Assign(tx, k.File, v.Dot, holders, now)
			if err != nil {
				return nil, nil, err
			}
			ops, events, changed = append(ops, o...), append(events, ev...), changed+1
		}
		return ops, events, nil
	})
	if err == nil && changed > 0 {
		err = d.Sync(ctx)
	}
	if err != nil {
		return changed, fmt.Errorf("drive: assign: %w", err)
	}
	return changed, nil
}

// Writing reports whether what has the root ref is being written here at this moment,
// so that all of it is here.
func (d *Drive) Writing(ref store.Ref) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sessions {
		s.mu.Lock()
		last := s.refs[max(0, len(s.refs)-rootAmongLast):]
		found := slices.Contains(last, ref)
		s.mu.Unlock()
		if found {
			return true
		}
	}
	return false
}

// rootAmongLast is how far from the end of what a session put the root of a file may
// be: a writer makes it last.
const rootAmongLast = 8
