package chat

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// maxLoose bounds the bytes of unfinished messages, and of those that wait for an
// earlier one.
const maxLoose = 1 << 20

// logbook keeps the messages of all authors, this member among them: the recent
// past, and what waits to be delivered.
type logbook struct {
	cfg     RoomConfig
	roster  *roster
	authors map[MemberID]*author
	// retired remembers up to where authors were delivered that had to go.
	retired  map[MemberID]uint64
	stamp    uint64 // the highest seen
	messages int    // delivered ones that are held
	bytes    int    // of these
	waiting  int    // bytes of complete messages that wait
	loose    int    // bytes of unfinished messages
	stats    *Stats
	tell     func(Event)
}

func newLogbook(cfg RoomConfig, r *roster, stats *Stats, tell func(Event)) *logbook {
	l := &logbook{
		cfg: cfg, roster: r, authors: make(map[MemberID]*author), retired: make(map[MemberID]uint64),
		stats: stats, tell: tell,
	}
	l.authors[r.self.ID] = &author{id: r.self.ID, name: r.self.Name, next: 1, begun: true, held: make(map[uint64]*record)}
	return l
}

// own returns this member as an author.
func (l *logbook) own() *author { return l.authors[l.roster.self.ID] }

// sorted returns the authors in the order of their IDs.
func (l *logbook) sorted() []*author {
	list := make([]*author, 0, len(l.authors))
	for _, a := range l.authors {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *author) int { return bytes.Compare(a.id[:], b.id[:]) })
	return list
}

// author returns the author id, a new one that begins at first if there is none,
// or nil when there is no room. exist is the highest sequence heard of.
func (l *logbook) author(now time.Time, id MemberID, first, exist uint64) *author {
	if a := l.authors[id]; a != nil {
		a.high = max(a.high, exist)
		return a
	}
	if len(l.authors) >= l.cfg.MaxMembers && !l.dropAuthor() {
		l.stats.Full++
		return nil
	}
	a := &author{id: id, next: first, high: exist, past: exist, held: make(map[uint64]*record), parts: make(map[uint64]*assembly), touch: now}
	if done, ok := l.retired[id]; ok {
		a.next, a.begun = done+1, true
		delete(l.retired, id)
	}
	l.authors[id] = a
	return a
}

// dropAuthor forgets the author longest silent who is not here, but for what was
// delivered, and reports whether there was one.
func (l *logbook) dropAuthor() bool {
	var idle *author
	for _, a := range l.sorted() {
		m := l.roster.members[a.id]
		if a == l.own() || m != nil && m.presence == present {
			continue
		}
		if idle == nil || a.touch.Before(idle.touch) {
			idle = a
		}
	}
	if idle == nil {
		return false
	}
	for s := range idle.held {
		l.remove(idle, s)
	}
	for s := range idle.parts {
		l.dropParts(idle, s)
	}
	if len(l.retired) >= 4*l.cfg.MaxMembers {
		clear(l.retired) // the oldest cannot be told; at worst some past is shown again
	}
	l.retired[idle.id] = idle.next - 1
	delete(l.authors, idle.id)
	return true
}

// say adds a message of this member and returns its sequence and record.
func (l *logbook) say(now time.Time, kind Kind, text string) (uint64, *record) {
	a := l.own()
	l.stamp++
	m := body{kind: kind, stamp: l.stamp, sent: uint64(max(now.UnixMilli(), 0)), name: a.name, text: text}
	sequence, rec := a.next, &record{bytes: m.append(nil), stamp: m.stamp}
	a.high, a.touch = sequence, now
	l.keep(a, sequence, rec)
	l.deliver(a)
	return sequence, rec
}

// first returns from where the messages of an author new to us are asked for, when
// those up to high exist.
func (l *logbook) first(high uint64) uint64 {
	switch recall := uint64(max(l.cfg.Recall, 0)); {
	case l.cfg.Recall < 0:
		return high + 1
	case high > recall:
		return high - recall + 1
	}
	return 1
}

// claim takes what a member claims to have of an author, and returns the author if
// that is of interest.
func (l *logbook) claim(now time.Time, from MemberID, c claim) *author {
	if c.author == from && c.delivered == 0 && c.high == 0 { // all that it will say is news
		if a := l.author(now, from, 1, 0); a != nil {
			a.begun = true
		}
		return nil
	}
	if c.author == l.roster.self.ID || c.low == 0 || c.low > c.high {
		return nil
	}
	return l.author(now, c.author, l.first(c.high), c.high)
}

