package doctor

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/igmp"
)

// Severity is how bad a finding is.
type Severity uint8

// The severities.
const (
	// Note is worth knowing.
	Note Severity = iota + 1
	// Warning is a mistake that works for now, or for most.
	Warning
	// Broken does not work, or will not in a few minutes.
	Broken
)

var severityNames = [...]string{"", "note", "warning", "broken"}

// String returns note, warning or broken.
func (s Severity) String() string {
	if int(s) >= len(severityNames) {
		return fmt.Sprintf("severity %d", uint8(s))
	}
	return severityNames[s]
}

// Verdict is the sum of the findings; its number is the exit status of a command.
type Verdict int

// The verdicts.
const (
	// Healthy: there is a querier, and nothing is broken.
	Healthy Verdict = 0
	// Unhealthy: something is broken.
	Unhealthy Verdict = 1
	// Unknown: not enough was heard.
	Unknown Verdict = 4
)

// String returns healthy, broken or cannot tell.
func (v Verdict) String() string {
	switch v {
	case Healthy:
		return "healthy"
	case Unhealthy:
		return "broken"
	}
	return "cannot tell"
}

// Rule names what was found, in a word for scripts.
type Rule string

// The rules.
const (
	Querier         Rule = "querier"           // who asks
	NoQuerier       Rule = "no-querier"        // nobody does
	ProxyQuerier    Rule = "proxy-querier"     // only 0.0.0.0 does (RFC 4541 section 2.1.1)
	LinkLocal       Rule = "link-local"        // a querier from 169.254/16
	OldQuerier      Rule = "old-querier"       // it holds the link to an old version (RFC 9776 section 7.2.1)
	OldHost         Rule = "old-host"          // a host holds a group to an old version (section 7.3.2)
	TwoQueriers     Rule = "two-queriers"      // the election does not settle (section 6.6.2)
	Timers          Rule = "timers"            // intervals that do not fit together (section 8)
	WrongTTL        Rule = "wrong-ttl"         // not 1 (section 4)
	NoRouterAlert   Rule = "no-router-alert"   // the option is missing (section 4)
	WrongAddress    Rule = "wrong-destination" // a message went to an address not its own
	Malformed       Rule = "malformed"         // messages that nobody may understand
	UnansweredLeave Rule = "unanswered-leave"  // no group-specific query after a leave (section 6.4.2)
	SilentMember    Rule = "silent-member"     // a member that does not answer queries
	FloodedGroup    Rule = "flooded-group"     // members of a group that switches flood
	SharedAddress   Rule = "shared-address"    // groups with one Ethernet address (RFC 1112 section 6.4)
	UnwantedFlow    Rule = "unwanted-flow"     // traffic to a group that nobody has joined
	MissingFlow     Rule = "missing-flow"      // members of a group without traffic
	Switch          Rule = "switch"            // what the proof has shown
)

// Finding is one thing that the doctor has noticed.
type Finding struct {
	Severity Severity
	Rule     Rule
	// Text says what is the matter, Evidence how it is known, Cure what to do; Cure
	// may be empty.
	Text, Evidence, Cure string
	// Host and Group are what it is about, invalid where it is about none.
	Host, Group netip.Addr
}

// String returns the finding in one line.
func (f Finding) String() string { return fmt.Sprintf("%v %s: %s", f.Severity, f.Rule, f.Text) }

// Diagnosis is what the doctor says about one link and family.
type Diagnosis struct {
	Verdict Verdict
	// Findings come worst first.
	Findings []Finding
	// Querier is who asks; Querier.Addr is invalid when nobody does.
	Querier igmp.HostSeen
	// Listened is how long the link was listened to.
	Listened time.Duration
	// Cliff is when memberships known to a switch begin to end unless somebody asks:
	// zero when it is not known that anybody is a member.
	Cliff time.Time
	// Settled says that listening on would not change the verdict soon.
	Settled bool
}
