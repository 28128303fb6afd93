package bulk

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/multicast/seal"
)

// Times and bounds of a sender.
const (
	offerQuick      = 250 * time.Millisecond // while receivers are awaited
	offerSlow       = time.Second            // later, for those who come back
	defaultWait     = time.Minute
	defaultPatience = 30 * time.Second
	// defaultEvict is how long an active receiver may be silent.
	defaultEvict = 5 * time.Second
	maxReceivers = 256
	// windowSections bounds what the sender keeps of each receiver: repair comes
	// after so many sections, 3 GB, at the latest.
	windowSections = 2048
	maxPasses      = 12
	closeTimes     = 3
	closeInterval  = 15 * time.Millisecond
)

// Mode says how blocks may travel.
type Mode int

// The modes. ModeAuto measures and decides.
const (
	ModeAuto Mode = iota
	ModeMulticast
	ModeUnicast
)

// SenderConfig says what to send and to whom.
type SenderConfig struct {
	// Object and Tree are what [Describe] made of Content.
	Object  Object
	Tree    *Tree
	Content io.ReaderAt
	// Group is where blocks go, From the address that receivers answer to, Pull the
	// TCP port where sections are given away.
	Group, From netip.AddrPort
	Pull        uint16
	// Receivers to wait for. Zero means 1.
	Receivers int
	// Wait is how long; then it begins with those who are there, if any. Zero means
	// a minute.
	Wait time.Duration
	// Evict is the silence after which a receiver is no longer waited for in the
	// group. Zero means 5 s.
	Evict time.Duration
	// Patience is how long receivers that were evicted may take to get on, once the
	// others are done. Zero means 30 s.
	Patience time.Duration
	// MinRate and MaxRate bound the sending, in bytes a second. Zero means 64 KiB
	// and no bound.
	MinRate, MaxRate int64
	// Mode forbids multicast or unicast. The zero value decides by measuring.
	Mode Mode
	// Secret seals the transfer. Nil sends unsealed.
	Secret *seal.Secret
	// Key signs the offer. Nil makes one for this session.
	Key ed25519.PrivateKey
	// Random is the source of names and keys: crypto/rand.Reader, but for tests.
	Random io.Reader
}

// SenderStats counts what a sender did. All numbers grow only. Bytes are those of
// datagrams, without headers of UDP and IP.
type SenderStats struct {
	Packets, Bytes           uint64
	Blocks, Repairs, Parity  uint64 // packets of blocks, of them after the first pass; of parity
	Received, Garbage        uint64
	NotAuthentic, Foreign    uint64 // dropped
	TooMany                  uint64 // receivers there was no room for
	Statuses, Polls, Rounds  uint64
	BadReports               uint64 // reports that cannot be true
	ProbeBytes, ControlBytes uint64
}

type senderState int

const (
	gathering  senderState = iota
	training               // a burst was sent, reports are awaited
	probing1               // the same with packets to one receiver
	sending                // a pass is under way
	collecting             // its end: statuses are awaited
	trailing               // the group has all; stragglers fetch by TCP
	closing
	closed
)

// Sender sends one object to the receivers of a group. It is an engine: see package
// internal/loop.
type Sender struct {
	cfg    SenderConfig
	env    *envelope
	offer  Offer
	state  senderState
	clock  schedule
	roster *roster
	pace   *pacer
	pass   *pass
	path   measuring
	out    []Packet
	events []Event
	stats  SenderStats
}

// schedule is when the sender must do what.
type schedule struct {
	offer, act time.Time // the next offer; the next thing of the state
	began      time.Time // waiting or trailing
	heard      time.Time // any receiver
	numbers    uint32
	closes     int
	text       string // of the Close
}

// NewSender returns a sender that offers its object from now on. It fails with what
// is wrong in cfg, or when random bytes cannot be had.
func NewSender(now time.Time, cfg SenderConfig) (*Sender, error) {
	if err := cfg.Object.check(); err != nil {
		return nil, err
	}
	if cfg.Tree == nil || cfg.Content == nil || cfg.Tree.Root() != cfg.Object.Root {
		return nil, errors.New("bulk: the tree is not the object's")
	}
	cfg.setDefaults()
	if cfg.Receivers > maxReceivers {
		return nil, fmt.Errorf("bulk: %d receivers, at most %d", cfg.Receivers, maxReceivers)
	}
	env, err := newEnvelope(cfg.Secret, cfg.Random)
	if err != nil {
		return nil, err
	}
	s := &Sender{cfg: cfg, env: env, pace: newPacer(cfg.MinRate, cfg.MaxRate)}
	var seed [8 + 32 + ed25519.SeedSize + 8]byte
	if _, err := io.ReadFull(cfg.Random, seed[:]); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	if s.cfg.Key == nil {
		s.cfg.Key = ed25519.NewKeyFromSeed(seed[40:72])
	}
	s.offer = Offer{
		Session: Session(binary.BigEndian.Uint64(seed[:])), Object: cfg.Object, Seed: [32]byte(seed[8:40]),
		From: cfg.From, Pull: cfg.Pull, Group: cfg.Group, Receivers: uint16(cfg.Receivers),
	}.Sign(s.cfg.Key)
	if err := s.offer.Verify(); err != nil {
		return nil, err
	}
	if err := env.session(&s.offer); err != nil {
		return nil, err
	}
	s.roster = newRoster(cfg.Object.Sections(), binary.BigEndian.Uint64(seed[72:]))
	s.pass = newPass(cfg.Object)
	s.clock = schedule{offer: now, began: now, act: now.Add(cfg.Wait), heard: now}
	return s, nil
}

