package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/tree"
)

// ErrAltered reports bytes that are not those that they should be.
var ErrAltered = errors.New("drive: other bytes than were there")

// Reseal seals the bytes of some versions anew, under the newest keys, in one change of
// the tree, and waits for the disk. It is no edit: names, times and history stay, and a
// version that somebody replaces meanwhile is passed over. pace is called with the
// number of bytes about to be read and may wait; nil does not. Those that cannot be read
// are returned with the reason, and the others are done.
func (d *Drive) Reseal(ctx context.Context, versions []tree.Entry, pace func(context.Context, int) error) (failed map[store.FileID]error, err error) {
	s := d.begin()
	defer s.end()
	failed = map[store.FileID]error{}
	contents := make([]store.Content, len(versions))
	for i, e := range versions {
		c, err := s.reseal(ctx, e, pace)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, store.ErrFull):
			return nil, fmt.Errorf("drive: reseal: %w", err)
		case err != nil:
			failed[e.ID] = err
		}
		contents[i] = c
	}
	if err := d.cfg.Bodies.Sync(); err != nil {
		return nil, fmt.Errorf("drive: reseal: %w", err)
	}
	err = d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, now time.Time) (ops []tree.Op, events []tree.Event, err error) {
		for i, e := range versions {
			if failed[e.ID] != nil {
				continue
			}
			o, ev, err := t.Reseal(tx, e.ID, e.Version.Dot, contents[i], now)
			if errors.Is(err, store.ErrNotFound) {
				continue // it was replaced meanwhile
			}
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
		return nil, fmt.Errorf("drive: reseal: %w", err)
	}
	return failed, nil
}

// whole reports whether all chunks of c are here.
func (d *Drive) whole(c store.Content) bool {
	return d.cfg.Keys.Walk(c, d.cfg.Bodies.Get, func(p chunk.Part) error {
		if p.Absent || !d.cfg.Bodies.Has(p.Ref) {
			return store.ErrNotFound
		}
		return nil
	}) == nil
}

// reseal writes the bytes of e under the newest keys.
func (s *session) reseal(ctx context.Context, e tree.Entry, pace func(context.Context, int) error) (store.Content, error) {
	f := s.d.OpenEntry(ctx, e)
	defer f.Close()
	w := s.d.cfg.Keys.NewWriter(s.put, s.have)
	if _, err := w.ReadFrom(&pacedReader{ctx, f, pace}); err != nil {
		w.Abort()
		return store.Content{}, err
	}
	c, err := w.Close()
	if err == nil && c.Size != e.Version.Content.Size {
		err = ErrAltered
	}
	return c, err
}

// pacedReader asks pace before each read.
type pacedReader struct {
	ctx  context.Context
	r    io.Reader
	pace func(context.Context, int) error
}

func (p *pacedReader) Read(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	if p.pace != nil {
		b = b[:min(len(b), pacedBytes)]
		if err := p.pace(p.ctx, len(b)); err != nil {
			return 0, err
		}
	}
	return p.r.Read(b)
}

// pacedBytes is the most that is read at a time where reading is paced.
const pacedBytes = 64 << 10

// ResealHere makes the chunks of a version that another machine has sealed anew, from
// those of the same bytes as they were before, without asking anybody: all of them have
// to be here. What it puts is garbage until a version leads to it. It fails with
// store.ErrNotFound where a chunk is missing, and with ErrAltered where the bytes turn
// out to be others.
func (d *Drive) ResealHere(ctx context.Context, from, to store.Content) error {
	keys, err := d.cfg.Keys.Under(to.Oldest)
	if err != nil {
		return fmt.Errorf("drive: reseal here: %w", err)
	}
	s := d.begin()
	defer s.end()
	r := keys.NewReader(ctx, from, func(_ context.Context, ref store.Ref) ([]byte, error) { return d.cfg.Bodies.Get(ref) }).TakeBodies()
	defer r.Close()
	w := keys.NewWriter(s.put, s.have)
	if _, err := w.ReadFrom(&contextReader{ctx, r}); err != nil {
		w.Abort()
		return fmt.Errorf("drive: reseal here: %w", err)
	}
	c, err := w.Close()
	if err == nil && c != to {
		err = ErrAltered
	}
	if err != nil {
		return fmt.Errorf("drive: reseal here: %w", err)
	}
	return nil
}
