package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// SenderConfig says what a [Sender] sends.
type SenderConfig struct {
	// Groups are the destinations, of one family. Each gets each number.
	Groups []netip.AddrPort
	// Interval is the time between two numbers, whole microseconds. Zero means 100 ms.
	Interval time.Duration
	// Count is how many datagrams each group gets. Zero means no end.
	Count uint64
	// Bytes is the length of a datagram's payload, MinBytes to MaxBytes. Zero means
	// 100.
	Bytes int
	// HopLimit is the TTL or hop limit that the datagrams are sent with, so that who
	// receives them can tell the distance. Zero means 1.
	HopLimit int
	// ID tells this sender from others at the same address; 48 bits, drawn at random.
	ID uint64
	// Mcjoin writes datagrams in the form of the program mcjoin: numbers only, no
	// end, no epoch, no hop limit.
	Mcjoin bool
}

func (c SenderConfig) withDefaults() (SenderConfig, error) {
	if c.Interval == 0 {
		c.Interval = 100 * time.Millisecond
	}
	if c.Bytes == 0 {
		c.Bytes = 100
	}
	if c.HopLimit == 0 {
		c.HopLimit = 1
	}
	switch {
	case len(c.Groups) == 0:
		return c, errors.New("probe: sender: no group")
	case c.Interval < time.Microsecond || c.Interval > time.Hour:
		return c, fmt.Errorf("probe: sender: interval %v is not in 1µs to 1h", c.Interval)
	case c.Bytes < MinBytes || c.Bytes > MaxBytes:
		return c, fmt.Errorf("probe: sender: %d bytes is not in %d to %d", c.Bytes, MinBytes, MaxBytes)
	case c.HopLimit < 0 || c.HopLimit > 255:
		return c, fmt.Errorf("probe: sender: hop limit %d is not in 1 to 255", c.HopLimit)
	}
	c.Interval = c.Interval.Truncate(time.Microsecond)
	return c, nil
}

// The end of a stream is told three times, 50 ms apart, as it may be lost too.
const (
	endTimes    = 3
	endInterval = 50 * time.Millisecond
)

// maxBurst is how many numbers a Sender that was held up sends at once.
const maxBurst = 64

// Sender sends numbered datagrams to groups, at even intervals from the start. When
// it was held up it catches up, at most 64 numbers at once. Its only event is
// [Finished], when all is sent.
type Sender struct {
	cfg    SenderConfig
	from   origin
	next   time.Time
	seq    uint64 // of the last number sent
	ends   int    // to be sent
	done   bool
	out    []Packet
	events []Event
}

// NewSender returns a Sender that starts at start. It fails with what is wrong in
// cfg.
func NewSender(cfg SenderConfig, start time.Time) (*Sender, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sender{cfg: cfg, from: newOrigin(start, cfg.ID), next: start, ends: endTimes}, nil
}

// HandlePacket takes nothing: who sends to a group need not be told anything.
func (s *Sender) HandlePacket(time.Time, Packet) {}

// HandleTimeout sends what is due at now.
func (s *Sender) HandleTimeout(now time.Time) {
	for range maxBurst {
		if s.done || s.next.After(now) {
			return
		}
		if s.cfg.Count > 0 && s.seq == s.cfg.Count {
			s.end(now)
			return
		}
		s.seq++
		s.send(now, kindTest)
		s.next = s.next.Add(s.cfg.Interval)
		if s.seq == s.cfg.Count {
			s.next = now // the end follows at once
		}
	}
	if now.Sub(s.next) > time.Second { // what was slept through is not made up for
		s.next = now
	}
}

// end tells the end once more.
func (s *Sender) end(now time.Time) {
	if s.ends == 0 || s.cfg.Mcjoin {
		s.done = true
		s.events = append(s.events, Event{Kind: Finished, Seq: s.seq})
		return
	}
	s.ends--
	s.send(now, kindEnd)
	s.next = now.Add(endInterval)
}

// send queues one message to each group.
func (s *Sender) send(now time.Time, k kind) {
	m := message{
		kind: k, hopLimit: uint8(s.cfg.HopLimit), path: 1, from: s.from,
		interval: min(s.cfg.Interval, (1<<32-1)*time.Microsecond), seq: s.seq, sent: now.UnixNano(),
	}
	var b []byte
	for _, g := range s.cfg.Groups {
		switch {
		case s.cfg.Mcjoin:
			b = appendMcjoin(nil, m, g.Addr().String(), s.cfg.Bytes)
		case b == nil:
			b = m.append(make([]byte, 0, s.cfg.Bytes), s.cfg.Bytes)
		}
		s.out = append(s.out, Packet{Data: b, To: g})
	}
}

// Stop ends the stream before its time.
func (s *Sender) Stop(now time.Time) {
	if s.done || s.cfg.Count > 0 && s.seq == s.cfg.Count {
		return
	}
	s.cfg.Count, s.next = max(s.seq, 1), now
	if s.seq == 0 {
		s.done = true
	}
	s.HandleTimeout(now)
}

// NextTimeout reports when the next datagram is due.
func (s *Sender) NextTimeout() (time.Time, bool) { return s.next, !s.done }

// Outgoing returns the datagrams to send and forgets them. Those of one number may
// share their bytes.
func (s *Sender) Outgoing() []Packet { out := s.out; s.out = nil; return out }

// Events returns what happened and forgets it.
func (s *Sender) Events() []Event { ev := s.events; s.events = nil; return ev }

// Sent returns how many datagrams each group was sent.
func (s *Sender) Sent() uint64 { return s.seq }
