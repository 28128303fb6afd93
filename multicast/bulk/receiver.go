package bulk

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/aether-lan/aether/multicast/seal"
)

// Times of a receiver.
const (
	registerInterval = 300 * time.Millisecond
	finishedInterval = 250 * time.Millisecond
	finishedTries    = 40
	beatInterval     = time.Second
	// lingerAfter the last word of the sender nobody wants sections any more.
	lingerAfter = 3 * time.Second
	// rejoinAfter of silence a receiver registers again: the way to it may be healed.
	rejoinAfter    = 2 * time.Second
	defaultSilence = 30 * time.Second
	defaultBuffers = 16
	rowsLimit      = 8192
	reportsLimit   = 2048
	overLimit      = 64
)

// Store is where a receiver puts verified sections, and sections it has in part and
// no memory for. A file is one. Bytes that were never written may be anything.
type Store interface {
	io.ReaderAt
	io.WriterAt
}

// ReceiverConfig says how to receive.
type ReceiverConfig struct {
	// Name of this machine, shown by the sender.
	Name string
	// Pull is the TCP port where verified sections are given away; 0 none.
	Pull uint16
	// Secret opens sealed transfers. Nil takes unsealed ones only.
	Secret *seal.Secret
	// Key, when set, is the only sender whose offers are heard (Ed25519).
	Key ed25519.PublicKey
	// Window is the most bytes a second that this machine can take; 0 is no limit.
	Window uint32
	// Buffers is how many sections are kept in memory, 1.4 MB each. Zero means 16.
	Buffers int
	// Silence of the sender after which it is given up. Zero means 30 s.
	Silence time.Duration
	// Rand spreads answers over time. Nil is not allowed.
	Rand *rand.Rand
	// Random is the source of names and keys: crypto/rand.Reader, but for tests.
	Random io.Reader
}

// ReceiverStats counts what a receiver met. All numbers grow only.
type ReceiverStats struct {
	Packets, Blocks, Parity        uint64
	Duplicates                     uint64 // blocks that were there already
	Garbage, NotAuthentic, Foreign uint64 // dropped packets
	Sealed, Plain                  uint64 // dropped: sealed and we have no secret, or the reverse
	Misplaced                      uint64 // blocks that no section has
	RowsDropped, ReportsDropped    uint64 // for want of room
	Poisoned                       uint64 // sections whose blocks were wrong
	Spilled                        uint64 // sections that left memory unfinished
	Pulled                         uint64 // bytes that came by TCP
	Solved                         uint64 // blocks made from parity
}

type receiverState int

const (
	idle        receiverState = iota
	considering               // an offer waits for Accept or Refuse
	registering
	receiving
	finishing // all is there, or it failed: Finished is repeated
	lingering // the sender knows; others may still want sections from us
)

// Receiver takes one object at a time from a group. It is an engine: see package
// internal/loop. Whoever drives it answers its events.
type Receiver struct {
	cfg     ReceiverConfig
	env     *envelope
	state   receiverState
	station StationID
	cur     transfer
	rep     reporter
	ends    ending
	over    []Session // that ended for good: late offers of them are not heard
	out     []Packet
	events  []Event
	stats   ReceiverStats
}

// transfer is the session that a receiver is in.
type transfer struct {
	offer    Offer
	number   uint16
	token    Token
	store    Store
	have     bitmap
	left     int // sections not verified
	sections map[int]*section
	parity   *parity
	free     [][]byte // buffers to use again
	rows     int      // parity held
	used     uint64
	pull     fetching
}

// ending is when what is repeated must be repeated, and for how long.
type ending struct {
	next, heard time.Time
	silent      bool // the user was told
	last        Finished
	tries       int
	err         error
}

// NewReceiver returns a receiver that waits for an offer. It fails when random
// bytes cannot be had.
func NewReceiver(cfg ReceiverConfig) (*Receiver, error) {
	if cfg.Buffers <= 0 {
		cfg.Buffers = defaultBuffers
	}
	if cfg.Silence <= 0 {
		cfg.Silence = defaultSilence
	}
	env, err := newEnvelope(cfg.Secret, cfg.Random)
	if err != nil {
		return nil, err
	}
	r := &Receiver{cfg: cfg, env: env}
	if _, err := io.ReadFull(cfg.Random, r.station[:]); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	return r, nil
}

// Stats returns the counters.
func (r *Receiver) Stats() ReceiverStats { return r.stats }

// HandlePacket takes a packet, whose payload is the receiver's to keep.
func (r *Receiver) HandlePacket(now time.Time, p Packet) {
	r.stats.Packets++
	m, b, err := r.env.open(p.Payload)
	if err != nil {
		r.drop(err)
		return
	}
	if m == nil {
		r.handleBlock(now, &b)
		return
	}
	switch m := m.(type) {
	case Offer:
		r.handleOffer(now, m)
	case Welcome:
		r.handleWelcome(now, m)
	case Solicit:
		r.handleSolicit(now, m)
	case Poll:
		r.handlePoll(now, m)
	case Train:
		r.handleTrain(now, m)
	case Probe:
		r.handleProbe(now, m)
	case Pull:
		r.handlePull(now, m)
	case Released:
		r.handleReleased(now, m)
	case Close:
		r.handleClose(m)
	default:
		r.stats.Foreign++
	}
}

