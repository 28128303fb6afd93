package mdns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Bounds of a [Cache], and its grace.
const (
	// CacheSize is the most records a Cache holds.
	CacheSize = 10000
	// CacheQuota is the most records that one sender may have in it.
	CacheQuota = 4096
	// CacheBytes is the most bytes of names and rdata in a Cache, a quarter of it
	// the most of one sender. With CacheSize entries it stays below 10 MB.
	CacheBytes = 3 << 20
	// Grace is how long a flushed or withdrawn record lives on (RFC 6762 sections
	// 10.1, 10.2).
	Grace = time.Second
	// LostTTL is how long what was heard on a link outlives its carrier, and
	// RestartTTL how long it has to be confirmed when that is back (section 10.3).
	LostTTL    = 5 * time.Second
	RestartTTL = 3 * time.Second

	refreshTries = 4
)

// CacheStats counts what a [Cache] holds and refused.
type CacheStats struct {
	// Records of so many Sources are held, Bytes long with their names.
	Records, Sources, Bytes int
	// Evicted records made room: of the sender with the most records the one that
	// is nearest to its end goes first. OverQuota ones were not taken from a sender
	// that has CacheQuota of them, or a quarter of CacheBytes, already.
	Evicted, OverQuota uint64
}

// Cache holds the records that others sent on one link (RFC 6762 section 10).
type Cache struct {
	rnd     *rand.Rand
	sets    map[string][]*entry // by folded name, in order of arrival
	count   int
	index   index
	oldest  map[string]time.Time // of names with many entries; see young
	shares  *shares
	stats   CacheStats
	next    time.Time // of any entry
	stale   bool      // next must be computed anew
	scanned time.Time // when it was, for a large cache
	changes []Change
	refresh []Question
	wanted  func(Record) bool
	trace   *trace

	disputes []Question // to ask about records in doubt
	doubtAt  time.Time  // when that begins for the newest of them
}

type entry struct {
	record Record
	from   netip.Addr
	also   []netip.Addr // who else sent it, the last three
	heard  time.Time
	expire time.Time
	reason Reason // why it will go
	tries  int    // refresh queries sent
	ask    time.Time
	doubt  doubt
	missed missed
	payer  *source // whose share it is in, at slot
	slot   int
	chain  *entry // of the index
}

// NewCache returns an empty Cache. wanted tells which records somebody is still
// interested in: only those are refreshed (RFC 6762 section 5.2).
func NewCache(rnd *rand.Rand, wanted func(Record) bool) *Cache {
	return &Cache{rnd: rnd, sets: make(map[string][]*entry), index: newIndex(), oldest: make(map[string]time.Time), shares: newShares(), wanted: wanted}
}

// Insert takes one record of a response.
func (c *Cache) Insert(now time.Time, from netip.Addr, r Record) {
	if r.Type == dns.TypeANY || r.Class != dns.ClassINET {
		return
	}
	c.stale = true
	replaced := r.Flush && r.TTL > 0 && c.flush(now, from, r)
	name := foldName(r.Name)
	if e := c.index.find(r); e != nil {
		if r.TTL == 0 {
			// A goodbye leaves a second in which another holder may speak up.
			c.end(now, e, from, Goodbye)
			return
		}
		c.heardFrom(now, e, from)
		e.record, e.from, e.heard = r, from, now
		c.schedule(e)
		return
	}
	if r.TTL == 0 {
		return
	}
	if c.shares.spent(from, r.size()) {
		c.stats.OverQuota++
		return
	}
	for c.count > 0 && (c.count >= CacheSize || c.shares.bytes+r.size() > CacheBytes) {
		c.stats.Evicted++
		c.remove(c.shares.victim(), Evicted)
	}
	e := &entry{record: r, from: from, heard: now}
	c.schedule(e)
	c.sets[name] = append(c.sets[name], e)
	c.index.add(e)
	c.shares.add(e, from)
	c.count++
	op := Add
	if replaced {
		op = Update
	}
	c.changes = append(c.changes, Change{Op: op, Record: r, From: from})
}

// flush marks the other records of r's unique set that were heard more than a
// second ago to go in a second (RFC 6762 section 10.2), and reports whether one
// has data other than r's.
func (c *Cache) flush(now time.Time, from netip.Addr, r Record) (replaced bool) {
	if c.young(now, r) {
		return false
	}
	for _, e := range c.sets[foldName(r.Name)] {
		if now.Sub(e.heard) <= Grace || !sameSet(e.record, r) || sameRecord(e.record, r) {
			continue
		}
		replaced = true
		c.end(now, e, from, Flushed)
	}
	return replaced
}

