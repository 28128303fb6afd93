package probe

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Path is a way between two hosts.
type Path int

// The paths.
const (
	// Unicast: question and answer go by unicast.
	Unicast Path = iota
	// Multicast: the question goes by unicast, the answer comes by multicast.
	Multicast
	// Outward: the question goes by multicast, the answer comes by unicast.
	Outward
)

// Paths are all paths, Unicast first.
var Paths = [...]Path{Unicast, Multicast, Outward}

var pathNames = [...]string{"unicast", "multicast", "outward"}

// String returns the path in one word.
func (p Path) String() string {
	if p < 0 || int(p) >= len(pathNames) {
		return fmt.Sprintf("path %d", int(p))
	}
	return pathNames[p]
}

// PathReport is what was measured on one path to one host.
type PathReport struct {
	// Sent counts the questions that were answered or had time enough to be.
	Sent      uint64
	Received  uint64 // answers, each question's once
	Lost      uint64
	Duplicate uint64
	Reordered uint64
	Late      uint64
	// SentLater and ReceivedLater leave out the first question of the path, which may
	// be lost while switches learn where members are.
	SentLater, ReceivedLater uint64
	// RTT is the time from question to answer.
	RTT    Spread
	Jitter time.Duration
	// Hops is the distance by multicast or unicast as the path says, -1 unknown.
	Hops int
}

// Loss returns the part of the questions that were not answered, the first one left
// out where there are more: 0 to 1, and 0 where nothing was asked.
func (p PathReport) Loss() float64 {
	sent, received := p.SentLater, p.ReceivedLater
	if sent == 0 {
		sent, received = p.Sent, p.Received
	}
	if sent == 0 {
		return 0
	}
	return float64(sent-received) / float64(sent)
}

// HostReport is what was measured about one host.
type HostReport struct {
	Host netip.AddrPort
	// Left says that the host has told that it is going.
	Left bool
	// Restarts counts how often its program was started anew meanwhile.
	Restarts int
	Paths    [len(Paths)]PathReport
}

// Verdict says how good multicast is.
type Verdict int

// The verdicts, the better first.
const (
	// Good: multicast is as good as unicast.
	Good Verdict = iota
	// Silent: nobody answered, so that nothing can be said.
	Silent
	// Lossy: multicast loses more than is allowed, and more than unicast does.
	Lossy
	// Broken: unicast works and multicast does not.
	Broken
)

var verdictNames = [...]string{"good", "silent", "lossy", "broken"}

// String returns the verdict in one word.
func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return fmt.Sprintf("verdict %d", int(v))
	}
	return verdictNames[v]
}

// DefaultMaxLoss is the loss of multicast that is still good, of 1.
const DefaultMaxLoss = 0.05

// Verdict judges multicast to and from h. It is Lossy when a multicast path lost more
// than maxLoss of its questions, and more than unicast did by more than chance: three
// standard errors of the difference between two parts of the same whole. Where unicast
// loses as much, the network is lossy, and not its multicast; where it loses nothing
// there is no such chance.
func (h HostReport) Verdict(maxLoss float64) Verdict {
	u := h.Paths[Unicast]
	worst := Silent
	for _, p := range Paths {
		if h.Paths[p].Received > 0 {
			worst = Good
		}
	}
	if worst == Silent {
		return Silent
	}
	for _, p := range Paths[1:] {
		m := h.Paths[p]
		switch loss := m.Loss(); {
		case m.Sent == 0 || loss <= maxLoss || loss <= u.Loss()+chance(u, m):
		case loss == 1:
			worst = max(worst, Broken)
		default:
			worst = max(worst, Lossy)
		}
	}
	return worst
}

// chance returns how much more m may lose than u although both lose alike: three
// standard errors, with the loss of both together (the two-proportion z-test).
func chance(u, m PathReport) float64 {
	if u.Loss() == 0 {
		return 0
	}
	nu, nm := float64(max(u.SentLater, 1)), float64(max(m.SentLater, 1))
	both := (u.Loss()*nu + m.Loss()*nm) / (nu + nm)
	return 3 * math.Sqrt(both*(1-both)*(1/nu+1/nm))
}

// Judge returns the worst verdict about hosts; without any it is Silent.
func Judge(hosts []HostReport, maxLoss float64) Verdict {
	if len(hosts) == 0 {
		return Silent
	}
	worst := Good
	for _, h := range hosts {
		worst = max(worst, h.Verdict(maxLoss))
	}
	return worst
}
