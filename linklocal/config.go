package linklocal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// The constants of RFC 3927 section 9, equal to those of RFC 5227 section 1.1.
// They are "not intended to be user configurable".
const (
	ProbeWait         = 1 * time.Second  // initial random delay
	ProbeNum          = 3                // number of probe packets
	ProbeMin          = 1 * time.Second  // minimum delay until the repeated probe
	ProbeMax          = 2 * time.Second  // maximum delay until the repeated probe
	AnnounceWait      = 2 * time.Second  // delay before announcing
	AnnounceNum       = 2                // number of announcement packets
	AnnounceInterval  = 2 * time.Second  // time between announcement packets
	MaxConflicts      = 10               // conflicts before rate limiting
	RateLimitInterval = 60 * time.Second // delay between successive attempts
	DefendInterval    = 10 * time.Second // minimum interval between defensive announcements
)

// DefaultLinger is how long a deprecated address is kept for the connections
// that use it (RFC 3927 section 1.9 rule 2 gives no bound).
const DefaultLinger = 10 * time.Minute

// Prefix is 169.254/16, the network of all link-local addresses. It is one link
// and never divided (RFC 3927 section 2.8).
var Prefix = netip.MustParsePrefix("169.254.0.0/16")

// Selectable reports whether a is one of the 65,024 addresses that a host may
// choose: the first and the last 256 of 169.254/16 are reserved (RFC 3927
// section 2.1).
func Selectable(a netip.Addr) bool {
	if !Prefix.Contains(a) {
		return false
	}
	third := a.As4()[2]
	return third != 0 && third != 255
}

// Policy is what a Detector does about a conflict over an address it holds. The
// letters are those of RFC 5227 section 2.4.
type Policy int

const (
	// DefendOnce (b), the default: announce once; give up at a second conflict
	// within DefendInterval of the one before.
	DefendOnce Policy = iota
	// GiveUp (a): give the address up at the first conflict.
	GiveUp
	// NeverGiveUp (c): announce at most once per DefendInterval and keep the
	// address. RFC 3927 section 2.5 does not allow it for link-local addresses.
	NeverGiveUp
)

var policyNames = [...]string{"defend-once", "give-up", "never-give-up"}

// String returns the policy's name as [ParsePolicy] reads it.
func (p Policy) String() string {
	if p < 0 || int(p) >= len(policyNames) {
		return fmt.Sprintf("policy %d", int(p))
	}
	return policyNames[p]
}

// ParsePolicy reads a policy's name, or its letter in RFC 5227 section 2.4.
func ParsePolicy(s string) (Policy, error) {
	switch s {
	case "a":
		return GiveUp, nil
	case "b":
		return DefendOnce, nil
	case "c":
		return NeverGiveUp, nil
	}
	if i := slices.Index(policyNames[:], s); i >= 0 {
		return Policy(i), nil
	}
	return 0, fmt.Errorf("linklocal: unknown policy %q: want give-up, defend-once or never-give-up", s)
}

// DetectorConfig says what a Detector tests and as whom.
type DetectorConfig struct {
	// Address is the IPv4 address to test. It must be set.
	Address netip.Addr
	// HardwareAddr is that of the interface. It must be set.
	HardwareAddr HardwareAddr
	// Own holds the hardware addresses of the host's other interfaces, whose
	// packets are not conflicts. Nil means there are none.
	Own []HardwareAddr
	// Policy says what to do about conflicts once the address is held. Zero is
	// DefendOnce.
	Policy Policy
	// CheckOnly ends the test with [EventFree], without claiming the address.
	CheckOnly bool
	// Rand draws the delays. Nil means a source seeded by the hardware address.
	Rand *rand.Rand
}

func (c DetectorConfig) withDefaults() (DetectorConfig, error) {
	if !c.Address.Is4() || c.Address.IsUnspecified() {
		return c, fmt.Errorf("linklocal: %v is not an IPv4 address to claim", c.Address)
	}
	if !c.HardwareAddr.IsStation() {
		return c, fmt.Errorf("linklocal: %v is not the hardware address of one station", c.HardwareAddr)
	}
	if c.Rand == nil {
		c.Rand = c.HardwareAddr.rand(delayStream)
	}
	return c, nil
}

// ClaimerConfig says how a Claimer chooses and keeps addresses.
type ClaimerConfig struct {
	// HardwareAddr is that of the interface; it also seeds the sequence of
	// candidates (RFC 3927 section 2.1). It must be set.
	HardwareAddr HardwareAddr
	// First is the first candidate: the address held the last time. Zero means
	// the first of the sequence. It must be selectable.
	First netip.Addr
	// Policy says what to do about conflicts. Zero is DefendOnce.
	Policy Policy
	// Linger is how long a deprecated address is kept. Zero means DefaultLinger,
	// a negative value not at all.
	Linger time.Duration
	// Always claims an address even beside a routable one, which RFC 3927
	// section 1.9 advises against.
	Always bool
	// Rand draws the delays. Nil means a source seeded by the hardware address.
	Rand *rand.Rand
}

func (c ClaimerConfig) withDefaults() (ClaimerConfig, error) {
	if !c.HardwareAddr.IsStation() {
		return c, fmt.Errorf("linklocal: %v is not the hardware address of one station", c.HardwareAddr)
	}
	if c.First.IsValid() && !Selectable(c.First) {
		return c, fmt.Errorf("linklocal: %v is not in 169.254.1.0 to 169.254.254.255 (RFC 3927 section 2.1)", c.First)
	}
	if c.Linger == 0 {
		c.Linger = DefaultLinger
	}
	if c.Rand == nil {
		c.Rand = c.HardwareAddr.rand(delayStream)
	}
	return c, nil
}
