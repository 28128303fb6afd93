package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// Census is how many copies the files have, as far as this machine knows.
type Census struct {
	// Counted is when the count began; what happened later is not in it.
	Counted time.Time `json:"counted,omitzero"`
	// Counting says that a newer count is under way.
	Counting bool `json:"counting,omitempty"`
	// Files is how many files were counted, and Bytes their sizes.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// ByCopies has the files with no, one, two... copies that are known to be kept. The
	// last stands for as many and more.
	ByCopies []int64 `json:"by_copies"`
	// FewestWanted and MostWanted are how many copies a file shall have, of the files that
	// shall have the fewest and the most; equal where no folder is an exception.
	FewestWanted int `json:"fewest_wanted"`
	MostWanted   int `json:"most_wanted"`
	// Whole counts the files with as many copies as they shall have.
	Whole int64 `json:"whole"`
	// Copying counts the files that lack copies and whose holders can all be reached:
	// their copies are being made. CopyingBytes are the bytes to be copied.
	Copying      int64 `json:"copying"`
	CopyingBytes int64 `json:"copying_bytes"`
	// Lacking counts the other files that lack copies: machines that should keep them
	// are away, or there are too few machines.
	Lacking int64 `json:"lacking"`
	// OnlyHere counts the files that no machine but this one is known to keep, where
	// others should.
	OnlyHere int64 `json:"only_here"`
	// Unreachable counts the files that no machine keeps that can be reached now.
	Unreachable int64 `json:"unreachable"`

	// lag is what the machines should keep and are not known to.
	lag map[store.MachineID]Queue
}

// maxByCopies bounds Census.ByCopies.
const maxByCopies = 16

const (
	// censusPatience is how long who asks waits for a count under way before it gets the
	// one before.
	censusPatience = 25 * time.Millisecond
	// censusRest is how many times as long as a count took the next one is put off, so
	// that a drive of millions of files that changes all the time is not counted all the
	// time.
	censusRest = 10
)

// census keeps the latest count. A drive is counted in the background, when somebody
// asks and something has changed.
type census struct {
	changes atomic.Uint64 // grows with all that may change a count

	mu      sync.Mutex
	last    Census
	as      uint64        // what changes was when last began
	took    time.Duration // to count
	running chan struct{} // closed when the count under way has ended; nil: none
}

// touch says that the last count may be out of date.
func (c *census) touch() { c.changes.Add(1) }

// count returns the newest count to be had soon. The first one is waited for.
func (m *Machine) count(ctx context.Context) (Census, error) {
	c := &m.census
	c.mu.Lock()
	running := m.startCount()
	first := c.last.Counted.IsZero()
	c.mu.Unlock()
	if running != nil {
		patience := time.NewTimer(censusPatience)
		defer patience.Stop()
		late := patience.C
		if first {
			late = nil
		}
		select {
		case <-running:
		case <-late:
		case <-ctx.Done():
			return Census{}, context.Cause(ctx)
		case <-m.background.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.last
	got.ByCopies = slices.Clone(got.ByCopies)
	switch now := c.changes.Load(); {
	case now == c.as && !got.Counted.IsZero():
		got.Counted = time.Now() // nothing has happened since
	default:
		got.Counting = c.running != nil
	}
	got.Counted = got.Counted.UTC()
	return got, nil
}

// startCount begins a count where one is due, and returns what is closed at the end of
// the one under way, nil where there is none. It runs with c.mu held.
func (m *Machine) startCount() <-chan struct{} {
	c := &m.census
	old := c.last.Counted
	switch {
	case c.running != nil:
		return c.running
	case !old.IsZero() && c.changes.Load() == c.as, m.background.Err() != nil:
		return nil
	case !old.IsZero() && c.took > censusPatience && time.Since(old) < censusRest*c.took:
		return nil
	}
	end := make(chan struct{})
	c.running = end
	m.jobs.Go(func() {
		as, began := c.changes.Load(), time.Now()
		got, err := m.countAll(m.background)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			got.Counted = began
			c.last, c.as, c.took = got, as, time.Since(began)
		} else if m.background.Err() == nil {
			m.log.Warn("copies cannot be counted", "error", err)
		}
		c.running = nil
		close(end)
	})
	return end
}

// countAll looks at all files.
func (m *Machine) countAll(ctx context.Context) (Census, error) {
	t := tally{m: m, reach: m.reachable()}
	t.ByCopies, t.lag = make([]int64, 0, maxByCopies), map[store.MachineID]Queue{}
	var batch []tree.Entry
	flush := func() error {
		err := m.core.call(ctx, func() {
			t.keepers = m.core.copying.Keepers()
			for _, e := range batch {
				t.add(e)
			}
		})
		batch = batch[:0]
		return err
	}
	var inner error
	err := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir {
			batch = append(batch, e)
		}
		if len(batch) == statusBatch {
			inner = flush()
		}
		return inner == nil
	})
	return t.Census, errors.Join(err, inner, flush())
}

