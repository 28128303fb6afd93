package conform

import (
	"fmt"
	"time"
)

// Verdict is what a check says of the target.
type Verdict int

// The verdicts, from good to bad. Skipped says nothing.
const (
	Skipped Verdict = iota
	Pass
	// Warning: not what the RFC says SHOULD be, or just out of time.
	Warning
	// Fail: not what the RFC says MUST be, or far out of time.
	Fail
)

var verdictNames = [...]string{"skip", "pass", "warning", "fail"}

// String returns the verdict in one lower-case word.
func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return fmt.Sprintf("verdict %d", int(v))
	}
	return verdictNames[v]
}

// Result is how one check went.
type Result struct {
	// Check is the name of the check, "known-answer".
	Check string
	// Title says what is checked, in a few words.
	Title string
	// Section is where it is asked for: "RFC 6762 section 7.1".
	Section string
	Verdict Verdict
	// Notes say what was observed, the worst first.
	Notes []string
	// Began and Took are when the check ran and how long.
	Began time.Time
	Took  time.Duration
	// Packets are those sent and heard meanwhile, up to PacketMax.
	Packets []Captured
}

// PacketMax is the most packets that a Result keeps.
const PacketMax = 2000

// Captured is a packet and when it went by.
type Captured struct {
	Packet
	At time.Time
	// Sent says that it was ours.
	Sent bool
}

// report gathers what a check finds.
type report struct {
	verdict  Verdict
	failures []string
	warnings []string
	facts    []string
}

func (r *report) raise(v Verdict) { r.verdict = max(r.verdict, v) }

// failf says that a MUST is not met.
func (r *report) failf(format string, args ...any) {
	r.raise(Fail)
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// warnf says that a SHOULD is not met.
func (r *report) warnf(format string, args ...any) {
	r.raise(Warning)
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// okf says what was right.
func (r *report) okf(format string, args ...any) {
	r.raise(Pass)
	r.facts = append(r.facts, fmt.Sprintf(format, args...))
}

// skipf says why nothing can be said, unless something was.
func (r *report) skipf(format string, args ...any) {
	r.facts = append(r.facts, fmt.Sprintf(format, args...))
}

func (r *report) notes() []string {
	var all []string
	seen := make(map[string]bool)
	for _, list := range [][]string{r.failures, r.warnings, r.facts} {
		for _, n := range list {
			if !seen[n] {
				seen[n] = true
				all = append(all, n)
			}
		}
	}
	return all
}
