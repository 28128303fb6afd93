package linklocal

import (
	"net/netip"
	"slices"
	"time"
)

// Claimer gets and keeps a link-local address on one interface, through changes
// of the link and of the host's other addresses (RFC 3927). It begins without a
// link: tell it the situation with SetLink and SetRoutable. It is not safe for
// concurrent use.
type Claimer struct {
	cfg        ClaimerConfig
	own        []HardwareAddr
	candidates candidates
	situation  situation

	detector  *Detector // of the candidate or the address held; nil: none
	conflicts int       // in the attempts to get an address (RFC 3927 section 2.2.1)
	retry     time.Time // when the rate limit lets us try again; zero: no limit
	release   time.Time // when a deprecated address is given up; zero: it is not deprecated

	out    []Packet
	events []Event
}

// situation is what the host knows about the interface.
type situation struct {
	known    bool // SetLink has been called
	link     bool // packets can pass
	routable bool // it has an address that is not link-local
	stopped  bool // the user wants no more
}

// NewClaimer returns a Claimer for an interface without a link.
func NewClaimer(cfg ClaimerConfig) (*Claimer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Claimer{cfg: cfg, candidates: newCandidates(cfg.HardwareAddr, cfg.First)}, nil
}

// State returns where the Claimer stands.
func (c *Claimer) State() State {
	switch {
	case c.detector != nil && !c.release.IsZero():
		return Deprecated
	case c.detector != nil:
		return c.detector.State()
	case !c.retry.IsZero():
		return Waiting
	}
	return Idle
}

// Address returns the address that is held; ok is false when there is none.
func (c *Claimer) Address() (addr netip.Addr, ok bool) {
	if !c.State().Holds() {
		return netip.Addr{}, false
	}
	return c.detector.Address(), true
}

// SetOwn tells the host's other interfaces: their hardware addresses, whose
// packets are echoes, and their IPv4 addresses, which are not to be chosen.
func (c *Claimer) SetOwn(own []HardwareAddr, taken []netip.Addr) {
	c.own, c.candidates.taken = slices.Clone(own), slices.Clone(taken)
	if c.detector != nil {
		c.detector.SetOwn(c.own)
	}
}

// SetLink tells whether packets can pass. An address held before the link came
// up is the first to be tested now, for the link may be another one (RFC 3927
// section 2.2).
func (c *Claimer) SetLink(now time.Time, up bool) {
	if c.situation.known && c.situation.link == up {
		return
	}
	c.situation.known, c.situation.link = true, up
	if up {
		c.candidates.forget()
		c.begin(now)
		return
	}
	c.abandon(EventLost, ReasonLink)
	c.wait(ReasonLink)
}

// Resume tells that the machine has slept: whatever was known about the link may
// be wrong (RFC 3927 section 2.2).
func (c *Claimer) Resume(now time.Time) {
	if !c.situation.link {
		return
	}
	c.abandon(EventLost, ReasonResumed)
	c.candidates.forget()
	c.begin(now)
}

// SetRoutable tells whether the interface has an operable routable address. One
// that appears deprecates the address held; when it goes, the link-local address
// is restored, or claimed again (RFC 3927 section 1.9).
func (c *Claimer) SetRoutable(now time.Time, routable bool) {
	if c.situation.routable == routable {
		return
	}
	c.situation.routable = routable
	held := c.State().Holds()
	switch {
	case c.cfg.Always:
	case routable && held && c.cfg.Linger > 0:
		c.release = now.Add(c.cfg.Linger)
		c.tell(Event{Kind: EventDeprecated, Address: c.detector.Address(), Reason: ReasonRoutable})
	case routable:
		c.abandon(EventReleased, ReasonRoutable)
		if c.situation.link {
			c.wait(ReasonRoutable)
		}
	case held:
		c.release = time.Time{}
		c.tell(Event{Kind: EventRestored, Address: c.detector.Address()})
	default:
		c.begin(now)
	}
}

// Deleted tells that somebody took the address off the interface. It is tested
// and claimed again, as often as the rate limit allows.
func (c *Claimer) Deleted(now time.Time) {
	if !c.State().Holds() {
		return
	}
	c.abandon(EventLost, ReasonDeleted)
	c.again(now)
}

