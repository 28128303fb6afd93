package records

import (
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/dht"
)

// maxWindow bounds the bytes of writes that some member has not got: a member that is
// farther behind gets the records anew in the next epoch.
const maxWindow = 8 << 20

// lead is what the leader of a group knows beyond its members. It alone evaluates
// requests, in the order in which they come; an outcome is told when all writes that
// it saw are on a majority, and, for reads, a majority has said after it came that
// the epoch is still open.
type lead struct {
	r         *replica
	followers []*follower // the other members
	handed    int64       // writes that the disk was given; -1: not even the group
	saved     int64       // writes that it has; -1 likewise
	committed uint64
	window    window
	writes    []waiter // wait for their write to be committed, by its number
	reads     reads
	soon      dueHeap // what expires
	// established: a majority of the members are active in this epoch.
	established bool
	repair      time.Time // when a member was first found behind or without records
}

// follower is another member, as its leader knows it.
type follower struct {
	peer      dht.Peer
	acked     int64 // writes that it has on disk; -1 if it is not known to have any
	sent      uint64
	missing   bool // it lacks the group's first records
	behind    bool // or writes that the window has no more
	full      bool
	due       time.Time // to send again; zero: nothing is awaited
	wait      time.Duration
	confirmed uint64 // the last round
}

// window holds the writes from number first on.
type window struct {
	first uint64
	list  []Entry
	bytes int
}

// waiter is a request whose outcome is known and not yet to be told.
type waiter struct {
	resp Response
	to   dht.Peer // who asked; zero: the node's own user
	seq  uint64   // the write that must be committed
	till time.Time
}

// reads are the waiters that need a round of confirmation.
type reads struct {
	round   uint64
	at      time.Time // when it was asked; zero: no round is under way
	asked   []waiter  // this round is for them
	waiting []waiter  // they came after it began
}

func (e *Engine) newLead(r *replica) *lead {
	l := &lead{r: r, handed: -1, saved: -1, window: window{first: r.seq + 1}, committed: r.seq}
	for _, p := range r.group.Members {
		if p.ID != e.cfg.Self.ID {
			l.followers = append(l.followers, &follower{peer: p, acked: -1, sent: r.seq, due: e.now, wait: e.cfg.Resend})
		}
	}
	for _, i := range r.shelf.items {
		// A lease is counted in full by a new leader, from now on.
		if i.rec.Holder != "" {
			i.got, i.left = e.now, i.rec.TTL
		}
	}
	for _, n := range r.shelf.sorted() {
		l.schedule(r.shelf.items[n], e.cfg.Tombstone)
	}
	return l
}

// serve evaluates a request of a name in the arc.
func (e *Engine) serve(l *lead, q Request, key dht.ID, from dht.Peer) {
	if e.waiting >= e.cfg.MaxWaiting || l.window.bytes > maxWindow && q.Op.writes() {
		e.stats.Busy++
		e.answer(from, Response{ID: q.ID, Status: Busy, Text: "too many requests wait"})
		return
	}
	old := l.r.shelf.items[q.Name]
	if old != nil && e.expired(l, old) {
		old = l.r.shelf.items[q.Name]
	}
	var present *Record
	if old != nil {
		present = &old.rec
	}
	if e.broken == ForgetRequests && present != nil {
		c := *present
		c.memory = nil
		present = &c
	}
	f := evaluate(q, present)
	if f.write && !f.rec.Deleted && e.full(l) {
		e.stats.Full++
		e.answer(from, Response{ID: q.ID, Status: Full, Text: "no room for more records"})
		return
	}
	w := waiter{resp: Response{ID: q.ID, Status: f.status, Record: f.rec, Text: f.text}, to: from, till: e.now.Add(e.cfg.Patience)}
	switch {
	case f.write:
		if e.broken == DropUnknown {
			f.rec.Unknown = nil
		}
		w.resp.Record = e.store(l, f.rec, key)
		w.resp.Record.TTL = f.rec.TTL
	case f.renew:
		i := *old
		i.got, i.left = e.now, i.rec.TTL
		l.r.shelf.put(&i)
		l.schedule(&i, e.cfg.Tombstone)
	case old != nil && f.rec.TTL != 0:
		w.resp.Record.TTL = old.got.Add(old.left).Sub(e.now)
	}
	if f.lost != nil {
		e.stats.Merged++
		e.emit(Merged{Kept: f.rec, Dropped: *f.lost})
	}
	if i := l.r.shelf.items[q.Name]; i != nil {
		w.seq = i.seq
	}
	e.waiting++
	if f.write {
		l.writes = append(l.writes, w)
		e.commit(l)
		return
	}
	e.read(l, w)
}

