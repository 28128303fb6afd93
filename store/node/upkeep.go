package node

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/aether-lan/aether/store"
)

const (
	// upkeepEvery is how often a machine looks whether there is anything to tidy up.
	upkeepEvery = time.Minute
	// forgetEvery is how often the past is looked at for what is too old.
	forgetEvery = time.Hour
	// collectEvery is how often garbage is collected though nothing was forgotten: what
	// writers that died have left.
	collectEvery = 24 * time.Hour
	// scrubEvery is how often the disk is read for rot, and scrubRate how many bytes a
	// second that may take from others.
	scrubEvery = 7 * 24 * time.Hour
	scrubRate  = 16 << 20
	// compactSlice is how many bytes are copied at a time, and compactPause how long
	// the disk is left to others after that.
	compactSlice = 4 << 20
	compactPause = 100 * time.Millisecond
)

// upkeep forgets what is too old, collects garbage and gives its room back, in slices
// that nobody feels, until ctx ends.
func (m *Machine) upkeep(ctx context.Context) {
	t := time.NewTicker(upkeepEvery)
	defer t.Stop()
	names := time.NewTicker(logEvery)
	defer names.Stop()
	var forgot time.Time
	collected := time.Now() // not at the start, which shall be quick
	for {
		select {
		case <-ctx.Done():
			return
		case <-names.C:
			if err := m.names.write(); err != nil {
				m.log.Debug("operations wait to be written to the segments", "error", err)
			}
		case <-m.core.roomWanted:
			select {
			case <-ctx.Done():
			case <-time.After(roomDelay):
				m.keepRoom(ctx)
			}
		case now := <-t.C:
			m.keepRoom(ctx)
			m.tend(ctx, now)
			n := 0
			if now.Sub(forgot) >= forgetEvery {
				forgot = now
				n = m.forget(ctx, m.retention())
			}
			if n > 0 || now.Sub(collected) >= collectEvery {
				collected = now
				if c, err := m.drive.Collect(ctx); err != nil && ctx.Err() == nil {
					m.log.Warn("garbage is not collected", "error", err)
				} else if c.Removed > 0 {
					m.log.Info("garbage collected", "chunks", c.Removed, "bytes", c.Bytes)
				}
			}
			m.compact(ctx, compactPause)
			m.scrubWhenDue(ctx, now)
		}
	}
}

// scrubKey has when a scrub last came to its end.
func scrubKey() []byte { return []byte{store.PrefixNode, 's'} }

// scrubWhenDue begins a scrub when the last one was long ago, or goes on with one that
// the end of the program interrupted.
func (m *Machine) scrubWhenDue(ctx context.Context, now time.Time) {
	if m.scrubbing.Load() {
		return
	}
	last, err := m.kv.Get(scrubKey())
	if errors.Is(err, store.ErrNotFound) { // a new machine has nothing that could have rotted
		m.scrubbed(now)
		return
	}
	if err != nil || len(last) != 8 || now.Sub(time.Unix(int64(be64(last)), 0)) < scrubEvery {
		return
	}
	m.scrubbing.Store(true)
	m.jobs.Go(func() {
		defer m.scrubbing.Store(false)
		err := m.Scrub(ctx, scrubRate, true, func(c Checked) {
			switch {
			case c.Repaired:
				m.log.Warn("a chunk had rotted and was repaired", "chunk", c.Chunk, "error", c.Error)
			case c.Error != "":
				m.log.Error("a chunk has rotted, and nobody else has it", "chunk", c.Chunk, "error", c.Error, "files", c.Paths)
			}
		})
		if err == nil {
			m.scrubbed(m.now())
		} else if ctx.Err() == nil {
			m.log.Warn("the disk is not scrubbed", "error", err)
		}
	})
}

func (m *Machine) scrubbed(at time.Time) {
	tx := m.kv.Begin()
	defer tx.Discard()
	_ = tx.Set(scrubKey(), binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))) // Commit says so, too
	if err := tx.Commit(false); err != nil {
		m.log.Debug("when the disk was scrubbed is not noted", "error", err)
	}
}

// forget gives up what ended longer ago than keep.
func (m *Machine) forget(ctx context.Context, keep time.Duration) int {
	n, err := m.drive.Forget(ctx, m.now().Add(-keep), math.MaxInt)
	if err != nil && ctx.Err() == nil {
		m.log.Warn("old versions are not forgotten", "error", err)
	}
	return n
}

// compact gives the room of dead bytes back to the disk, with pauses.
func (m *Machine) compact(ctx context.Context, pause time.Duration) (freed int64) {
	for more := true; more && ctx.Err() == nil; {
		var n int64
		var err error
		if n, more, err = m.bodies.CompactSome(compactSlice); err != nil {
			m.log.Warn("segments are not compacted", "error", err)
			return freed
		}
		freed += n
		if more && pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
	return freed
}

// Collect gives up versions that ended longer ago than keep, removes all chunks to
// which nothing leads, and gives their room back to the disk.
func (m *Machine) Collect(ctx context.Context, keep time.Duration) (Collection, error) {
	var c Collection
	var err error
	before := m.now().Add(-keep)
	if keep <= 0 { // all of it, also what was stamped by a clock that is ahead
		before = m.now().Add(time.Hour)
	}
	if c.Forgotten, err = m.drive.Forget(ctx, before, math.MaxInt); err != nil {
		return c, err
	}
	d, err := m.drive.Collect(ctx)
	c.Kept, c.Removed, c.Bytes = d.Kept, d.Removed, d.Bytes
	if err != nil {
		return c, err
	}
	c.Freed = m.compact(ctx, 0)
	return c, nil
}
