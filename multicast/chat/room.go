package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aether-lan/aether/multicast/seal"
)

// ErrText says that a text is empty or longer than [MaxText].
var ErrText = errors.New("a message has 1 to 63,904 bytes")

// ErrLeft says that the member has left the room.
var ErrLeft = errors.New("the room was left")

// Packet is a datagram, received or to be sent to the group.
type Packet struct{ Data []byte }

const (
	// joinHellos ask others to answer; joinSoon is how fast the first two follow
	// each other, in case one is lost.
	joinHellos              = 3
	joinSoon                = 250 * time.Millisecond
	helloGap                = 200 * time.Millisecond // between hellos that were asked for
	tellSoon                = 400 * time.Millisecond // after a message, so that its loss is noticed
	sureEvery               = 400 * time.Millisecond // while flushing
	answerLeast             = 50 * time.Millisecond
	answerSpread            = 10 * time.Millisecond // a member
	shareOfMember           = 100 * time.Millisecond
	goodbyes                = 3 // in case some are lost
	goodbyeEvery            = 60 * time.Millisecond
	helloSize               = 1000 // bytes of the claims of a hello, at most
	freshCandidate          = time.Second
	jitterParts, jitterOf   = 2, 10 // beats vary by a fifth
	mostMembersForAnswering = 64
)

// Room is one member's part in a room, as a value: it has no goroutine, clock or
// socket. Package internal/loop drives it, or a simulation.
type Room struct {
	cfg    RoomConfig
	env    *envelope
	roster *roster
	log    *logbook
	mend   *repairs
	out    *outbox
	pulse  pulse
	flush  flush
	stats  *Stats
	ready  []Packet
	events []Event
}

// pulse is when hellos are said, and at the end goodbyes.
type pulse struct {
	beat   uint64
	next   time.Time
	last   time.Time
	byes   int // goodbyes to say
	ending bool
}

// flush is whether the user waits until all have what was said.
type flush struct {
	on   bool
	next time.Time
}

// NewRoom enters a room: the first hello is ready to be sent. It fails when a name
// cannot be used, or the randomness of cfg fails.
func NewRoom(now time.Time, cfg RoomConfig) (*Room, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("chat: new room: %w", err)
	}
	env, err := newEnvelope(cfg.Room, cfg.Secret, cfg.MaxMembers, cfg.Random)
	if err != nil {
		return nil, fmt.Errorf("chat: new room: %w", err)
	}
	r := &Room{cfg: cfg, env: env, stats: &Stats{}}
	self := Member{ID: env.self, Name: cfg.Name, Label: cfg.Name}
	r.roster = newRoster(self, env.sealed(), cfg.MaxMembers, r.stats, r.tell)
	r.log = newLogbook(cfg, r.roster, r.stats, r.tell)
	r.mend = newRepairs(r.stats)
	r.out = &outbox{tokens: newBucket(now, sendRate, sendBurst)}
	r.hello(now)
	r.send(now)
	return r, nil
}

func (r *Room) tell(e Event) { r.events = append(r.events, e) }

// Self returns this member.
func (r *Room) Self() Member { return r.roster.shown(r.roster.self.ID, r.roster.self.Name) }

// Members returns who is here, this member among them, by name.
func (r *Room) Members() []Member { return r.roster.list() }

// History returns the messages that are kept, sorted by [Message.Compare].
func (r *Room) History() []Message { return r.log.history() }

// Stats returns the counters.
func (r *Room) Stats() Stats {
	st := *r.stats
	st.OneWay = r.roster.oneWay()
	return st
}

// Say says text to the room. The message comes back as an event at once. It fails
// with [ErrText], [ErrBusy] or [ErrLeft].
func (r *Room) Say(now time.Time, text string) error { return r.speak(now, KindSay, text) }

// Act tells the room what this member does: "waves". It fails as [Room.Say] does.
func (r *Room) Act(now time.Time, text string) error { return r.speak(now, KindAction, text) }