// full reports whether no more is taken: this node or another member has no room.
func (e *Engine) full(l *lead) bool {
	if e.bytes() >= e.cfg.MaxBytes {
		return true
	}
	return slices.ContainsFunc(l.followers, func(f *follower) bool { return f.full })
}

// store makes rec the present record under its name, and a write of the group.
func (e *Engine) store(l *lead, rec Record, key dht.ID) Record {
	raw := AppendRecord(nil, rec)
	own, err := ParseRecord(rec.Name, raw)
	if err != nil {
		panic("records: a record of its own making does not parse: " + err.Error())
	}
	i := &item{rec: own, raw: raw, key: key, got: e.now, left: own.TTL, prev: l.r.shelf.items[rec.Name].done(l.committed)}
	l.append(Entry{Name: rec.Name, Record: raw})
	i.seq = l.r.seq + 1
	e.apply(l.r, i)
	l.schedule(i, e.cfg.Tombstone)
	e.dirty = true
	return own
}

// forget removes what is left of a deleted record: all members do, in the same place
// among the writes, so none of them holds what others have forgotten.
func (e *Engine) forget(l *lead, name string) {
	l.append(Entry{Name: name})
	e.applyForget(l.r, name)
	e.dirty = true
}

func (l *lead) append(n Entry) {
	l.window.list = append(l.window.list, n)
	l.window.bytes += len(n.Name) + len(n.Record) + 64
}

// expired deletes a record whose time is up. That is a write like any other: what a
// leader told to be gone is gone for the next one too.
func (e *Engine) expired(l *lead, i *item) bool {
	at, ok := i.expires()
	if !ok || e.now.Before(at) {
		return false
	}
	e.store(l, Record{
		Name: i.rec.Name, Version: i.rec.Version + 1, Deleted: true,
		Unknown: i.rec.Unknown, memory: i.rec.memory,
	}, i.key)
	e.stats.Expired++
	return true
}

// commit counts who has which writes on disk and answers what waited for it.
func (e *Engine) commit(l *lead) {
	acked := make([]int64, 0, MaxMembers)
	acked = append(acked, l.saved)
	for _, f := range l.followers {
		if f.missing {
			acked = append(acked, -1)
		} else {
			acked = append(acked, f.acked)
		}
	}
	if e.broken == AckBeforeDisk {
		acked[0] = int64(l.r.seq)
	}
	slices.Sort(acked)
	done := acked[len(acked)-l.r.group.majority()]
	if e.broken == AckAlone {
		done = l.saved
	}
	if done < 0 {
		return
	}
	if !l.established {
		l.established = true
		e.learn(Tiding{Group: l.r.group, Established: true})
		e.startRound(l)
	}
	if uint64(done) > l.committed {
		from := l.committed
		l.committed = uint64(done)
		e.tellWatches(l, from)
		for seq := max(from+1, l.window.first); seq <= l.committed; seq++ {
			if i := l.r.shelf.items[l.window.list[seq-l.window.first].Name]; i != nil && i.seq <= l.committed {
				i.prev = nil
			}
		}
		n := 0
		for n < len(l.writes) && l.writes[n].seq <= l.committed {
			e.finish(l.writes[n])
			n++
		}
		l.writes = slices.Delete(l.writes, 0, n)
	}
	l.trim()
}

// trim forgets writes that all members have, and, when there are too many, those that
// only some have: then those are behind.
func (l *lead) trim() {
	keep := l.committed + 1
	for _, f := range l.followers {
		switch have := uint64(max(f.acked, 0)); {
		case f.missing || f.behind:
		case l.window.bytes <= maxWindow/2:
			keep = min(keep, have+1)
		default:
			f.behind = have < l.committed
		}
	}
	w := &l.window
	n := 0
	for ; w.first < keep && n < len(w.list); n++ {
		w.bytes -= len(w.list[n].Name) + len(w.list[n].Record) + 64
		w.list[n] = Entry{}
		w.first++
	}
	w.list = w.list[n:]
	if len(w.list) == 0 {
		w.list, w.bytes = nil, 0
	}
}