// schedule sets when e goes and when it should be asked for again.
func (c *Cache) schedule(e *entry) {
	e.expire, e.reason, e.tries = e.heard.Add(e.life()), Expired, 0
	e.doubt, e.missed = doubt{last: e.doubt.last}, missed{}
	c.plan(e)
}

func (e *entry) life() time.Duration { return time.Duration(e.record.TTL) * time.Second }

// plan sets the next refresh: at 80, 85, 90 and 95 % of the life, each plus up to
// 2 % so that not all queriers ask at once (RFC 6762 section 5.2).
func (c *Cache) plan(e *entry) {
	if e.tries >= refreshTries {
		e.ask = time.Time{}
		return
	}
	permille := int64(800+50*e.tries) + c.rnd.Int64N(21)
	e.ask = e.heard.Add(e.life() / 1000 * time.Duration(permille))
}

func (c *Cache) remove(e *entry, why Reason) {
	name := foldName(e.record.Name)
	at := slices.Index(c.sets[name], e)
	set := slices.Delete(c.sets[name], at, at+1)
	if len(set) == 0 {
		delete(c.sets, name)
		delete(c.oldest, name)
	} else {
		c.sets[name] = set
	}
	c.index.remove(e)
	c.shares.drop(e)
	c.count--
	c.changes = append(c.changes, Change{Op: Remove, Reason: why, Record: e.record, From: e.from})
}

// each calls f for every entry, in an order that does not vary.
func (c *Cache) each(f func(*entry)) {
	names := make([]string, 0, len(c.sets))
	for name := range c.sets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, e := range slices.Clone(c.sets[name]) {
			f(e)
		}
	}
}

// HandleTimeout removes what has expired and asks for what is about to.
func (c *Cache) HandleTimeout(now time.Time) {
	if t, ok := c.NextTimeout(); !ok || now.Before(t) {
		return
	}
	c.eachDue(now, func(e *entry) {
		if !now.Before(e.expire) {
			c.remove(e, e.reason)
			return
		}
		if e.ask.IsZero() || now.Before(e.ask) {
			return
		}
		q := Question{e.record.Name, e.record.Type}
		if e.doubt.left > 0 {
			c.disputes = appendQuestion(c.disputes, q)
			e.asked(now)
			return
		}
		if c.wanted(e.record) {
			c.refresh = appendQuestion(c.refresh, q)
		}
		e.tries++
		c.plan(e)
	})
}

// NextTimeout reports when HandleTimeout has something to do.
func (c *Cache) NextTimeout() (t time.Time, ok bool) {
	if c.stale && c.count > coarseSize {
		return c.scanned.Add(coarseStep), true
	}
	if c.stale {
		c.scan(c.scanned)
	}
	return c.next, !c.next.IsZero()
}

// Lookup returns the records that answer q, as additions to nothing.
func (c *Cache) Lookup(q Question) []Change {
	var found []Change
	add := func(e *entry) {
		if e.record.answers(q) {
			found = append(found, Change{Op: Add, Record: e.record, From: e.from})
		}
	}
	for _, e := range c.sets[foldName(q.Name)] {
		add(e)
	}
	return found
}

// known returns the records that answer q and have more than half of their life
// left, with the life that is left, for the known answers of a query. Unique
// records are left out: who has one need not ask (RFC 6762 section 7.1). So are
// those that may be gone, which their owner is to confirm.
func (c *Cache) known(now time.Time, q Question) []Record {
	var known []Record
	for _, e := range c.sets[foldName(q.Name)] {
		left := e.expire.Sub(now)
		if !e.record.answers(q) || e.record.Flush || e.reason != Expired || e.doubt.on || left <= e.life()/2 {
			continue
		}
		r := e.record
		r.TTL = uint32(left / time.Second)
		known = append(known, r)
	}
	return known
}

// Shorten makes all records go within d: the link may be another one now (RFC
// 6762 section 10.3).
func (c *Cache) Shorten(now time.Time, d time.Duration) {
	c.stale = true
	c.each(func(e *entry) {
		if at := now.Add(d); at.Before(e.expire) {
			e.expire, e.reason, e.ask = at, LinkDown, time.Time{}
		}
	})
}

// Clear removes all records at once.
func (c *Cache) Clear(why Reason) {
	c.stale = true
	c.each(func(e *entry) { c.remove(e, why) })
}

// Stats returns the counters.
func (c *Cache) Stats() CacheStats {
	s := c.stats
	s.Records, s.Sources, s.Bytes = c.count, len(c.shares.by), c.shares.bytes
	return s
}

// take returns what changed and forgets it.
func (c *Cache) take() []Change { o := c.changes; c.changes = nil; return o }

// due returns the questions to ask again and forgets them.
func (c *Cache) due() []Question { o := c.refresh; c.refresh = nil; return o }
