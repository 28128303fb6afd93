package node

import (
	"context"
	"math"
	"time"
)

const (
	// upkeepEvery is how often a machine looks whether there is anything to tidy up.
	upkeepEvery = time.Minute
	// forgetEvery is how often the past is looked at for what is too old.
	forgetEvery = time.Hour
	// collectEvery is how often garbage is collected though nothing was forgotten: what
	// writers that died have left.
	collectEvery = 24 * time.Hour
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
		case now := <-t.C:
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
		}
	}
}

// forget gives up what ended longer ago than keep.
func (m *Machine) forget(ctx context.Context, keep time.Duration) int {
	n, err := m.drive.Forget(ctx, time.Now().Add(-keep), math.MaxInt)
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
	before := time.Now().Add(-keep)
	if keep <= 0 { // all of it, also what was stamped by a clock that is ahead
		before = time.Now().Add(time.Hour)
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