func (r *Room) speak(now time.Time, kind Kind, text string) error {
	text = strings.ToValidUTF8(text, "\uFFFD")
	switch {
	case r.pulse.ending:
		return fmt.Errorf("chat: say: %w", ErrLeft)
	case text == "" || len(text) > MaxText:
		return fmt.Errorf("chat: say: %w", ErrText)
	case len(r.out.pieces) > maxQueue-maxPieces:
		return fmt.Errorf("chat: say: %w", ErrBusy)
	}
	sequence, rec := r.log.say(now, kind, text)
	r.out.message(r.env.self, sequence, rec)
	r.soon(now, tellSoon)
	r.send(now)
	return nil
}

// Flush asks the others what they have; [Settled] follows when everybody present
// has all that was said here. It does not while nobody is present, unless nothing
// was said.
func (r *Room) Flush(now time.Time) {
	r.flush = flush{on: true, next: now}
	r.settle()
	r.HandleTimeout(now)
}

// settle ends a flush when there is nothing to wait for.
func (r *Room) settle() {
	if !r.flush.on {
		return
	}
	if unsettled, heard := r.unsettled(); unsettled > 0 || !heard {
		return
	}
	r.flush = flush{}
	r.tell(Settled{})
}

// Unsettled returns how many members present have not all that was said here.
func (r *Room) Unsettled() int { n, _ := r.unsettled(); return n }

func (r *Room) unsettled() (n int, heard bool) {
	said := r.log.own().next - 1
	if said == 0 {
		return 0, true
	}
	for _, m := range r.roster.members {
		switch {
		case m.presence == present:
			heard = true
			if m.claims[r.env.self].delivered < said {
				n++
			}
		case m.presence == candidate && r.pulse.last.Sub(m.since) < freshCandidate:
			n++
		}
	}
	return n, heard
}

// Leave says goodbye. Packets are no longer taken; what is left to send is ready
// within a fifth of a second.
func (r *Room) Leave(now time.Time) {
	if r.pulse.ending {
		return
	}
	r.pulse.ending, r.pulse.byes, r.pulse.next = true, goodbyes, now
	r.out.controls, r.out.pieces = nil, nil
	r.flush = flush{}
	clear(r.mend.owed)
	r.HandleTimeout(now)
}

// HandlePacket takes a datagram from the group. Whatever is not of this room, not
// authentic, replayed or malformed is counted and changes nothing else.
func (r *Room) HandlePacket(now time.Time, p Packet) {
	if r.pulse.ending {
		return
	}
	m, from, err := r.env.unwrap(p.Data)
	if err != nil {
		r.refuse(err)
		return
	}
	switch m := m.(type) {
	case *hello:
		r.handleHello(now, from, m)
	case *goodbye:
		r.roster.goodbye(now, from, m)
	case *piece:
		if r.roster.admit(now, from) {
			r.handlePiece(now, from, m)
		}
	case *request:
		if r.roster.admit(now, from) {
			r.request(now, m)
		}
	}
	r.settle()
	r.send(now)
}

// handleHello takes a hello and looks what its sender has that we miss.
func (r *Room) handleHello(now time.Time, from MemberID, h *hello) {
	newly := r.newClaims(from, h.claims)
	news, fresh := r.roster.hello(now, from, h)
	if news || fresh && h.flags&(flagNew|flagSure) != 0 {
		n := min(r.roster.count(), mostMembersForAnswering)
		r.soon(now, between(r.cfg.Rand, 0, answerLeast+time.Duration(n)*answerSpread))
	}
	if m := r.roster.members[from]; !fresh || m.presence != present {
		return
	}
	for _, c := range h.claims {
		a := r.log.claim(now, from, c)
		if a == nil {
			continue
		}
		a.seek(c)
		if newly[c.author] {
			a.ask = ask{}
		}
		r.plan(now, a)
	}
}

// newClaims returns the authors whose next message a member did not claim to have
// and does now.
func (r *Room) newClaims(from MemberID, claims []claim) map[MemberID]bool {
	newly := make(map[MemberID]bool)
	for _, c := range claims {
		a, m := r.log.authors[c.author], r.roster.members[from]
		if a == nil || c.low > a.next || a.next > c.high {
			continue
		}
		if m == nil || m.presence != present || m.claims[c.author].high < a.next {
			newly[c.author] = true
		}
	}
	return newly
}

