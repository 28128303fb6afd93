package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/segment"
)

// fetchTimeout bounds the fetch of one batch of small versions.
const fetchTimeout = 10 * time.Minute

// carryOut begins a fetch that the core ordered; replicate bounds how many run.
func (c *core) carryOut(f replicate.Fetch) {
	c.m.jobs.Go(func() {
		r := c.m.fetch(c.m.background, f)
		for errors.Is(c.landed(r), index.ErrFull) {
			select {
			case <-c.m.background.Done():
				return
			case <-time.After(stallTime):
			}
		}
	})
}

// landed tells the engine how a fetch ended.
func (c *core) landed(r replicate.FetchResult) (err error) {
	cerr := c.call(c.m.background, func() {
		now := c.m.now()
		err = c.commit(func(tx store.Txn) error { return c.copying.Done(tx, now, r) })
		switch {
		case errors.Is(err, index.ErrFull):
			c.m.log.Error("copies wait for room on the disk", "error", err)
		case err != nil:
			c.fail(err)
		case len(r.Fetched) > 0:
			c.noteInventory(now)
		}
	})
	return errors.Join(err, cerr)
}

// fetch brings what is missing here of the versions of f from its peer, and makes
// it durable.
func (m *Machine) fetch(ctx context.Context, f replicate.Fetch) replicate.FetchResult {
	r := replicate.FetchResult{ID: f.ID}
	m.resealHere(ctx, f.Assignments)
	whole := make([]bool, len(f.Assignments))
	if a := f.Assignments[0]; len(f.Assignments) == 1 && a.Content.Size >= swarmMin {
		whole[0], r.Err = m.fetchLarge(ctx, f.Peer, a)
	} else {
		r.Err = m.fetchSmall(ctx, f.Peer, f.Assignments, whole)
	}
	if errors.Is(r.Err, segment.ErrFull) {
		m.log.Error("no room for copies", "error", r.Err)
		defer m.noRoom(ctx, f.Assignments)
	}
	if err := m.bodies.Sync(); err != nil {
		r.Err = errors.Join(r.Err, err)
		return r
	}
	for i, a := range f.Assignments {
		switch {
		case whole[i]:
			r.Fetched = append(r.Fetched, a.Dot)
		case r.Err == nil:
			r.Missing = append(r.Missing, a.Dot)
		}
	}
	if r.Err != nil && !errors.Is(r.Err, link.ErrNotConnected) {
		m.log.Warn("a fetch failed", "machine", f.Peer.String(), "error", r.Err)
	}
	return r
}

// fetchSmall is fetchChunks within fetchTimeout.
func (m *Machine) fetchSmall(ctx context.Context, peer store.MachineID, versions []replicate.Assignment, whole []bool) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return m.fetchChunks(ctx, peer, versions, whole)
}

// fetchChunks fetches level by level, all versions together: first the roots, then
// what their lists name, and so on down to the data. It sets whole for the
// versions all of whose chunks are here at the end.
func (m *Machine) fetchChunks(ctx context.Context, peer store.MachineID, versions []replicate.Assignment, whole []bool) error {
	level := make([][]chunk.Part, len(versions)) // what each version needs next
	for i, v := range versions {
		whole[i] = true
		if root, ok := chunk.Root(v.Content); ok {
			level[i] = []chunk.Part{root}
		}
	}
	for {
		var missing []store.Ref
		asked := map[store.Ref]bool{}
		for _, parts := range level {
			for _, p := range parts {
				if !asked[p.Ref] && !m.drive.Hold(p.Ref) {
					asked[p.Ref] = true
					missing = append(missing, p.Ref)
				}
			}
		}
		if err := m.ask(ctx, peer, missing, m.keep); err != nil {
			clear(whole)
			return err
		}
		deeper := false
		for i, parts := range level {
			below, err := m.descend(parts)
			if errors.Is(err, store.ErrNotFound) {
				whole[i], below = false, nil
			} else if err != nil {
				clear(whole)
				return err
			}
			level[i] = below
			deeper = deeper || len(below) > 0
		}
		if !deeper {
			return nil
		}
	}
}

// keep stores a body that was fetched.
func (m *Machine) keep(ref store.Ref, body []byte) error {
	return m.drive.Keep(ref, body, segment.Replica)
}

// descend checks that parts are here and returns what those that are lists name.
func (m *Machine) descend(parts []chunk.Part) (below []chunk.Part, err error) {
	for _, p := range parts {
		if p.Depth == 0 {
			if !m.drive.Hold(p.Ref) {
				return nil, fmt.Errorf("chunk %.8s: %w", p.Ref, store.ErrNotFound)
			}
			continue
		}
		body, err := m.bodies.Get(p.Ref)
		if err != nil {
			return nil, err
		}
		more, err := m.keys.Children(p, body)
		if err != nil {
			return nil, err
		}
		below = append(below, more...)
	}
	return below, nil
}