// finish tells the outcome.
func (e *Engine) finish(w waiter) {
	e.waiting--
	e.answer(w.to, w.resp)
}

// read lets w wait for a round.
func (e *Engine) read(l *lead, w waiter) {
	if len(l.followers) == 0 && l.saved >= 0 || e.broken == ReadUnconfirmed {
		e.confirmed(l, w)
		return
	}
	l.reads.waiting = append(l.reads.waiting, w)
	e.startRound(l)
}

// confirmed answers a read whose round is over, if what it saw is committed.
func (e *Engine) confirmed(l *lead, w waiter) {
	if w.seq <= l.committed || e.broken == ReadUnconfirmed {
		e.finish(w)
		return
	}
	at, _ := slices.BinarySearchFunc(l.writes, w.seq+1, func(v waiter, seq uint64) int {
		if v.seq < seq {
			return -1
		}
		return 1
	})
	l.writes = slices.Insert(l.writes, at, w)
}

// startRound begins a round for all reads that wait, unless one is under way.
func (e *Engine) startRound(l *lead) {
	if !l.established || !l.reads.at.IsZero() || len(l.reads.waiting) == 0 {
		return
	}
	l.reads.round++
	l.reads.at = e.now
	l.reads.asked, l.reads.waiting = l.reads.waiting, l.reads.asked[:0]
	for _, f := range l.followers {
		e.send(f.peer, Confirm{l.r.ref, l.reads.round})
	}
	e.endRound(l)
}

// endRound ends the round when a majority has confirmed it.
func (e *Engine) endRound(l *lead) {
	n := 1
	for _, f := range l.followers {
		if f.confirmed == l.reads.round {
			n++
		}
	}
	if l.reads.at.IsZero() || n < l.r.group.majority() {
		return
	}
	l.reads.at = time.Time{}
	for _, w := range l.reads.asked {
		e.confirmed(l, w)
	}
	clear(l.reads.asked)
	l.reads.asked = l.reads.asked[:0]
	e.startRound(l)
}

// onConfirmed counts a member's word.
func (e *Engine) onConfirmed(from dht.Peer, m Confirmed) {
	l, f := e.follower(from, m.Of)
	if f == nil || m.Round != l.reads.round {
		return
	}
	f.confirmed = m.Round
	e.endRound(l)
}

// onWrote takes a member's word on what it has.
func (e *Engine) onWrote(from dht.Peer, m Wrote) {
	l, f := e.follower(from, m.Of)
	if f == nil {
		return
	}
	f.missing, f.full, f.wait = !m.Installed, m.Full, e.cfg.Resend
	if m.Seq > l.r.seq {
		e.refuse(from, "has writes that were never made")
		return
	}
	f.acked = max(f.acked, int64(m.Seq))
	if m.Seq+1 < l.window.first && m.Installed {
		f.behind = true
	}
	switch {
	case f.missing || f.behind:
		e.survey.due = e.now // it needs a new epoch
		f.due = time.Time{}
	case uint64(f.acked) >= l.r.seq:
		f.due = time.Time{}
	case m.Seq >= f.sent:
		f.due = e.now // there is more for it
	default:
		f.due = e.now.Add(f.wait)
	}
	e.commit(l)
	e.dirty = true
}

// follower returns the lead of the group and the follower that from is in it.
func (e *Engine) follower(from dht.Peer, of Ref) (*lead, *follower) {
	for _, l := range e.leads {
		if l.r.ref == of {
			for _, f := range l.followers {
				if f.peer.ID == from.ID {
					return l, f
				}
			}
		}
	}
	return nil, nil
}

// flush sends followers the writes that they have not been sent.
func (e *Engine) flush() {
	if !e.dirty {
		return
	}
	e.dirty = false
	for _, l := range e.leads {
		for _, f := range l.followers {
			if f.sent < l.r.seq && f.acked >= 0 && !f.missing && !f.behind {
				e.sendWrites(l, f, f.sent+1)
			}
		}
	}
}