func (r *Receiver) drop(err error) {
	switch {
	case errors.Is(err, ErrSealed):
		if r.stats.Sealed++; r.stats.Sealed == 1 {
			r.say(OtherSeal{})
		}
	case errors.Is(err, ErrPlain):
		if r.stats.Plain++; r.stats.Plain == 1 {
			r.say(OtherSeal{Plain: true})
		}
	case errors.Is(err, errOtherSession):
		r.stats.Foreign++
	case errors.Is(err, seal.ErrNotAuthentic), errors.Is(err, seal.ErrReplay), errors.Is(err, seal.ErrFull):
		r.stats.NotAuthentic++
	default:
		r.stats.Garbage++
	}
}

func (r *Receiver) handleOffer(now time.Time, m Offer) {
	if r.state != idle && m.Session == r.cur.offer.Session {
		r.heard(now)
		return
	}
	// A new session of the same object takes over: its sender was started again.
	again := (r.state == registering || r.state == receiving) && m.Object == r.cur.offer.Object
	if r.state != idle && !again || slices.Contains(r.over, m.Session) {
		return
	}
	if r.cfg.Key != nil && !r.cfg.Key.Equal(ed25519.PublicKey(m.Key[:])) || m.Verify() != nil {
		r.stats.NotAuthentic++
		return
	}
	if again {
		if m.Key != r.cur.offer.Key && now.Sub(r.ends.heard) < rejoinAfter {
			return // while the old one speaks, nobody else may take over
		}
		r.cur.offer, r.cur.token, r.cur.number = m, 0, 0
		r.rep = reporter{} // what was counted belongs to the old session
		r.cur.pull.stop()
		r.enter(now)
		r.say(Offered{Offer: m, Again: true})
		return
	}
	r.state = considering
	r.cur = transfer{offer: m}
	r.ends = ending{heard: now}
	r.rep = reporter{}
	r.say(Offered{Offer: m})
}

// Accept takes part in the session that was offered. have has a bit for each
// section, lowest bit of a byte first, that store holds verified already; nil is
// none. It fails when no offer waits.
func (r *Receiver) Accept(now time.Time, store Store, have []byte) error {
	if r.state != considering {
		return errors.New("bulk: no offer waits")
	}
	t := &r.cur
	n := t.offer.Sections()
	t.store, t.have = store, newBitmap(n)
	copy(t.have, have)
	t.have.trim(n)
	t.left = n - t.have.count()
	t.sections, t.parity = make(map[int]*section), newParity(t.offer.Block)
	r.enter(now)
	return nil
}

// enter begins to register with the sender of the current offer.
func (r *Receiver) enter(now time.Time) {
	r.state = registering
	r.ends.heard, r.ends.silent = now, false
	if err := r.env.session(&r.cur.offer); err != nil {
		r.fail(now, err)
		return
	}
	r.register()
	r.ends.next = now.Add(registerInterval)
}

// Refuse does not take part; the sender is told why.
func (r *Receiver) Refuse(now time.Time, reason error) {
	if r.state == considering {
		r.fail(now, reason)
	}
}

func (r *Receiver) register() {
	t := &r.cur
	n := t.offer.Sections()
	from := t.have.contiguous(n)
	m := Register{
		Session: t.offer.Session, Station: r.station, Name: clip(r.cfg.Name, maxName), Pull: r.cfg.Pull,
		Contiguous: uint32(from),
	}
	if from < n {
		have := newBitmap(min(n-from, 8*maxHave))
		for i := range min(n-from, 8*maxHave) {
			if t.have.has(from + i) {
				have.set(i)
			}
		}
		m.Have = have
	}
	r.send(m)
}

func (r *Receiver) handleWelcome(now time.Time, m Welcome) {
	if m.Session != r.cur.offer.Session || m.Station != r.station || r.state != registering && r.state != receiving {
		r.stats.Foreign++
		return
	}
	r.heard(now)
	r.cur.number, r.cur.token = m.Number, m.Token
	if r.state == receiving {
		return
	}
	r.state = receiving
	r.ends.next = now.Add(beatInterval)
	if r.cur.left == 0 {
		r.complete()
	}
}

// complete says that all sections are there.
func (r *Receiver) complete() { r.say(Complete{Root: r.cur.offer.Root}) }

// Finish ends the session with what became of the object: nil, or why it could not
// be kept. The sender is told until it has heard.
func (r *Receiver) Finish(now time.Time, err error) {
	if r.state == idle || r.state == finishing {
		return
	}
	r.conclude(now, err)
}

