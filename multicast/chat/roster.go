package chat

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

const (
	// missedBeats is how many hellos a member may miss before it counts as gone.
	// At 20 % loss one in 3,000 is missed so often by chance.
	missedBeats = 5
	// The interval that a hello may announce.
	minInterval, maxInterval = 100 * time.Millisecond, time.Minute
	// maxCandidates bounds the senders that have not shown to hear us.
	maxCandidates = 256
	// forgetAfter is how long a member that is gone is remembered.
	forgetAfter = 10 * time.Minute
	// What one sender may send: packets a second, and at once.
	senderRate, senderBurst = 300, 300
)

// presence is where a member is.
type presence int

const (
	candidate presence = iota // heard, but has not shown to hear us
	present
	vanished
	gone // said goodbye
)

// member is what a room keeps of another member.
type member struct {
	id       MemberID
	name     string
	presence presence
	beat     uint64
	since    time.Time // of the first hello
	heard    time.Time
	interval time.Duration
	isNew    bool // it said so
	hearsUs  bool // a hello of its listed us
	tokens   bucket
	listed   listing
	// claims are what it last said to have, by author.
	claims map[MemberID]claim
}

// due is when the member has missed too many hellos.
func (m *member) due() time.Time { return m.heard.Add(missedBeats * m.interval) }

// roster keeps who is in the room.
type roster struct {
	self    Member
	proof   bool // members must show to hear us
	limit   int
	members map[MemberID]*member
	// wake is when expire has something to do, or earlier; zero is never.
	wake  time.Time
	stats *Stats
	tell  func(Event)
}

func newRoster(self Member, proof bool, limit int, stats *Stats, tell func(Event)) *roster {
	return &roster{self: self, proof: proof, limit: limit, members: make(map[MemberID]*member), stats: stats, tell: tell}
}

// sorted returns the members in the order of their IDs, so that nothing depends on
// the order of a map.
func (r *roster) sorted() []*member {
	list := make([]*member, 0, len(r.members))
	for _, m := range r.members {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b *member) int { return bytes.Compare(a.id[:], b.id[:]) })
	return list
}

// present returns the members that are here, in the order of their IDs.
func (r *roster) present() []*member {
	return slices.DeleteFunc(r.sorted(), func(m *member) bool { return m.presence != present })
}

func (r *roster) count() (n int) {
	for _, m := range r.members {
		if m.presence == present {
			n++
		}
	}
	return n
}

// hello takes a hello and reports whether its sender is new to us, and whether it
// is later than the last one.
func (r *roster) hello(now time.Time, from MemberID, h *hello) (news, fresh bool) {
	m := r.members[from]
	switch {
	case h.beat == 0: // they count from 1
		r.stats.Garbage++
		return false, false
	case m != nil && !m.tokens.take(now):
		r.stats.Rate++
		return false, false
	case m == nil:
		if !r.makeRoom() {
			r.stats.Full++
			return false, false
		}
		m = &member{id: from, name: heardName(h.name), since: now, tokens: newBucket(now, senderRate, senderBurst)}
		r.members[from] = m
		news = true
	}
	if h.beat <= m.beat { // overtaken by a later one, or by the goodbye
		return false, false
	}
	m.beat, m.heard = h.beat, now
	m.interval = min(max(time.Duration(min(h.interval, 1<<32))*time.Millisecond, minInterval), maxInterval)
	r.wakeAt(m.expiry())
	m.isNew = h.flags&flagNew != 0
	m.hearsUs = m.hearsUs || slices.ContainsFunc(h.claims, func(c claim) bool { return c.author == r.self.ID })
	if r.proof && !m.hearsUs {
		return news, true
	}
	r.note(m, h.claims)
	r.here(m)
	return news, true
}

// note keeps the claims of a member. A hello of a large room has only some of
// them, so the earlier ones stay; their number is bounded as that of the authors.
func (r *roster) note(m *member, claims []claim) {
	if m.claims == nil {
		m.claims = make(map[MemberID]claim, len(claims))
	}
	for _, c := range claims {
		if _, known := m.claims[c.author]; !known && len(m.claims) >= 2*r.limit {
			r.stats.Full++
			continue
		}
		m.claims[c.author] = c
	}
}

// here makes m present and tells so.
func (r *roster) here(m *member) {
	was := m.presence
	m.presence = present
	switch was {
	case candidate:
		r.tell(Joined{Member: r.shown(m.id, m.name), New: m.isNew})
	case vanished, gone:
		r.tell(Returned{r.shown(m.id, m.name)})
	}
}

