package records

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/dht"
)

// Engine keeps records with the other members of the ring. It is a value: it has no
// clock, network, disk or goroutine; its methods must not run at the same time.
type Engine struct {
	cfg      Config
	now      time.Time
	rng      *rand.Rand
	broken   Mutation
	view     circle
	lineage  uint64 // the least heard of; 0 none
	known    known
	replicas []*replica
	leads    []*lead
	changes  []*change
	founding founding
	watches  watches
	moving   moving
	survey   survey
	disk     disk
	out      output
	stats    Stats
	rounds   uint64 // of ballots
	leaving  bool
	waiting  int  // requests
	dirty    bool // some follower may have to be sent writes
}

// output is what the engine has for others.
type output struct {
	packets []Packet
	own     []Message // to itself
	events  []Event
}

// New returns the engine of a node whose disk is empty. A node that kept anything
// before is made by [Restore]; a node that lost what it kept must come back under
// another ID, because others count on what it promised.
func New(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	e := &Engine{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, cfg.Self.Incarnation))}
	e.watches.names = map[string][]RequestID{}
	e.watches.all = map[RequestID]watch{}
	return e
}

// enter begins an input. Time that goes back stands still. What was restored counts
// its time from the first input on: no clock says for how long the node was away.
func (e *Engine) enter(now time.Time) {
	if e.now.IsZero() {
		for _, r := range e.replicas {
			for _, i := range r.shelf.items {
				i.got = now
			}
		}
	}
	if now.After(e.now) {
		e.now = now
	}
}

// drain takes what the engine sent to itself.
func (e *Engine) drain() {
	for len(e.out.own) > 0 {
		m := e.out.own[0]
		e.out.own = e.out.own[1:]
		e.take(e.cfg.Self, m)
	}
	e.out.own = nil
}

// HandleMessage takes a message of another node, which from proved to be.
func (e *Engine) HandleMessage(now time.Time, from dht.Peer, m Message) {
	e.enter(now)
	e.stats.Received++
	e.view.seen(from)
	e.take(from, m)
	e.drain()
}

func (e *Engine) take(from dht.Peer, m Message) {
	switch m := m.(type) {
	case Write:
		e.onWrite(from, m)
	case Wrote:
		e.onWrote(from, m)
	case Confirm:
		e.onConfirm(from, m)
	case Confirmed:
		e.onConfirmed(from, m)
	case Ask:
		e.do(m.Request, from)
	case Reply:
		e.onReply(from, m)
	case Arcs:
		e.onArcs(from, m)
	case Unheard:
		e.onUnheard(from, m)
	default:
		e.takeChange(from, m)
	}
}

// takeChange takes the messages by which groups are changed.
func (e *Engine) takeChange(from dht.Peer, m Message) {
	switch m := m.(type) {
	case Prepare:
		e.onPrepare(from, m)
	case Promise:
		e.onPromise(from, m)
	case Nack:
		e.onNack(from, m)
	case Gather:
		e.onGather(from, m)
	case Piece:
		e.onPiece(from, m)
	case Install:
		e.onInstall(from, m)
	case Installed:
		e.onInstalled(from, m)
	case Accept:
		e.onAccept(from, m)
	case Accepted:
		e.onAccepted(from, m)
	case Decided:
		e.onDecided(from, m)
	case Active:
		e.onActive(from, m)
	case Abandon:
		e.onAbandon(from, m)
	}
}

// Do does a request, or says where to go with it; the outcome is an event Answered,
// now or later, exactly one. Requests of other nodes and of clients come here too.
func (e *Engine) Do(now time.Time, q Request) {
	e.enter(now)
	if q.Op == merge {
		q.Op = 0 // not for users
	}
	e.do(q, dht.Peer{})
	e.drain()
}

// Forward sends a request to another node's engine. Its outcome is an event Answered
// if an answer comes; the caller waits for it no longer than it likes, and may send
// the request again, Again set.
func (e *Engine) Forward(now time.Time, to dht.Peer, q Request) {
	e.enter(now)
	e.send(to, Ask{q})
	e.drain()
}

// Leave says that this node is going to leave the ring. It goes on serving; when the
// ring has closed behind it, others take over what it keeps, and Idle becomes true.
func (e *Engine) Leave(now time.Time) {
	e.enter(now)
	e.leaving = true
	e.survey.due = e.now
}

// Idle reports whether this node keeps nothing for anybody: it may go for good.
func (e *Engine) Idle() bool {
	for _, r := range e.replicas {
		if r.phase != past {
			return false
		}
	}
	return true
}

func (e *Engine) onReply(from dht.Peer, m Reply) {
	if !e.movedRecord(from, m.Response) {
		e.emit(Answered(m))
	}
}

// answer tells the outcome of a request to who asked.
func (e *Engine) answer(to dht.Peer, p Response) {
	if to == (dht.Peer{}) {
		e.emit(Answered{p})
		return
	}
	e.send(to, Reply{p})
}

