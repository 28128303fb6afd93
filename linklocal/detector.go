package linklocal

import (
	"fmt"
	"net/netip"
	"time"
)

// State is where a Detector or Claimer stands; the package comment draws them.
type State int

// The states.
const (
	Idle       State = iota // nothing is being done
	Waiting                 // too many conflicts; the next attempt is due later
	Probing                 // testing whether the candidate is free
	Announcing              // held; announcements are still due
	Bound                   // held
	Defending               // held; a conflict occurred within DefendInterval
	Deprecated              // held for existing connections only
	Free                    // tested, free, not claimed (CheckOnly)
	Failed                  // another host has the address
)

var stateNames = [...]string{"idle", "waiting", "probing", "announcing", "bound", "defending", "deprecated", "free", "failed"}

// String returns the state in one lower-case word.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Holds reports whether the address may be used in this state.
func (s State) Holds() bool { return s >= Announcing && s <= Deprecated }

// Detector is the address conflict detection of RFC 5227 for one address: it
// probes, announces, answers and defends. It is not safe for concurrent use.
type Detector struct {
	cfg   DetectorConfig
	own   []HardwareAddr // with that of the interface
	state State

	sent     int       // probes, then announcements, sent in this state
	next     time.Time // of the next probe or announcement; zero: none
	conflict time.Time // the last conflict answered while held; zero: none

	out    []Packet
	events []Event
}

// NewDetector returns a Detector that is idle until Start.
func NewDetector(cfg DetectorConfig) (*Detector, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Detector{cfg: cfg}
	d.SetOwn(cfg.Own)
	return d, nil
}

// Start begins to probe, after a random delay of up to PROBE_WAIT (RFC 3927
// section 2.2.1). Conflicts count from now on.
func (d *Detector) Start(now time.Time) {
	d.state, d.sent, d.conflict = Probing, 0, time.Time{}
	d.next = now.Add(d.between(0, ProbeWait))
}

// Stop gives the address up.
func (d *Detector) Stop(time.Time) {
	if d.state.Holds() {
		d.tell(Event{Kind: EventReleased, Address: d.cfg.Address, Reason: ReasonStopped})
	}
	d.state, d.next, d.conflict = Idle, time.Time{}, time.Time{}
}

// SetOwn replaces the hardware addresses of the host's other interfaces.
func (d *Detector) SetOwn(own []HardwareAddr) {
	d.own = append([]HardwareAddr{d.cfg.HardwareAddr}, own...)
}

// State returns where the Detector stands.
func (d *Detector) State() State { return d.state }

// Address returns the address under test.
func (d *Detector) Address() netip.Addr { return d.cfg.Address }

// HandlePacket takes one ARP packet heard on the interface.
func (d *Detector) HandlePacket(now time.Time, p Packet) {
	addr := d.cfg.Address
	switch {
	case d.state == Probing:
		if probingConflict(p, addr, d.own) {
			d.fail(p.SenderHardwareAddr)
		}
	case !d.state.Holds():
	case holdingConflict(p, addr, d.own):
		d.defend(now, p.SenderHardwareAddr)
	case asksFor(p, addr, d.own):
		d.out = append(d.out, newReply(d.cfg.HardwareAddr, addr, p))
	}
}

// HandleTimeout sends the probe or announcement that is due, or ends a state.
func (d *Detector) HandleTimeout(now time.Time) {
	if !d.conflict.IsZero() && !now.Before(d.conflict.Add(DefendInterval)) {
		d.conflict = time.Time{}
		if d.state == Defending {
			d.state = d.calm()
		}
	}
	if d.next.IsZero() || now.Before(d.next) {
		return
	}
	switch {
	case d.state == Probing && d.sent < ProbeNum:
		d.probe(now)
	case d.state == Probing && d.cfg.CheckOnly:
		d.state, d.next = Free, time.Time{}
		d.tell(Event{Kind: EventFree, Address: d.cfg.Address})
	case d.state == Probing:
		d.state, d.sent = Announcing, 0
		d.announce(now)
		d.tell(Event{Kind: EventClaimed, Address: d.cfg.Address})
	default:
		d.announce(now)
	}
}

// NextTimeout reports when HandleTimeout must next be called.
func (d *Detector) NextTimeout() (time.Time, bool) {
	t := d.next
	if !d.conflict.IsZero() {
		t = earlier(t, d.conflict.Add(DefendInterval))
	}
	return t, !t.IsZero()
}

// Outgoing returns the packets to send and forgets them.
func (d *Detector) Outgoing() []Packet { out := d.out; d.out = nil; return out }

// Events returns what the user should hear and forgets it.
func (d *Detector) Events() []Event { ev := d.events; d.events = nil; return ev }

// probe sends one of PROBE_NUM probes, PROBE_MIN to PROBE_MAX apart, and waits
// ANNOUNCE_WAIT after the last (RFC 3927 section 2.2.1).
func (d *Detector) probe(now time.Time) {
	d.out = append(d.out, newProbe(d.cfg.HardwareAddr, d.cfg.Address))
	d.tell(Event{Kind: EventProbe, Address: d.cfg.Address})
	d.sent++
	if d.sent == ProbeNum {
		d.next = now.Add(AnnounceWait)
	} else {
		d.next = now.Add(d.between(ProbeMin, ProbeMax))
	}
}

// announce sends one of ANNOUNCE_NUM announcements, ANNOUNCE_INTERVAL apart
// (RFC 3927 section 2.4).
func (d *Detector) announce(now time.Time) {
	d.out = append(d.out, newAnnouncement(d.cfg.HardwareAddr, d.cfg.Address))
	d.tell(Event{Kind: EventAnnounce, Address: d.cfg.Address})
	d.sent++
	d.next = now.Add(AnnounceInterval)
	if d.sent == AnnounceNum {
		d.next = time.Time{}
		if d.state == Announcing {
			d.state = Bound
		}
	}
}

// fail ends the test of a candidate that is in use.
func (d *Detector) fail(by HardwareAddr) {
	d.state, d.next = Failed, time.Time{}
	d.tell(Event{Kind: EventConflict, Address: d.cfg.Address, HardwareAddr: by})
}

// defend answers a conflict over the address that is held, as the policy says
// (RFC 3927 section 2.5, RFC 5227 section 2.4).
func (d *Detector) defend(now time.Time, by HardwareAddr) {
	recent := !d.conflict.IsZero() && now.Before(d.conflict.Add(DefendInterval))
	if recent && d.cfg.Policy == NeverGiveUp {
		return // (c): at most one announcement an interval, or two such hosts would never rest
	}
	d.tell(Event{Kind: EventConflict, Address: d.cfg.Address, HardwareAddr: by})
	if recent || d.cfg.Policy == GiveUp {
		d.state, d.next, d.conflict = Failed, time.Time{}, time.Time{}
		d.tell(Event{Kind: EventLost, Address: d.cfg.Address, HardwareAddr: by, Reason: ReasonConflict})
		return
	}
	d.state, d.conflict = Defending, now
	d.out = append(d.out, newAnnouncement(d.cfg.HardwareAddr, d.cfg.Address))
	d.tell(Event{Kind: EventDefended, Address: d.cfg.Address, HardwareAddr: by})
}

// calm returns the state of an address held without a recent conflict.
func (d *Detector) calm() State {
	if d.next.IsZero() {
		return Bound
	}
	return Announcing
}

func (d *Detector) tell(e Event) { d.events = append(d.events, e) }

// between draws a duration uniformly from lo to hi.
func (d *Detector) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(d.cfg.Rand.Int64N(int64(hi-lo)+1))
}

// earlier returns the earlier of two instants, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