// handlePiece takes a piece, of its author or repeated by another member.
func (r *Room) handlePiece(now time.Time, from MemberID, p *piece) {
	r.mend.heard(now, slot{p.author, p.sequence}, p.index)
	if p.author == r.env.self { // we know what we said
		return
	}
	a, useful := r.log.piece(now, p)
	switch {
	case a == nil:
	case useful:
		r.progress(now, a, p.sequence)
	default:
		if rec := a.held[p.sequence]; rec != nil && from != a.id {
			rec.repaired = now
		}
	}
}

// refuse counts a datagram that was not taken.
func (r *Room) refuse(err error) {
	switch {
	case errors.Is(err, errForeign):
		r.stats.Foreign++
	case errors.Is(err, errOwn):
		r.stats.Own++
	case errors.Is(err, errMark):
		r.stats.Mark++
	case errors.Is(err, seal.ErrNotAuthentic):
		r.stats.OtherKey++
	case errors.Is(err, seal.ErrReplay):
		r.stats.Replayed++
	case errors.Is(err, seal.ErrFull):
		r.stats.Full++
	default:
		r.stats.Garbage++
	}
}

// HandleTimeout does what is due.
func (r *Room) HandleTimeout(now time.Time) {
	if r.pulse.ending {
		r.bye(now)
		r.send(now)
		return
	}
	r.roster.expire(now)
	r.askAll(now)
	if r.flush.on && !r.flush.next.After(now) {
		r.flush.next = now.Add(sureEvery)
		r.hello(now)
	} else if !r.pulse.next.After(now) {
		r.hello(now)
	}
	r.settle()
	r.send(now)
}

// NextTimeout returns when HandleTimeout must be called.
func (r *Room) NextTimeout() (at time.Time, ok bool) {
	earliest := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if !r.out.idle() {
		earliest(r.out.tokens.next())
	}
	if r.pulse.ending {
		if r.pulse.byes > 0 {
			earliest(r.pulse.next)
		}
		return at, ok
	}
	earliest(r.pulse.next)
	if r.flush.on {
		earliest(r.flush.next)
	}
	if t, any := r.roster.next(); any {
		earliest(t)
	}
	if t, any := r.mend.next(); any {
		if next := r.out.tokens.next(); t.Before(next) {
			t = next
		}
		earliest(t)
	}
	for _, a := range r.log.authors {
		if !a.ask.at.IsZero() {
			earliest(a.ask.at)
		}
	}
	return at, ok
}

// Outgoing returns the datagrams to send to the group and forgets them.
func (r *Room) Outgoing() []Packet {
	list := r.ready
	r.ready = nil
	return list
}

// Events returns what happened and forgets it.
func (r *Room) Events() []Event {
	list := r.events
	r.events = nil
	return list
}

// send puts as much into datagrams as the pace allows.
func (r *Room) send(now time.Time) {
	for {
		r.out.tokens.fill(now)
		if r.out.tokens.tokens < 1 {
			return
		}
		p := r.out.take()
		if p == nil {
			p = r.nextRepair(now)
		}
		if p == nil {
			return
		}
		r.out.tokens.take(now)
		b, err := r.env.wrap(p)
		if err != nil { // after 2^64 packets
			return
		}
		r.ready = append(r.ready, Packet{Data: b})
	}
}

// nextRepair returns a piece that is due to be repeated, or nil.
func (r *Room) nextRepair(now time.Time) packet {
	for {
		s, index, ok := r.mend.take(now)
		if !ok {
			return nil
		}
		a := r.log.authors[s.author]
		if a == nil || a.held[s.sequence] == nil { // evicted meanwhile
			continue
		}
		rec := a.held[s.sequence]
		rec.repaired = now
		r.stats.Repairs++
		return rec.piece(s.author, s.sequence, index)
	}
}