// fail ends the session with an error.
func (r *Receiver) fail(now time.Time, err error) { r.conclude(now, err) }

func (r *Receiver) conclude(now time.Time, err error) {
	r.state = finishing
	r.cur.sections, r.cur.free = nil, nil
	r.cur.pull.stop()
	r.ends.err, r.ends.tries, r.ends.next = err, 0, now
	r.ends.last = Finished{
		Session: r.cur.offer.Session, Station: r.station, Name: clip(r.cfg.Name, maxName), OK: err == nil, Pulled: r.cur.pull.bytes,
	}
	if err != nil {
		r.ends.last.Text = clip(err.Error(), maxText)
	}
	r.HandleTimeout(now)
}

func (r *Receiver) handleReleased(now time.Time, m Released) {
	if r.state != finishing || m.Session != r.cur.offer.Session || m.Station != r.station {
		return
	}
	if r.ends.err != nil {
		r.leave(r.ends.err)
		return
	}
	r.heard(now)
	r.state, r.ends.next = lingering, now.Add(beatInterval)
	r.say(Delivered{Session: m.Session})
}

// ErrClosed says that the sender ended the session before all was received.
var ErrClosed = errors.New("the sender ended the transfer")

func (r *Receiver) handleClose(m Close) {
	if r.state == idle || m.Session != r.cur.offer.Session {
		return
	}
	if !m.Verify(r.cur.offer.Key[:]) {
		r.stats.NotAuthentic++
		return
	}
	if r.state == finishing || r.state == lingering {
		r.leave(r.ends.err)
		return
	}
	r.leave(fmt.Errorf("bulk: %w: %s", ErrClosed, m.Text))
}

// leave forgets the session. After silence its offers are heard again.
func (r *Receiver) leave(err error) {
	if !errors.Is(err, ErrSilent) {
		r.over = append(r.over, r.cur.offer.Session)
		r.over = r.over[max(0, len(r.over)-overLimit):]
	}
	r.say(Left{Session: r.cur.offer.Session, Err: err})
	r.state, r.cur, r.rep = idle, transfer{}, reporter{}
}

// heard notes that the sender lives.
func (r *Receiver) heard(now time.Time) { r.ends.heard, r.ends.silent = now, false }

// clip cuts s to at most n bytes.
func clip(s string, n int) string { return s[:min(n, len(s))] }

// HandleTimeout does what is due.
func (r *Receiver) HandleTimeout(now time.Time) {
	if r.rep.due(now) {
		r.status(now)
	}
	if r.state == idle || r.state == considering || now.Before(r.ends.next) {
		return
	}
	if r.state < finishing && now.Sub(r.ends.heard) > r.cfg.Silence {
		r.leave(fmt.Errorf("bulk: nothing from the sender for %v: %w", r.cfg.Silence, ErrSilent))
		return
	}
	switch r.state {
	case registering:
		r.register()
		r.ends.next = now.Add(registerInterval)
	case receiving:
		r.beat(now)
	case finishing:
		if r.ends.tries++; r.ends.tries > finishedTries {
			r.leave(r.ends.err)
			return
		}
		r.send(r.ends.last)
		r.ends.next = now.Add(finishedInterval)
	case lingering:
		r.ends.next = now.Add(beatInterval)
		if now.Sub(r.ends.heard) > lingerAfter {
			r.leave(nil)
		}
	}
}

// ErrSilent says that the other side was not heard for too long.
var ErrSilent = errors.New("silent")

// beat shows the sender that we live, and asks to be let in again after a silence.
func (r *Receiver) beat(now time.Time) {
	r.ends.next = now.Add(beatInterval)
	if now.Sub(r.ends.heard) > rejoinAfter {
		if !r.ends.silent {
			r.ends.silent = true
			r.say(SenderSilent{})
		}
		r.register()
	}
	if r.rep.quiet(now) {
		r.status(now)
	}
}

// NextTimeout returns when HandleTimeout is due.
func (r *Receiver) NextTimeout() (time.Time, bool) {
	var t time.Time
	if r.state >= registering {
		t = r.ends.next
	}
	if !r.rep.at.IsZero() && (t.IsZero() || r.rep.at.Before(t)) {
		t = r.rep.at
	}
	return t, !t.IsZero()
}

// Outgoing returns the packets to send.
func (r *Receiver) Outgoing() []Packet { o := r.out; r.out = nil; return o }

// Events returns what the user should hear.
func (r *Receiver) Events() []Event { e := r.events; r.events = nil; return e }

func (r *Receiver) say(e Event) { r.events = append(r.events, e) }

// send sends a control message to the sender.
func (r *Receiver) send(m Message) { r.sendTo(r.cur.offer.From, m) }

func (r *Receiver) sendTo(to netip.AddrPort, m Message) {
	b, err := r.env.wrap(m)
	if err != nil {
		return // all 2^64 counters are used: nothing can be said any more
	}
	r.out = append(r.out, Packet{To: to, Payload: b})
}
