package probe

import (
	"net/netip"
	"time"
)

// host is another machine that a Pinger asks.
type host struct {
	addr      netip.AddrPort
	origin    origin // zero until it has spoken
	restarts  int
	leftAt    time.Time // zero: it is there
	lastAsked uint64    // when it has left
	paused    uint64    // questions that it was not there for
	paths     [len(Paths)]pathState
}

// pathState is one path to one host.
type pathState struct {
	window
	jitter
	base      uint64 // the first question that counts
	firstCame bool   // the answer to that one
	rtt       Spread
	hops      int
}

// take notes an answer to question seq.
func (s *pathState) take(seq uint64, rtt time.Duration, hops int) Outcome {
	outcome, _ := s.window.take(seq)
	s.hops = hops
	if outcome == Duplicate || outcome == Late {
		return outcome
	}
	s.firstCame = s.firstCame || seq == s.base
	s.rtt.add(rtt)
	s.jitter.add(rtt)
	return outcome
}

// came reports whether question seq, one of the last windowBits, was answered.
func (s *pathState) came(seq uint64) bool {
	return s.last > 0 && seq <= s.last && seq >= s.first && s.last-seq < windowBits && s.has(seq)
}

func (h *host) gone() bool { return !h.leftAt.IsZero() }

// missing reports whether an answer may still come on any path.
func (h *host) missing(now time.Time, p *Pinger) bool {
	for i := range h.paths {
		if h.paths[i].pending(now, p, p.seq) > 0 {
			return true
		}
	}
	return false
}

// pending counts the questions up to last whose answers may still come.
func (s *pathState) pending(now time.Time, p *Pinger, last uint64) (n uint64) {
	for q := last; q >= s.base && last-q < windowBits && now.Sub(p.asked[q%windowBits]) < p.cfg.Wait; q-- {
		if !s.came(q) {
			n++
		}
	}
	return n
}

// report tells what is known at now.
func (h *host) report(now time.Time, p *Pinger) HostReport {
	r := HostReport{Host: h.addr, Left: h.gone(), Restarts: h.restarts}
	last := p.seq
	if h.gone() {
		last, now = h.lastAsked, h.leftAt
	}
	for i := range h.paths {
		s := &h.paths[i]
		pr := PathReport{
			Received: s.received, Duplicate: s.duplicate, Reordered: s.reordered, Late: s.late,
			RTT: s.rtt, Jitter: time.Duration(s.value), Hops: s.hops,
		}
		if last >= s.base {
			pr.Sent = last - s.base + 1 - min(h.paused, last-s.base)
		}
		pr.Sent -= s.pending(now, p, last)
		pr.Sent = max(pr.Sent, pr.Received)
		pr.Lost = pr.Sent - pr.Received
		if pr.Sent > 1 {
			pr.SentLater, pr.ReceivedLater = pr.Sent-1, pr.Received
			if s.firstCame {
				pr.ReceivedLater--
			}
			pr.ReceivedLater = min(pr.ReceivedLater, pr.SentLater)
		}
		r.Paths[i] = pr
	}
	return r
}

// guests are the hosts that a Pinger knows.
type guests struct {
	max      int
	list     []*host
	byAddr   map[netip.AddrPort]*host
	byOrigin map[origin]*host
	refused  uint64
}

// add adds a host whose questions count from number ask on, those by multicast from
// outward on. It returns nil when there are too many.
func (g *guests) add(addr netip.AddrPort, o origin, ask, outward uint64) *host {
	if h := g.byAddr[addr]; h != nil { // named twice
		return h
	}
	if len(g.list) >= g.max {
		g.refused++
		return nil
	}
	h := &host{addr: addr, origin: o}
	for i := range h.paths {
		h.paths[i].base, h.paths[i].hops = ask, -1
	}
	h.paths[Outward].base = outward
	g.list = append(g.list, h)
	g.byAddr[addr] = h
	if o != (origin{}) {
		g.byOrigin[o] = h
	}
	return h
}

// find returns the host that o speaks for: the one known by that origin, whatever
// address it speaks from, or the one at that address. A later epoch at an address is
// a restart; an earlier one is a packet that was long under way, or a second program
// there, and finds nothing.
func (g *guests) find(from netip.AddrPort, o origin) (h *host, restarted bool) {
	if h = g.byOrigin[o]; h != nil {
		return h, false
	}
	if h = g.byAddr[from]; h == nil {
		return nil, false
	}
	if h.origin != (origin{}) {
		if o.epoch <= h.origin.epoch {
			return h, false
		}
		delete(g.byOrigin, h.origin)
		h.restarts++
		restarted = true
	}
	h.origin = o
	g.byOrigin[o] = h
	return h, restarted
}

// limiter lets rate calls a second pass, at most rate at once.
type limiter struct {
	rate, left float64
	at         time.Time
	dropped    uint64
}

func (l *limiter) take(now time.Time) bool {
	if l.at.IsZero() {
		l.left = l.rate
	} else {
		l.left = min(l.rate, l.left+l.rate*max(0, now.Sub(l.at).Seconds()))
	}
	l.at = now
	if l.left < 1 {
		l.dropped++
		return false
	}
	l.left--
	return true
}
