package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// openKey is there while a machine is open: found by Open, the end was not clean.
func openKey() []byte { return []byte{store.PrefixNode, 'o'} }

// openedClean notes that the machine is open, and reports whether it was closed before.
func (m *Machine) openedClean() (clean bool, err error) {
	_, err = m.kv.Get(openKey())
	if clean = errors.Is(err, store.ErrNotFound); !clean {
		return false, err
	}
	tx := m.kv.Begin()
	defer tx.Discard()
	store.Freeing(tx) // a full disk is no reason not to open
	if err := tx.Set(openKey(), []byte{1}); err != nil {
		return false, err
	}
	return true, tx.Commit(true)
}

// closedClean notes that the machine is closed, unless something went wrong.
func (m *Machine) closedClean(wrong error) error {
	if wrong != nil || m.core == nil || m.core.err != nil || m.core.proving {
		return nil // the next Open looks
	}
	tx := m.kv.Begin()
	defer tx.Discard()
	store.Freeing(tx)
	if err := tx.Delete(openKey()); err != nil {
		return err
	}
	return tx.Commit(true)
}

// provedInventory is what is told of what is held here: nothing until it is proved.
func (c *core) provedInventory() []byte {
	if c.proving {
		return replicate.EmptyInventory()
	}
	return c.copying.Inventory()
}

// proveBatch is how many versions are looked at between two turns of the core.
const proveBatch = 256

// proveSample is of how many chunks of data one is read.
const proveSample = 64

// proveHoldings looks whether all that this machine keeps for the pool is here, after an end
// that was not clean, and only then lets others count on it: what is missing is fetched
// again. It reads all lists of chunks and a sample of the data; a scrub reads the rest.
func (m *Machine) proveHoldings(ctx context.Context) {
	for errors.Is(m.proveOnce(ctx), store.ErrFull) { // what is missing cannot be noted
		select {
		case <-ctx.Done():
			return
		case <-time.After(stallTime):
		}
	}
}

// proveOnce is one try of proveHoldings.
func (m *Machine) proveOnce(ctx context.Context) error {
	began := m.now()
	files, missing, err := m.recheck(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.log.Error("what is kept here cannot be checked, and is not counted", "error", err)
		}
		return err
	}
	_ = m.core.call(ctx, func() {
		m.core.proving = false
		m.core.noteInventory(m.now())
	})
	m.log.Info("the machine was not closed properly: what it keeps has been checked", "files", files, "missing", missing, "took", m.now().Sub(began).Round(time.Millisecond).String())
	return nil
}

// recheck queues the versions that this machine shall keep and that are not whole here.
func (m *Machine) recheck(ctx context.Context) (files, missing int, err error) {
	var after store.FileID
	for more := true; more; {
		var batch []replicate.Assignment
		more = false
		err := m.tree.Versions(m.kv, after, func(id store.FileID, v tree.Version) bool {
			if len(batch) >= proveBatch && id != after {
				more = true
				return false
			}
			after = id
			if slices.Contains(v.Holders, m.ID()) {
				batch = append(batch, replicate.Assignment{Dot: v.Placed, File: id, Content: v.Content, Holders: v.Holders})
			}
			return ctx.Err() == nil
		})
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return files, missing, err
		}
		files += len(batch)
		bad := slices.DeleteFunc(batch, func(a replicate.Assignment) bool { return m.whole(a.Content, proveSample) })
		missing += len(bad)
		if err := m.requeue(ctx, bad); err != nil {
			return files, missing, err
		}
	}
	return files, missing, nil
}

// requeue has versions fetched again.
func (m *Machine) requeue(ctx context.Context, versions []replicate.Assignment) (err error) {
	if len(versions) == 0 {
		return nil
	}
	cerr := m.core.call(ctx, func() {
		err = m.core.commit(func(tx store.Txn) error {
			for _, a := range versions {
				if err := m.core.copying.Assign(tx, m.now(), a); err != nil {
					return err
				}
			}
			return nil
		})
		m.core.noteInventory(m.now())
	})
	return errors.Join(err, cerr)
}

// whole reports whether all chunks of c are here, and whether one in sample of its data
// is what it should be. What is cache becomes a replica; what has rotted is given up,
// so that it is fetched again.
func (m *Machine) whole(c store.Content, sample int) bool {
	list := func(ref store.Ref) ([]byte, error) {
		body, err := m.bodies.Get(ref)
		if errors.Is(err, segment.ErrCorrupt) {
			err = errors.Join(store.ErrNotFound, m.bodies.Delete(ref))
		}
		return body, err
	}
	return m.keys.Walk(c, list, func(p chunk.Part) error {
		if p.Absent || !m.drive.Hold(p.Ref) {
			return store.ErrNotFound
		}
		if p.Depth > 0 || rand.IntN(sample) != 0 {
			return nil
		}
		body, err := m.bodies.Get(p.Ref)
		if err == nil {
			err = m.keys.Check(p.Ref, body)
		}
		if errors.Is(err, segment.ErrCorrupt) || errors.Is(err, chunk.ErrCorrupt) {
			m.log.Warn("a chunk has rotted and is fetched again", "chunk", p.Ref.String(), "error", err)
			err = errors.Join(err, m.bodies.Delete(p.Ref))
		}
		if err != nil {
			return fmt.Errorf("chunk %.8s: %w", p.Ref, err)
		}
		return nil
	}) == nil
}