// HandleTimeout does what is due.
func (e *Engine) HandleTimeout(now time.Time) {
	e.enter(now)
	for _, l := range append([]*lead(nil), e.leads...) {
		e.leadTimeout(l)
	}
	e.changesTimeout()
	e.foundingTimeout()
	e.movingTimeout()
	e.surveyTimeout()
	e.drain()
}

// NextTimeout says when to call HandleTimeout.
func (e *Engine) NextTimeout() (time.Time, bool) {
	var d deadline
	for _, l := range e.leads {
		l.deadline(&d, e.cfg.Resend)
	}
	for _, c := range e.changes {
		d.at(c.due)
	}
	d.at(e.founding.due)
	d.at(e.moving.due())
	d.at(e.survey.due)
	return d.t, !d.t.IsZero()
}

// deadline is the earliest of some instants; zero ones do not count.
type deadline struct{ t time.Time }

func (d *deadline) at(t time.Time) {
	if !t.IsZero() && (d.t.IsZero() || t.Before(d.t)) {
		d.t = t
	}
}

func (l *lead) deadline(d *deadline, resend time.Duration) {
	for _, f := range l.followers {
		d.at(f.due)
	}
	if !l.reads.at.IsZero() {
		d.at(l.reads.at.Add(resend))
	}
	for _, list := range [...][]waiter{l.reads.asked, l.reads.waiting, l.writes} {
		if len(list) > 0 {
			d.at(list[0].till)
		}
	}
	if len(l.soon) > 0 {
		d.at(l.soon[0].at)
	}
}

// Outgoing returns the messages that may leave.
func (e *Engine) Outgoing() []Packet {
	e.flush()
	p := e.out.packets
	e.out.packets = nil
	return p
}

// Events returns what the user should hear.
func (e *Engine) Events() []Event {
	v := e.out.events
	e.out.events = nil
	return v
}

func (e *Engine) emit(v Event) { e.out.events = append(e.out.events, v) }

// send lets m leave at once, to where the node was last seen.
func (e *Engine) send(to dht.Peer, m Message) {
	if to.ID == e.cfg.Self.ID {
		e.out.own = append(e.out.own, m)
		return
	}
	e.stats.Sent++
	e.out.packets = append(e.out.packets, Packet{e.view.latest(to), m})
}

// sendSaved lets m leave when all that changed until now is on disk.
func (e *Engine) sendSaved(to dht.Peer, m Message) {
	need := e.disk.pending()
	if need <= e.disk.saved || e.broken == AckBeforeDisk {
		e.send(to, m)
		return
	}
	e.disk.held = append(e.disk.held, held{need: need, packet: Packet{to, m}})
}

// refuse counts a message that is not as it should be.
func (e *Engine) refuse(from dht.Peer, why string) {
	e.stats.Refused++
	e.emit(Refused{from, why})
}

// key returns the point of a name: the last bits of its SHA-256.
func (e *Engine) key(name string) dht.ID {
	sum := sha256.Sum256([]byte(name))
	return e.cfg.Space.Hash(sum[:])
}

// Key returns the point of the circle to which a name belongs.
func Key(s dht.Space, name string) dht.ID {
	sum := sha256.Sum256([]byte(name))
	return s.Hash(sum[:])
}

func (e *Engine) name(p dht.Peer) string {
	if p.Address.IsValid() {
		return fmt.Sprintf("%s (%s)", e.cfg.Space.Format(p.ID), e.view.latest(p).Address)
	}
	return e.cfg.Space.Format(p.ID)
}

// bytes is what this node keeps.
func (e *Engine) bytes() (n int64) {
	for _, r := range e.replicas {
		n += r.shelf.bytes
	}
	return n
}

// Stats counts what happened since the start.
type Stats struct {
	Received, Sent uint64 // messages
	Refused        uint64 // messages that were not as they should be
	Busy           uint64 // requests, because too many waited
	Full           uint64 // requests, for lack of room
	NoMajority     uint64 // requests
	Expired        uint64 // records
	Merged         uint64 // conflicts of lineages
	Forgotten      uint64 // groups, because too many were known
	StagesRefused  uint64 // proposed groups, for lack of room
	Changes        uint64 // of groups, by this node
}

// Summary is the state of an engine, for people.
type Summary struct {
	Lineage uint64
	Groups  []Group // of which this node is a member
	Leads   []Group
	Records int
	Bytes   int64
	Waiting int // requests
	Stats   Stats
}

// Status returns a summary.
func (e *Engine) Status() Summary {
	s := Summary{Lineage: e.lineage, Bytes: e.bytes(), Waiting: e.waiting, Stats: e.stats}
	for _, r := range e.replicas {
		if r.phase == active {
			s.Groups = append(s.Groups, r.group)
			s.Records += len(r.shelf.items)
		}
	}
	for _, l := range e.leads {
		s.Leads = append(s.Leads, l.r.group)
	}
	return s
}