// reachable returns the machines that can be talked to now, this one included.
func (m *Machine) reachable() map[store.MachineID]bool {
	up := map[store.MachineID]bool{m.ID(): true}
	if mesh := m.mesh.Load(); mesh != nil {
		for _, p := range mesh.Connected() {
			up[store.MachineID(p)] = true
		}
	}
	return up
}

// tally is a count under way.
type tally struct {
	Census
	m       *Machine
	reach   map[store.MachineID]bool
	keepers *replicate.Keepers // of this turn of the core
	room    []store.MachineID
}

// add counts a file. It runs alone with the core.
func (t *tally) add(e tree.Entry) {
	want, self, author := t.m.copiesOf(e), t.m.ID(), e.Version.Dot.Machine
	keep := t.keepers.Of(assignmentOf(e), t.room[:0])
	t.room = keep
	if t.Files == 0 || want < t.FewestWanted {
		t.FewestWanted = want
	}
	t.MostWanted = max(t.MostWanted, want)
	t.Files++
	t.Bytes += e.Version.Content.Size
	for len(t.ByCopies) <= min(len(keep), maxByCopies-1) {
		t.ByCopies = append(t.ByCopies, 0)
	}
	t.ByCopies[min(len(keep), maxByCopies-1)]++
	others := slices.ContainsFunc(keep, func(id store.MachineID) bool { return id != self })
	if !others && want > 1 && (len(keep) > 0 || author == self) {
		t.OnlyHere++
	}
	if !t.reach[author] && e.Version.Content.Size > 0 && !slices.ContainsFunc(keep, t.reaches) {
		t.Unreachable++
	}
	soon := len(keep)
	if len(keep) < len(e.Version.Holders) {
		soon = t.wait(&e.Version, keep)
	}
	switch {
	case len(keep) >= want:
		t.Whole++
	case soon >= want:
		t.Copying++
		t.CopyingBytes += int64(want-len(keep)) * e.Version.Content.Size
	default:
		t.Lacking++
	}
}

func (t *tally) reaches(id store.MachineID) bool { return t.reach[id] }

// wait notes for which holders a file waits, and returns how many copies there are once
// those within reach have made theirs.
func (t *tally) wait(v *tree.Version, keep []store.MachineID) (n int) {
	for i, h := range v.Holders {
		switch {
		case slices.Contains(v.Holders[:i], h):
			continue
		case slices.Contains(keep, h):
			n++
			continue
		case t.reach[h]:
			n++
		}
		lag := t.lag[h]
		t.lag[h] = Queue{Files: lag.Files + 1, Bytes: lag.Bytes + v.Content.Size}
	}
	return n
}

// copiesOf returns how many machines shall keep a file. It is called alone with the core.
func (m *Machine) copiesOf(e tree.Entry) int { return m.core.wantedOf(m.kv, e.ID) }

// assignmentOf is an entry as package replicate knows it.
func assignmentOf(e tree.Entry) replicate.Assignment {
	return assignment(e.ID, e.Version)
}