// maxFlight bounds how many writes a member is sent ahead of what it has.
const maxFlight = 4096

// sendWrites sends the writes from number first on, as many as fit a message, and
// asks how far the follower is.
func (e *Engine) sendWrites(l *lead, f *follower, first uint64) {
	for {
		if first < l.window.first {
			first = l.r.seq + 1 // it cannot be served any more; ask
		}
		list, bytes := l.window.list[first-l.window.first:], 0
		n := 0
		for n < len(list) && n < maxEntries && bytes < maxPiece && first+uint64(n) <= uint64(max(f.acked, 0))+maxFlight {
			bytes += len(list[n].Record) + len(list[n].Name)
			n++
		}
		e.send(f.peer, Write{l.r.ref, first, l.established, slices.Clone(list[:n])})
		first += uint64(n)
		f.sent = max(f.sent, first-1)
		f.due = e.now.Add(f.wait)
		if n == 0 || first > l.r.seq || first > uint64(max(f.acked, 0))+maxFlight {
			return
		}
	}
}

// leadTimeout does what is due: sends again, ends waits, lets records expire.
func (e *Engine) leadTimeout(l *lead) {
	for _, f := range l.followers {
		if !f.due.IsZero() && !e.now.Before(f.due) {
			if f.acked >= 0 && f.sent == uint64(f.acked) {
				e.sendWrites(l, f, f.sent+1)
				continue
			}
			f.wait = min(2*f.wait, 25*e.cfg.Resend)
			f.sent = uint64(max(f.acked, 0))
			if f.acked < 0 {
				f.sent = l.r.seq
				e.send(f.peer, Write{l.r.ref, l.r.seq + 1, l.established, nil})
				f.due = e.now.Add(f.wait)
			} else {
				e.sendWrites(l, f, f.sent+1)
			}
		}
	}
	if at := l.reads.at; !at.IsZero() && !e.now.Before(at.Add(e.cfg.Resend)) {
		l.reads.at = e.now
		for _, f := range l.followers {
			if f.confirmed != l.reads.round {
				e.send(f.peer, Confirm{l.r.ref, l.reads.round})
			}
		}
	}
	l.writes = e.endWaits(l, l.writes)
	l.reads.asked = e.endWaits(l, l.reads.asked)
	l.reads.waiting = e.endWaits(l, l.reads.waiting)
	e.expireDue(l)
	e.commit(l)
}

// endWaits answers those who waited too long.
func (e *Engine) endWaits(l *lead, list []waiter) []waiter {
	if len(list) == 0 || !slices.ContainsFunc(list, func(w waiter) bool { return !e.now.Before(w.till) }) {
		return list
	}
	text := "no answer from " + e.silent(l)
	return slices.DeleteFunc(list, func(w waiter) bool {
		if e.now.Before(w.till) {
			return false
		}
		e.stats.NoMajority++
		w.resp = Response{ID: w.resp.ID, Status: NoMajority, Text: text}
		e.finish(w)
		return true
	})
}

// silent names the members that are missing.
func (e *Engine) silent(l *lead) string {
	var list []string
	for _, f := range l.followers {
		if f.acked < int64(l.r.seq) || f.missing || !l.reads.at.IsZero() && f.confirmed != l.reads.round {
			list = append(list, e.name(f.peer))
		}
	}
	if l.saved < int64(l.r.seq) {
		list = append(list, "the own disk")
	}
	return strings.Join(list, ", ")
}

// cede ends the lead: who waits is sent on. What they asked for may have been done;
// asked again under the same ID, the next leader knows.
func (e *Engine) cede(r *replica) {
	i := slices.IndexFunc(e.leads, func(l *lead) bool { return l.r == r })
	if i < 0 {
		return
	}
	l := e.leads[i]
	e.leads = slices.Delete(e.leads, i, i+1)
	for _, list := range [][]waiter{l.writes, l.reads.asked, l.reads.waiting} {
		for _, w := range list {
			w.resp = e.elsewhere(w.resp.ID, e.key(w.resp.Record.Name))
			e.finish(w)
		}
	}
	e.endWatches(r)
	e.emit(Ceded{r.group})
}

func (e *Engine) leading(l *lead) bool { return slices.Contains(e.leads, l) }
