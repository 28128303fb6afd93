package replicate

import (
	"bytes"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// HandleTimeout looks for versions that can be fetched now, as far as the bounds
// allow.
//
// Each peer walks around the queue with a cursor of its own and stops where it has
// as much to do as it may. So a version is met once a lap by a peer that is free,
// and none waits for ever while its source is there.
func (e *Engine) HandleTimeout(now time.Time) {
	e.waits = false
	e.portion = e.portionNow()
	for d, l := range e.missing {
		if !l.until.After(now) {
			delete(e.missing, d)
			e.again()
		}
	}
	ids := e.order()
	for i := range ids {
		p := e.peers[ids[(i+e.turn)%len(ids)]]
		if !p.until.IsZero() && !p.until.After(now) {
			p.until = time.Time{}
			e.again()
		}
	}
	for i := range ids {
		e.walk(now, e.peers[ids[(i+e.turn)%len(ids)]])
	}
	e.turn++
	e.schedule(now, ids)
}

// minPortion is the least that is asked for at a time where there is more.
const minPortion = 256 << 10

// portionNow is how many bytes a fetch shall have: so many that the queue makes several
// fetches of each peer. Whoever answers quicker is then asked for more, and all end at
// about the same time.
func (e *Engine) portionNow() int64 {
	_, bytes := e.Pending()
	return min(e.cfg.BatchBytes, max(minPortion, bytes/int64(4*max(1, len(e.peers)))))
}

// order returns the peers in the order of IDs, so that equal runs are equal.
func (e *Engine) order() []store.MachineID {
	ids := make([]store.MachineID, 0, len(e.peers))
	for id := range e.peers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, store.MachineID.Compare)
	return ids
}

// lookAgain says that something changed that may make a fetch possible.
func (e *Engine) lookAgain(now time.Time) {
	e.again()
	e.at(now)
}

// again makes every peer walk a whole lap.
func (e *Engine) again() {
	for _, p := range e.peers {
		p.done, p.whole = false, p.cursor == nil
	}
}

// at asks for a timeout not later than t.
func (e *Engine) at(t time.Time) {
	if !e.waits || t.Before(e.due) {
		e.due, e.waits = t, true
	}
}

// schedule asks for the next timeout: at once when a walk is not finished, else
// when a pause ends.
func (e *Engine) schedule(now time.Time, ids []store.MachineID) {
	for _, id := range ids {
		p := e.peers[id]
		if !p.until.IsZero() {
			e.at(p.until)
		} else if !p.done && e.free(p) {
			e.at(now)
		}
	}
	for _, l := range e.missing {
		e.at(l.until)
	}
}

// free reports whether p may be given another fetch.
func (e *Engine) free(p *peer) bool {
	return p.until.IsZero() && p.flights < e.cfg.PerPeer && len(e.flights) < e.cfg.MaxFetches
}

// walk looks at the next part of the queue for what p could give.
func (e *Engine) walk(now time.Time, p *peer) {
	seen := 0
	for e.free(p) && !p.done && seen < e.cfg.Window {
		batch, n, ended, err := e.gather(p, e.cfg.Window-seen)
		if err != nil {
			e.events = append(e.events, Broken{err})
			p.until = now.Add(e.cfg.BackoffMin)
			return
		}
		seen += n
		if len(batch) > 0 {
			e.launch(p, batch)
		}
		if ended { // of the queue: on from its beginning, unless all was seen
			p.done, p.whole, p.cursor = p.whole, true, nil
		}
	}
}

// gather collects one batch for p from its cursor on, looking at no more than limit
// entries. ended says that the queue's end was reached.
func (e *Engine) gather(p *peer, limit int) (batch []Assignment, seen int, ended bool, err error) {
	from := queueBegin
	if p.cursor != nil {
		from = p.cursor
	}
	var size int64
	ended = true
	var bad error
	scanErr := e.kv.Scan(from, queueEnd, func(key, value []byte) bool {
		if seen >= limit {
			ended = false
			return false
		}
		a, err := parseRow(key, value)
		if err != nil {
			bad = err
			return false
		}
		if e.wants(p, a) {
			if len(batch) > 0 && (len(batch) >= e.cfg.BatchFiles || size+a.Content.Size > e.portion) {
				ended = false
				return false
			}
			batch = append(batch, a)
			size += a.Content.Size
		}
		seen++
		p.cursor = append(bytes.Clone(key), 0)
		return true
	})
	if scanErr != nil || bad != nil {
		p.cursor = nil
		if scanErr == nil {
			scanErr = bad
		}
		return nil, seen, false, scanErr
	}
	return batch, seen, ended, nil
}

// launch starts a fetch.
func (e *Engine) launch(p *peer, batch []Assignment) {
	e.lastID++
	f := &flight{peer: p.id}
	for _, a := range batch {
		f.dots = append(f.dots, a.Dot)
		e.busy[a.Dot] = e.lastID
	}
	e.flights[e.lastID] = f
	p.flights++
	e.out = append(e.out, Fetch{ID: e.lastID, Peer: p.id, Assignments: batch})
}

// The ranks of sources, best first.
const (
	rankAuthor = iota // made it
	rankHolder        // is to keep it and says that it does
	rankOther         // may have it in its cache, or be on its way to hold it
)

// wants reports whether a should be fetched from p now: nobody better can give it.
func (e *Engine) wants(p *peer, a Assignment) bool {
	if _, busy := e.busy[a.Dot]; busy || e.lacking(a.Dot, p.id) {
		return false
	}
	rank := rankOf(p, a)
	if rank == rankAuthor {
		return true
	}
	if author := e.peers[a.Dot.Machine]; author != nil && e.usable(author, a.Dot) {
		// A busy author leaves work to those who are sure to have it.
		if rank == rankOther || e.free(author) {
			return false
		}
	}
	if rank == rankHolder {
		return true
	}
	for _, m := range a.Holders {
		if h := e.peers[m]; h != nil && h.holds.covers(a.Dot) && e.usable(h, a.Dot) {
			return false
		}
	}
	// What is learnt from a guess must be remembered, or it is made again and again.
	_, known := e.missing[a.Dot]
	return known || len(e.missing)+len(e.busy) < e.cfg.MaxMissing
}

// usable reports whether p is not in a pause and not known to lack d.
func (e *Engine) usable(p *peer, d store.Dot) bool {
	return p.until.IsZero() && !e.lacking(d, p.id)
}

func (e *Engine) lacking(d store.Dot, id store.MachineID) bool {
	return slices.Contains(e.missing[d].peers, id)
}

func rankOf(p *peer, a Assignment) int {
	switch {
	case p.id == a.Dot.Machine:
		return rankAuthor
	case slices.Contains(a.Holders, p.id) && p.holds.covers(a.Dot):
		return rankHolder
	}
	return rankOther
}
