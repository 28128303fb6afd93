package paxos

import "slices"

// Storage reads back what was saved. A Node asks it for slots that it no longer
// keeps in memory, to send them to a follower that lags.
type Storage interface {
	// Entries returns saved entries from first on without a gap, at least one and
	// beyond that no more than about limit bytes of values. It returns none, and no
	// error, if first was forgotten.
	Entries(first Slot, limit int) ([]Entry, error)
}

// entryLog is the part of an acceptor's accepted values that is in memory: the
// slots from first on, without a gap.
type entryLog struct {
	first   Slot // slot of entries[0]; all before are chosen
	entries []Entry
	bytes   int // of entries
}

// last returns the highest slot for which there is an entry, or first-1.
func (l *entryLog) last() Slot { return l.first + Slot(len(l.entries)) - 1 }

// at returns the entry of slot, if it is in memory.
func (l *entryLog) at(s Slot) (Entry, bool) {
	if s < l.first || s > l.last() {
		return Entry{}, false
	}
	return l.entries[s-l.first], true
}

// set stores e, which replaces the entry of its slot or follows the last one.
func (l *entryLog) set(e Entry) {
	l.bytes += e.size()
	if e.Slot <= l.last() {
		l.bytes -= l.entries[e.Slot-l.first].size()
		l.entries[e.Slot-l.first] = e
		return
	}
	l.entries = append(l.entries, e)
}

// between returns the entries from first to last that are in memory.
func (l *entryLog) between(first, last Slot) []Entry {
	first, last = max(first, l.first), min(last, l.last())
	if first > last {
		return nil
	}
	return l.entries[first-l.first : last-l.first+1]
}

// drop forgets the entries to slot through.
func (l *entryLog) drop(through Slot) {
	if through < l.first {
		return
	}
	n := min(int(through-l.first+1), len(l.entries))
	for _, e := range l.entries[:n] {
		l.bytes -= e.size()
	}
	clear(l.entries[:n]) // let the values go
	l.entries = l.entries[n:]
	l.first = through + 1
}

// trim drops entries to slot through from the front while more than limit bytes
// are kept.
func (l *entryLog) trim(through Slot, limit int) {
	if l.bytes <= limit {
		return
	}
	over, to := l.bytes-limit, l.first-1
	for _, e := range l.entries {
		if over <= 0 || e.Slot > through {
			break
		}
		over -= e.size()
		to = e.Slot
	}
	l.drop(to)
	if cap(l.entries) > 2*len(l.entries)+1024 {
		l.entries = slices.Clone(l.entries)
	}
}

// batch cuts entries to about limit bytes, but to no less than one.
func batch(entries []Entry, limit int) []Entry {
	for i, e := range entries {
		if limit -= e.size(); limit < 0 && i > 0 {
			return entries[:i]
		}
	}
	return entries
}

func batchBytes(entries []Entry) (n int) {
	for _, e := range entries {
		n += e.size()
	}
	return n
}
