package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/segment"
)

// fetchTimeout bounds the fetch of one batch of versions.
const fetchTimeout = 10 * time.Minute

// carryOut begins a fetch that the core ordered; replicate bounds how many run.
func (c *core) carryOut(f replicate.Fetch) {
	c.m.jobs.Go(func() {
		ctx, cancel := context.WithTimeout(c.m.background, fetchTimeout)
		defer cancel()
		r := c.m.fetch(ctx, f)
		_ = c.call(context.WithoutCancel(ctx), func() {
			now := time.Now()
			if err := c.commit(func(tx store.Txn) error { return c.copying.Done(tx, now, r) }); err != nil {
				c.fail(err)
				return
			}
			if len(r.Fetched) > 0 {
				c.noteInventory(now)
			}
		})
	})
}

// fetch brings what is missing here of the versions of f from its peer, and makes
// it durable.
func (m *Machine) fetch(ctx context.Context, f replicate.Fetch) replicate.FetchResult {
	r := replicate.FetchResult{ID: f.ID}
	whole := make([]bool, len(f.Assignments))
	r.Err = m.fetchChunks(ctx, f.Peer, f.Assignments, whole)
	if errors.Is(r.Err, segment.ErrFull) {
		m.log.Error("no room for copies", "error", r.Err)
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

// fetchChunks fetches level by level, all versions together: first the roots, then
// what their lists name, and so on down to the data. It sets whole for the
// versions all of whose chunks are here at the end.
func (m *Machine) fetchChunks(ctx context.Context, peer store.MachineID, versions []replicate.Assignment, whole []bool) error {
	type level struct {
		depth uint8
		refs  []store.Ref
	}
	at := make([]level, len(versions))
	for i, v := range versions {
		if v.Content.Size > 0 {
			at[i] = level{v.Content.Depth, []store.Ref{v.Content.Root}}
		}
	}
	lost := make([]bool, len(versions))
	for {
		var missing []store.Ref
		asked := map[store.Ref]bool{}
		for i := range at {
			for _, ref := range at[i].refs {
				if !lost[i] && !asked[ref] && !m.bodies.Has(ref) {
					asked[ref] = true
					missing = append(missing, ref)
				}
			}
		}
		if err := m.ask(ctx, peer, missing, m.keep); err != nil {
			return err
		}
		more := false
		for i := range at {
			next, err := m.descend(at[i].refs, at[i].depth)
			switch {
			case errors.Is(err, store.ErrNotFound):
				lost[i], at[i].refs = true, nil
				continue
			case err != nil:
				return err
			}
			whole[i] = !lost[i] && next == nil
			at[i].refs = next
			if next != nil {
				at[i].depth--
				more = true
			}
		}
		if !more {
			return nil
		}
	}
}

// keep stores a body that was fetched.
func (m *Machine) keep(ref store.Ref, body []byte) error {
	return m.bodies.Put(ref, body, segment.Replica)
}

// descend checks that the chunks refs are here and, where they are lists, returns
// what they name. It returns nil for chunks of data.
func (m *Machine) descend(refs []store.Ref, depth uint8) ([]store.Ref, error) {
	var next []store.Ref
	for _, ref := range refs {
		if depth == 0 {
			if !m.bodies.Has(ref) {
				return nil, fmt.Errorf("chunk %.8s: %w", ref, store.ErrNotFound)
			}
			continue
		}
		body, err := m.bodies.Get(ref)
		if err != nil {
			return nil, err
		}
		below, err := m.keys.List(ref, body, depth)
		if err != nil {
			return nil, err
		}
		next = append(next, below...)
	}
	return next, nil
}
