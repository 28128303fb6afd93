package doctor

import (
	"net/netip"
	"time"

	"github.com/aether-lan/aether/multicast"
)

// Packet is one datagram that was heard.
type Packet struct {
	// Payload is the UDP payload. The [Doctor] does not keep it.
	Payload []byte
	// From and To are the sender and the destination.
	From, To netip.AddrPort
	// HardwareAddr is the sender's MAC address; zero where unknown.
	HardwareAddr multicast.HardwareAddr
	// HopLimit is the IP TTL or hop limit; 0 where unknown.
	HopLimit int
}

// Severity says how much a finding harms.
type Severity int

// The severities, the worst last.
const (
	// Note is a departure from a recommendation.
	Note Severity = iota + 1
	// Warning costs others time or traffic.
	Warning
	// Broken makes services or names of others vanish or fail.
	Broken
)

// String returns the severity as one lower-case word.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Broken:
		return "broken"
	}
	return "unknown"
}

// Rule names what was broken.
type Rule string

// The rules.
const (
	SharedFlush  Rule = "shared-flush"
	Periodic     Rule = "periodic"
	UnicastAlone Rule = "unasked-unicast"
	TinyTTL      Rule = "tiny-ttl"
	Conflict     Rule = "conflict"
	KnownAnswer  Rule = "known-answer"
	Reflected    Rule = "reflected"
	NoText       Rule = "no-txt"
	Oversize     Rule = "oversize"
	Fragmented   Rule = "fragmented"
	HopLimit     Rule = "hop-limit"
	Chatty       Rule = "chatty"
	Repeats      Rule = "repeats"
	ProbeQM      Rule = "probe-qm"
	SourcePort   Rule = "source-port"
	Malformed    Rule = "malformed"
)

// verdictOn is what a rule says of who breaks it.
type verdictOn struct {
	severity Severity
	section  string
	// from is how often it must happen before it is reported.
	from   int
	advice string
}

var verdicts = map[Rule]verdictOn{
	SharedFlush:  {Broken, "RFC 6762 10.2", 1, "Clear the cache-flush bit on shared records; it erases the records of all other hosts."},
	Periodic:     {Warning, "RFC 6762 8.3", 1, "Announce at most eight times at doubling intervals, then answer questions only."},
	UnicastAlone: {Warning, "RFC 6762 6", 1, "Send unicast responses only to who asked a QU question or asked by unicast."},
	TinyTTL:      {Warning, "RFC 6762 10", 1, "Use a TTL of 120 seconds for host records and 75 minutes for others; each expiry costs queries."},
	Conflict:     {Broken, "RFC 6762 9", 1, "Give one of the two hosts another name; the one that lost must probe again and rename itself."},
	KnownAnswer:  {Warning, "RFC 6762 7.1", 2, "Do not answer what the question lists as known with at least half the TTL."},
	Reflected:    {Warning, "RFC 6762 14", 1, "Look for a reflector or repeater that sends packets back into the link they came from."},
	NoText:       {Warning, "RFC 6763 6.1", 1, "Publish a TXT record beside each SRV record, with a single zero byte if there is nothing to say."},
	Oversize:     {Broken, "RFC 6762 17", 1, "Keep packets within 9000 bytes, headers included; receivers drop the rest."},
	Fragmented:   {Warning, "RFC 6762 17", 1, "Split the message; only one that holds a single large record may exceed the MTU."},
	HopLimit:     {Warning, "RFC 6762 11", 1, "Send responses with an IP TTL of 255; older receivers drop others as coming from outside the link."},
	Chatty:       {Warning, "RFC 6762 5.2", 1, "Send less: over a thousand packets an hour from one host."},
	Repeats:      {Warning, "RFC 6762 5.2", 3, "Wait a second before asking again, and twice as long each time after."},
	ProbeQM:      {Note, "RFC 6762 8.1", 1, "Ask probe questions with the unicast-response bit set."},
	SourcePort:   {Broken, "RFC 6762 6", 1, "Send responses from UDP port 5353; all others are ignored."},
	Malformed:    {Broken, "RFC 6762 18", 1, "Send well-formed messages with opcode and response code zero; this one must be ignored."},
}

// Finding is one host that breaks one rule with one record or question.
type Finding struct {
	Severity Severity
	Rule     Rule
	// Host is who does it.
	Host Host
	// Other is the host it is done to or with, where there is one.
	Other netip.Addr
	// What is the record or question in presentation form, or a phrase.
	What string
	// Count is how often it happened.
	Count int
	// First and Last are when.
	First, Last time.Time
	// Section is what says that it is wrong, like "RFC 6762 10.2".
	Section string
	// Advice is one sentence on what to do.
	Advice string
}

// Host is who sent a datagram.
type Host struct {
	Addr netip.Addr
	// HardwareAddr is zero and HopLimit 0 where unknown; HopLimit is the last seen.
	HardwareAddr multicast.HardwareAddr
	HopLimit     int
	// Packets is how many datagrams it sent.
	Packets int
}

// Totals are counts over all that was heard.
type Totals struct {
	Packets, Queries, Responses, Malformed int
	// Hosts is the number of senders that are told apart.
	Hosts int
	// PacketsPerHour is 0 until a minute was heard.
	PacketsPerHour float64
	// First and Last are when the first and the last packet were heard.
	First, Last time.Time
	// Untracked counts what had no room in the tables: hosts, findings, records,
	// questions. What it counts was not judged by all rules.
	Untracked Untracked
}

// Untracked counts what found a table full.
type Untracked struct{ Hosts, Findings, Records, Questions int }
