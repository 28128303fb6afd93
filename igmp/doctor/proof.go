package doctor

import (
	"fmt"
	"time"
)

// Step is one step of the proof.
type Step uint8

// The steps.
const (
	// CardOpen: the network card lets the group pass; nothing was joined.
	CardOpen Step = iota + 1
	// AliasJoined: a group with the same Ethernet address was joined.
	AliasJoined
	// GroupJoined: the group itself was joined.
	GroupJoined
)

var stepNames = [...]string{"", "card open, nothing joined", "alias joined", "group joined"}

// String returns the step in words.
func (s Step) String() string {
	if int(s) >= len(stepNames) {
		return fmt.Sprintf("step %d", uint8(s))
	}
	return stepNames[s]
}

// Kind is what a switch does to groups.
type Kind uint8

// The kinds of switches.
const (
	// Unclear: the steps contradict each other, or nearly half of it was lost.
	Unclear Kind = iota
	// Floods: it sends groups everywhere, as without snooping or without a querier.
	Floods
	// ByHardwareAddr: it snoops, and tells Ethernet addresses apart.
	ByHardwareAddr
	// ByAddr: it snoops, and tells groups apart.
	ByAddr
	// DropsGroups: what was joined does not arrive.
	DropsGroups
)

var kindNames = [...]string{"unclear", "flooding", "snooping by hardware address", "snooping by IP address", "broken"}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// Count is how much of what the peer has sent arrived in one step.
type Count struct {
	Step           Step
	Sent, Received int
}

// Proof is the outcome of the three steps.
type Proof struct {
	Counts []Count
	// Took is how long it took.
	Took time.Duration
}

// arrived reports whether a step's datagrams came: most of them, or about none.
func (p Proof) arrived(s Step) (yes, clear bool) {
	for _, c := range p.Counts {
		if c.Step == s && c.Sent > 0 {
			return 2*c.Received > c.Sent, 10*c.Received <= c.Sent || 2*c.Received > c.Sent
		}
	}
	return false, false
}

// Kind concludes from the steps.
func (p Proof) Kind() Kind {
	open, clear1 := p.arrived(CardOpen)
	alias, clear2 := p.arrived(AliasJoined)
	group, clear3 := p.arrived(GroupJoined)
	switch {
	case clear3 && !group:
		return DropsGroups
	case !clear1 || !clear2 || !clear3:
		return Unclear
	case open:
		return Floods
	case alias:
		return ByHardwareAddr
	}
	return ByAddr
}

// Finding says what the proof means.
func (p Proof) Finding() Finding {
	f := Finding{Severity: Note, Rule: Switch}
	for i, c := range p.Counts {
		if i > 0 {
			f.Evidence += "; "
		}
		f.Evidence += fmt.Sprintf("%v: %d of %d arrived", c.Step, c.Received, c.Sent)
	}
	switch p.Kind() {
	case Floods:
		f.Text = "the switch floods groups to ports that have not joined: it does not snoop, or has heard no querier yet"
		f.Cure = "nothing, unless the traffic is a burden: then switch on snooping and a querier"
	case ByHardwareAddr:
		f.Text = "the switch snoops by Ethernet address: members of an alias receive a group too"
		f.Cure = "choose groups without common Ethernet addresses; aether mcast mac GROUP lists the aliases"
	case ByAddr:
		f.Text = "the switch snoops by IP address: groups go only where they were joined"
	case DropsGroups:
		f.Severity = Broken
		f.Text = "a group that was joined here, and which the peer sends, does not arrive"
		f.Cure = "look at the switch: snooping without a querier, unregistered groups dropped, storm control, or reports that it does not understand; switch snooping off to compare"
	default:
		f.Severity = Warning
		f.Text = "the steps do not tell clearly what the switch does: some arrived, some did not"
		f.Cure = "try again; if it stays so, look for loss on the way"
	}
	return f
}