// goodbye takes a goodbye.
func (r *roster) goodbye(now time.Time, from MemberID, g *goodbye) {
	m := r.members[from]
	if m == nil || g.beat <= m.beat {
		return
	}
	m.beat, m.heard = g.beat, now
	switch m.presence {
	case candidate:
		delete(r.members, from)
	case present, vanished:
		was := r.shown(m.id, m.name)
		m.presence, m.claims = gone, nil
		r.tell(Left{was})
	}
}

// admit reports whether a packet other than a hello is taken from a sender: it
// must be a member and keep to its rate. It is a sign of life.
func (r *roster) admit(now time.Time, from MemberID) bool {
	m := r.members[from]
	switch {
	case m == nil || m.presence == candidate || m.presence == gone:
		r.stats.Unproven++
		return false
	case !m.tokens.take(now):
		r.stats.Rate++
		return false
	}
	m.heard = now
	if m.presence == vanished {
		r.here(m)
	}
	return true
}

// makeRoom makes room for one more sender: candidates replace the oldest of their
// kind, else whoever is gone for longest goes.
func (r *roster) makeRoom() bool {
	candidates, others := 0, 0
	var oldest, absent *member
	for _, m := range r.sorted() {
		switch m.presence {
		case candidate:
			candidates++
			if oldest == nil || m.since.Before(oldest.since) {
				oldest = m
			}
		case present:
			others++
		default:
			others++
			if absent == nil || m.heard.Before(absent.heard) {
				absent = m
			}
		}
	}
	if candidates >= maxCandidates {
		r.stats.Full++
		delete(r.members, oldest.id)
	}
	if others < r.limit {
		return true
	}
	if absent == nil {
		return false
	}
	delete(r.members, absent.id)
	return true
}

// expiry is when silence changes what m is, or m is forgotten.
func (m *member) expiry() time.Time {
	if m.presence == vanished || m.presence == gone {
		return m.heard.Add(forgetAfter)
	}
	return m.due()
}

// wakeAt makes sure that expire is called at t.
func (r *roster) wakeAt(t time.Time) {
	if r.wake.IsZero() || t.Before(r.wake) {
		r.wake = t
	}
}

// expire does what is due at now.
func (r *roster) expire(now time.Time) {
	if r.wake.IsZero() || r.wake.After(now) {
		return
	}
	for _, m := range r.sorted() {
		switch {
		case m.expiry().After(now):
		case m.presence == present:
			was := r.shown(m.id, m.name)
			m.presence = vanished
			r.tell(Vanished{was})
		default:
			delete(r.members, m.id)
		}
	}
	r.wake = time.Time{}
	for _, m := range r.members {
		r.wakeAt(m.expiry())
	}
}

// next returns when expire must be called.
func (r *roster) next() (at time.Time, ok bool) { return r.wake, !r.wake.IsZero() }

// shown returns how a member is to be shown: with a part of its ID where somebody
// else who is here has the same name.
func (r *roster) shown(id MemberID, name string) Member {
	same := id != r.self.ID && name == r.self.Name
	for _, m := range r.members {
		same = same || m.presence == present && m.id != id && m.name == name
	}
	label := name
	if same {
		label += "#" + id.String()[:4]
	}
	return Member{ID: id, Name: name, Label: label}
}

// oneWay returns how many have been heard for so long that they should have listed
// us, and have not.
func (r *roster) oneWay() (n int) {
	for _, m := range r.members {
		if (m.presence == candidate || m.presence == present) && !m.hearsUs && m.heard.Sub(m.since) > missedBeats*m.interval {
			n++
		}
	}
	return n
}

// list returns this member and those present, by name.
func (r *roster) list() []Member {
	all := []Member{r.shown(r.self.ID, r.self.Name)}
	for _, m := range r.present() {
		all = append(all, r.shown(m.id, m.name))
	}
	slices.SortFunc(all, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return all
}

// bucket is a token bucket: rate tokens a second, at most burst.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

func newBucket(now time.Time, rate, burst float64) bucket {
	return bucket{rate: rate, burst: burst, tokens: burst, at: now}
}

func (b *bucket) fill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.burst, b.tokens+d.Seconds()*b.rate)
		b.at = now
	}
}

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	b.fill(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// next returns when there is a token.
func (b *bucket) next() time.Time {
	if b.tokens >= 1 {
		return b.at
	}
	return b.at.Add(time.Duration((1 - b.tokens) / b.rate * float64(time.Second))).Add(time.Microsecond)
}
