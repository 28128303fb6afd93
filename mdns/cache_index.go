package mdns

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
	"time"
)

const (
	// coarseSize is the number of records above which a Cache that changes all the
	// time is looked through every coarseStep only: a record may go, or be asked
	// for, that much late, and a flood costs no pass over the cache per packet.
	coarseSize = 256
	coarseStep = 50 * time.Millisecond

	// manyEntries is the number of entries of one name above which a flush looks
	// for old ones only when there can be any.
	manyEntries = 64
)

// index finds an entry by its record's identity. Entries whose hashes collide are
// in a list that is nearly always of one.
type index struct {
	seed    maphash.Seed
	entries map[uint64]*entry // chained by entry.chain
}

func newIndex() index {
	return index{maphash.MakeSeed(), make(map[uint64]*entry)}
}

func (x index) hash(r Record) uint64 {
	var h maphash.Hash
	h.SetSeed(x.seed)
	_, _ = h.WriteString(foldName(r.Name))
	_, _ = h.Write([]byte{byte(r.Type >> 8), byte(r.Type)})
	_, _ = h.Write(r.Data)
	return h.Sum64()
}

func (x index) find(r Record) *entry {
	for e := x.entries[x.hash(r)]; e != nil; e = e.chain {
		if sameRecord(e.record, r) {
			return e
		}
	}
	return nil
}

func (x index) add(e *entry) {
	h := x.hash(e.record)
	e.chain = x.entries[h]
	x.entries[h] = e
}

func (x index) remove(e *entry) {
	h := x.hash(e.record)
	if x.entries[h] == e {
		if e.chain == nil {
			delete(x.entries, h)
		} else {
			x.entries[h] = e.chain
		}
		return
	}
	for p := x.entries[h]; p != nil; p = p.chain {
		if p.chain == e {
			p.chain = e.chain
			return
		}
	}
}

// sameRecord reports whether a and b have one identity, without making it.
func sameRecord(a, b Record) bool {
	return a.Type == b.Type && a.Class == b.Class && bytes.Equal(a.Data, b.Data) && sameName(a.Name, b.Name)
}

// sameSet reports whether a and b belong to one set, without naming it.
func sameSet(a, b Record) bool {
	return a.Type == b.Type && a.Class == b.Class && sameName(a.Name, b.Name)
}

// has reports whether a record answers q.
func (c *Cache) has(q Question) bool {
	return slices.ContainsFunc(c.sets[foldName(q.Name)], func(e *entry) bool { return e.record.answers(q) })
}

// eachDue calls f for every entry that has something to do, in an order that does
// not vary, and finds out when the next one has.
func (c *Cache) eachDue(now time.Time, f func(*entry)) {
	type dueEntry struct {
		name string
		at   int
		e    *entry
	}
	var due []dueEntry
	for name, set := range c.sets {
		for i, e := range set {
			if !now.Before(e.expire) || !e.ask.IsZero() && !now.Before(e.ask) {
				due = append(due, dueEntry{name, i, e})
			}
		}
	}
	slices.SortFunc(due, func(a, b dueEntry) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.at, b.at)) })
	for _, d := range due {
		if d.e.payer != nil { // still there
			f(d.e)
		}
	}
	c.scan(now)
}

// young reports whether all entries of r's name were heard within the last second
// or will go anyway, so that there is nothing to flush. What it finds out about a
// name of many entries holds until the oldest one is a second old: entries only
// become younger.
func (c *Cache) young(now time.Time, r Record) bool {
	name := foldName(r.Name)
	set := c.sets[name]
	if len(set) <= manyEntries {
		return false
	}
	if at, ok := c.oldest[name]; ok && now.Sub(at) <= Grace {
		return true
	}
	var oldest time.Time
	for _, e := range set {
		if e.reason == Expired {
			oldest = earlier(oldest, e.heard)
		}
	}
	if oldest.IsZero() {
		oldest = now
	}
	c.oldest[name] = oldest
	return now.Sub(oldest) <= Grace
}

// scan computes when the next entry has something to do.
func (c *Cache) scan(now time.Time) {
	c.stale, c.scanned, c.next = false, now, time.Time{}
	for _, set := range c.sets {
		for _, e := range set {
			c.next = earlier(earlier(c.next, e.expire), e.ask)
		}
	}
}