// piece takes a piece of a message and reports whether it was of use.
func (l *logbook) piece(now time.Time, p *piece) (a *author, useful bool) {
	// A message of an author we know nothing of: the hellos will say more.
	before := p.sequence - 1
	if a = l.author(now, p.author, l.first(before), before); a == nil {
		return nil, false
	}
	a.touch = now
	if a.high < p.sequence {
		a.high = p.sequence
	}
	if !a.wanted(p.sequence) {
		l.stats.Duplicate++
		return a, false
	}
	s := a.parts[p.sequence]
	if s == nil {
		s = &assembly{count: int(p.count), pieces: make([][]byte, p.count)}
		a.parts[p.sequence] = s
	}
	if s.count != int(p.count) || !s.add(p) {
		l.stats.Duplicate++
		return a, false
	}
	s.touch = now
	l.loose += len(p.bytes)
	if s.complete() {
		l.finish(a, p.sequence, s)
	}
	for l.loose > maxLoose && l.dropOldestParts() {
		l.stats.Full++
	}
	return a, true
}

// finish makes a record of a complete message and delivers what can be delivered.
func (l *logbook) finish(a *author, sequence uint64, s *assembly) {
	l.dropParts(a, sequence)
	rec := &record{bytes: s.join()}
	if sequence > a.next && l.waiting+len(rec.bytes) > maxLoose {
		l.stats.Full++ // it is asked for again when its turn has come
		return
	}
	if m, err := parseBody(rec.bytes); err == nil {
		rec.stamp = m.stamp
		l.stamp = max(l.stamp, m.stamp)
	}
	l.keep(a, sequence, rec)
	if sequence < a.next { // it was lost
		l.done(a, sequence, true)
		l.evict()
		return
	}
	l.deliver(a)
}

// keep keeps a complete message.
func (l *logbook) keep(a *author, sequence uint64, rec *record) {
	a.held[sequence] = rec
	if sequence >= a.next {
		l.waiting += len(rec.bytes)
	}
}

// deliver tells what is next of an author, as far as it is there.
func (l *logbook) deliver(a *author) {
	for rec := a.held[a.next]; rec != nil; rec = a.held[a.next] {
		l.waiting -= len(rec.bytes)
		a.next++
		a.begun = true
		l.done(a, a.next-1, false)
	}
	l.evict()
}

// done tells a message.
func (l *logbook) done(a *author, sequence uint64, late bool) {
	rec := a.held[sequence]
	l.messages++
	l.bytes += len(rec.bytes)
	if m, ok := l.message(a, sequence, rec); ok {
		m.Late = late
		a.name = m.From.Name
		l.tell(m)
	} else {
		l.stats.Garbage++
	}
}

// message returns a record as it is shown.
func (l *logbook) message(a *author, sequence uint64, rec *record) (Message, bool) {
	m, err := parseBody(rec.bytes)
	if err != nil {
		return Message{}, false
	}
	from := l.roster.shown(a.id, heardName(m.name))
	return Message{
		From: from, Sequence: sequence, Kind: m.kind, Text: strings.ToValidUTF8(m.text, "\uFFFD"),
		Sent: time.UnixMilli(int64(m.sent)).UTC(), Stamp: m.stamp, Past: sequence <= a.past && a != l.own(), Own: a == l.own(),
	}, true
}

// give gives up what is missing before to.
func (l *logbook) give(a *author, to uint64) {
	for s := range a.parts {
		if s < to {
			l.dropParts(a, s)
		}
	}
	s := a.lose(to)
	if a.begun { // else it was before we came
		l.tell(Lost{From: l.roster.shown(a.id, a.name), First: s.first, Last: s.last})
	}
	l.deliver(a)
}

// evict makes the history as small as it must be: the oldest by stamp goes.
func (l *logbook) evict() {
	for l.messages > l.cfg.History || l.bytes > l.cfg.HistoryBytes {
		var from *author
		var oldest uint64
		for _, a := range l.sorted() {
			low := a.low()
			if low == 0 || low >= a.next {
				continue
			}
			if from == nil || a.held[low].stamp < from.held[oldest].stamp {
				from, oldest = a, low
			}
		}
		if from == nil {
			return
		}
		l.remove(from, oldest)
		l.stats.Evicted++
	}
}

// remove forgets a complete message.
func (l *logbook) remove(a *author, sequence uint64) {
	n := len(a.held[sequence].bytes)
	delete(a.held, sequence)
	if sequence >= a.next {
		l.waiting -= n
		return
	}
	l.messages--
	l.bytes -= n
}

func (l *logbook) dropParts(a *author, sequence uint64) {
	l.loose -= a.parts[sequence].size
	delete(a.parts, sequence)
}

// dropOldestParts forgets the unfinished message that was longest without a piece.
func (l *logbook) dropOldestParts() bool {
	var from *author
	var oldest uint64
	for _, a := range l.sorted() {
		for s, p := range a.parts {
			if from == nil || p.touch.Before(from.parts[oldest].touch) || from == a && s < oldest && p.touch.Equal(from.parts[oldest].touch) {
				from, oldest = a, s
			}
		}
	}
	if from == nil {
		return false
	}
	l.dropParts(from, oldest)
	return true
}

// history returns the messages that are held and delivered, by stamp.
func (l *logbook) history() (all []Message) {
	for _, a := range l.sorted() {
		for s, rec := range a.held {
			if s >= a.next {
				continue
			}
			if m, ok := l.message(a, s, rec); ok {
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, Message.Compare)
	return all
}