func (c *SenderConfig) setDefaults() {
	if c.Receivers <= 0 {
		c.Receivers = 1
	}
	if c.Wait <= 0 {
		c.Wait = defaultWait
	}
	if c.Evict <= 0 {
		c.Evict = defaultEvict
	}
	if c.Patience <= 0 {
		c.Patience = defaultPatience
	}
}

// Offer returns what is offered.
func (s *Sender) Offer() Offer { return s.offer }

// Stats returns the counters.
func (s *Sender) Stats() SenderStats { return s.stats }

// HandlePacket takes a packet, whose payload is the sender's to keep.
func (s *Sender) HandlePacket(now time.Time, p Packet) {
	s.stats.Received++
	m, _, err := s.env.open(p.Payload)
	switch {
	case errors.Is(err, seal.ErrNotAuthentic), errors.Is(err, seal.ErrReplay), errors.Is(err, ErrPlain), errors.Is(err, ErrSealed):
		s.stats.NotAuthentic++
		return
	case err != nil || m == nil:
		s.stats.Garbage++
		return
	}
	switch m := m.(type) {
	case Register:
		s.handleRegister(now, p.From, m)
	case Status:
		s.handleStatus(now, m)
	case TrainReport:
		s.handleTrainReport(now, m)
	case Finished:
		s.handleFinished(now, p.From, m)
	default:
		s.stats.Foreign++
	}
	s.advance(now)
}

// HandleTimeout does what is due.
func (s *Sender) HandleTimeout(now time.Time) {
	if s.state < closing && !now.Before(s.clock.offer) {
		s.broadcast(s.offer)
		s.clock.offer = now.Add(offerSlow)
		if s.state == gathering && now.Sub(s.clock.began) < 10*time.Second {
			s.clock.offer = now.Add(offerQuick)
		}
	}
	s.advance(now)
}

// NextTimeout returns when HandleTimeout is due.
func (s *Sender) NextTimeout() (time.Time, bool) {
	if s.state == closed {
		return time.Time{}, false
	}
	if s.state < closing && s.clock.offer.Before(s.clock.act) {
		return s.clock.offer, true
	}
	return s.clock.act, true
}

// advance does what the state asks for, until nothing more is due now.
func (s *Sender) advance(now time.Time) {
	steps := [...]func(time.Time){
		gathering: s.gather, training: s.train, probing1: s.probe, sending: s.sendDue, collecting: s.collect,
		trailing: s.trail, closing: s.sayClose,
	}
	for before := senderState(-1); s.state != before && s.state != closed; {
		before = s.state
		steps[s.state](now)
	}
}

// gather waits for receivers.
func (s *Sender) gather(now time.Time) {
	// Those who have the object already, or refuse it, have come as well.
	s.roster.replaceGhosts(now)
	n := len(s.roster.members) - s.roster.count(replaced)
	switch {
	case n < s.cfg.Receivers && now.Before(s.clock.act):
		return
	case n == 0:
		s.finish(now, "no receiver came")
	case s.roster.count(active) == 0:
		s.startTrailing(now)
	default:
		s.begin(now)
	}
}

// begin measures the path, or goes on without when there is nothing to measure.
func (s *Sender) begin(now time.Time) {
	s.clock.heard = now
	s.roster.touch(now)
	if s.cfg.Mode == ModeUnicast {
		s.say(Started{Receivers: s.roster.count(active)})
		s.toUnicast(now, "unicast was asked for")
		return
	}
	s.startPass(now, 0)
	s.startTrain(now)
}

// finish gives up or ends well, and says so to who still listens.
func (s *Sender) finish(now time.Time, text string) {
	s.state = closing
	s.clock.act, s.clock.closes, s.clock.text = now, 0, text
	s.roster.abandon(text, s.say)
}

// succeeded reports whether as many receivers as were asked for have the object,
// and none failed.
func (s *Sender) succeeded() bool {
	return s.roster.count(done) >= s.cfg.Receivers && s.roster.count(failed) == 0
}

func (s *Sender) sayClose(now time.Time) {
	if now.Before(s.clock.act) {
		return
	}
	if s.clock.closes++; s.clock.closes > closeTimes {
		s.state = closed
		s.say(Ended{OK: s.succeeded()})
		return
	}
	s.broadcast(Close{Session: s.offer.Session, Text: clip(s.clock.text, maxText)}.Sign(s.cfg.Key))
	s.clock.act = now.Add(closeInterval)
}

// Abort ends the session: receivers are told text.
func (s *Sender) Abort(now time.Time, text string) {
	if s.state < closing {
		s.finish(now, text)
		s.sayClose(now)
	}
}

// Closed reports whether everything is over.
func (s *Sender) Closed() bool { return s.state == closed }

// Outgoing returns the packets to send.
func (s *Sender) Outgoing() []Packet { o := s.out; s.out = nil; return o }

// Events returns what the user should hear.
func (s *Sender) Events() []Event { e := s.events; s.events = nil; return e }

func (s *Sender) say(e Event) { s.events = append(s.events, e) }

func (s *Sender) broadcast(m Message) { s.sendTo(netip.AddrPort{}, m) }

func (s *Sender) sendTo(to netip.AddrPort, m Message) {
	b, err := s.env.wrap(m)
	if err != nil {
		return // all 2^64 counters are used: nothing can be said any more
	}
	s.stats.ControlBytes += uint64(len(b))
	s.emit(to, b)
}

func (s *Sender) emit(to netip.AddrPort, b []byte) {
	s.stats.Packets++
	s.stats.Bytes += uint64(len(b))
	s.out = append(s.out, Packet{To: to, Payload: b})
}

// number returns a new number for a question.
func (s *Sender) number() uint32 { s.clock.numbers++; return s.clock.numbers }