// Stop gives up the address and all further attempts.
func (c *Claimer) Stop(time.Time) {
	c.situation.stopped = true
	c.abandon(EventReleased, ReasonStopped)
}

// HandlePacket takes one ARP packet heard on the interface.
func (c *Claimer) HandlePacket(now time.Time, p Packet) {
	if c.detector != nil {
		c.detector.HandlePacket(now, p)
		c.follow(now)
	}
}

// HandleTimeout does the work that is due at now.
func (c *Claimer) HandleTimeout(now time.Time) {
	if due(c.retry, now) {
		c.retry = time.Time{}
		c.start(now)
	}
	if due(c.release, now) {
		c.abandon(EventReleased, ReasonRoutable)
	}
	if c.detector != nil {
		c.detector.HandleTimeout(now)
		c.follow(now)
	}
}

// NextTimeout reports when HandleTimeout must next be called.
func (c *Claimer) NextTimeout() (time.Time, bool) {
	t := earlier(c.retry, c.release)
	if c.detector != nil {
		if n, ok := c.detector.NextTimeout(); ok {
			t = earlier(t, n)
		}
	}
	return t, !t.IsZero()
}

// Outgoing returns the packets to send and forgets them.
func (c *Claimer) Outgoing() []Packet { out := c.out; c.out = nil; return out }

// Events returns what the user should hear and forgets it.
func (c *Claimer) Events() []Event { ev := c.events; c.events = nil; return ev }

// begin starts a new search for an address if one is wanted.
func (c *Claimer) begin(now time.Time) {
	c.conflicts, c.retry = 0, time.Time{}
	if c.situation.routable && !c.cfg.Always {
		c.wait(ReasonRoutable)
	}
	c.start(now)
}

// start probes the next candidate if an address is wanted.
func (c *Claimer) start(now time.Time) {
	s := c.situation
	if !s.link || s.stopped || s.routable && !c.cfg.Always {
		return
	}
	d, err := NewDetector(DetectorConfig{
		Address: c.candidates.next(), HardwareAddr: c.cfg.HardwareAddr, Own: c.own, Policy: c.cfg.Policy, Rand: c.cfg.Rand,
	})
	if err != nil {
		panic(err) // the fields were checked by NewClaimer
	}
	c.detector = d
	d.Start(now)
}

// again tries for an address after one that failed: at once, until MAX_CONFLICTS
// is reached, and from then on no more than one per RATE_LIMIT_INTERVAL (RFC 3927
// section 2.2.1; RFC 5227 section 2.1.1 for "MAX_CONFLICTS or more").
func (c *Claimer) again(now time.Time) {
	c.conflicts++
	if c.conflicts < MaxConflicts {
		c.start(now)
		return
	}
	c.retry = now.Add(RateLimitInterval)
	c.wait(ReasonConflict)
}

// follow takes over what the Detector has to say and acts on its state.
func (c *Claimer) follow(now time.Time) {
	c.out = append(c.out, c.detector.Outgoing()...)
	c.events = append(c.events, c.detector.Events()...)
	switch c.detector.State() {
	case Bound:
		c.conflicts = 0
	case Failed:
		c.candidates.fail(c.detector.Address())
		c.detector, c.release = nil, time.Time{}
		c.again(now)
	}
}

// abandon leaves the address, if there is one, for another cause than a
// conflict: it will be the first choice the next time.
func (c *Claimer) abandon(kind EventKind, why Reason) {
	if c.detector == nil {
		c.retry = time.Time{}
		return
	}
	c.candidates.first = c.detector.Address()
	if c.detector.State().Holds() {
		c.tell(Event{Kind: kind, Address: c.detector.Address(), Reason: why})
	}
	c.detector, c.release, c.retry = nil, time.Time{}, time.Time{}
}

func (c *Claimer) wait(why Reason) { c.tell(Event{Kind: EventWaiting, Reason: why}) }

func (c *Claimer) tell(e Event) { c.events = append(c.events, e) }

// due reports whether the instant t, of which zero means never, has come.
func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }
