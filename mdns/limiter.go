package mdns

import (
	"net/netip"
	"slices"
	"time"
)

// Limits of unicast replies. Multicast ones are limited by record (RFC 6762
// section 6); these go wherever the source of a query says, so that a forged one
// would turn the answers on its owner.
const (
	// UnicastRate is how many unicast replies one source gets in a second, after
	// UnicastBurst at once; all sources together get UnicastTotal.
	UnicastRate  = 10
	UnicastBurst = 20
	UnicastTotal = 500
	// UnicastSources is how many sources are told apart at a time. While there are
	// more, only the limit of all together holds for the others.
	UnicastSources = 1024
	// DirectMax is the most packets of a reply to a query that came by unicast, and
	// UnicastMax to a QU question.
	DirectMax  = 1
	UnicastMax = 4
)

// bucket holds what a source may still have: one unit is a reply.
type bucket struct {
	left float64
	at   time.Time
}

// take takes one of at most burst, which come back at rate a second.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if d := now.Sub(b.at); d > 0 {
		b.left, b.at = min(b.left+d.Seconds()*rate, burst), now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// limiter deals out unicast replies.
type limiter struct {
	total   bucket
	sources map[netip.Addr]*bucket
	swept   time.Time
	refused uint64
}

// allow reports whether a may have a reply now, and counts when it may not.
func (l *limiter) allow(now time.Time, a netip.Addr) bool {
	if l.sources == nil {
		l.sources = make(map[netip.Addr]*bucket)
		l.total = bucket{UnicastTotal, now}
	}
	b := l.sources[a]
	if b == nil {
		l.sweep(now)
		b = &bucket{UnicastBurst, now}
		if len(l.sources) < UnicastSources {
			l.sources[a] = b
		}
	}
	if b.take(now, UnicastRate, UnicastBurst) && l.total.take(now, UnicastTotal, UnicastTotal) {
		return true
	}
	l.refused++
	return false
}

// sweep forgets the sources whose buckets are full again, once in the time that
// takes at most.
func (l *limiter) sweep(now time.Time) {
	const refill = UnicastBurst * time.Second / UnicastRate
	if len(l.sources) < UnicastSources || now.Sub(l.swept) < refill {
		return
	}
	l.swept = now
	for a, b := range l.sources {
		if now.Sub(b.at) >= refill {
			delete(l.sources, a)
		}
	}
}

// allowance asks the limiter once for all questions of a query.
type allowance struct {
	r      *Responder
	now    time.Time
	by     asker
	asked  bool
	answer bool
}

func (a *allowance) get() bool {
	if !a.asked {
		a.asked, a.answer = true, a.r.limit.allow(a.now, a.by.from.Addr())
	}
	return a.answer
}

// repeated reports whether q stands among the questions before it. Answering each
// once is what a message full of one question is worth.
func repeated(before []AskedQuestion, q AskedQuestion) bool {
	return slices.ContainsFunc(before, func(x AskedQuestion) bool {
		return x.Type == q.Type && x.Class == q.Class && x.Unicast == q.Unicast && sameName(x.Name, q.Name)
	})
}

// most returns how many packets p may have.
func (p *reply) most() int {
	if p.why == causeDirect {
		return DirectMax
	}
	return UnicastMax
}

// mayDefer reports whether a reply may wait for the further known answers of a
// source. When too many do, it goes like any other: an answer too many does less
// harm than one that is missing.
func (r *Responder) mayDefer(from netip.Addr) bool {
	n := 0
	for _, p := range r.pending {
		if p.truncated == from {
			return true
		}
		if p.isDeferred() {
			n++
		}
	}
	if n < DeferredMax {
		return true
	}
	r.hurried++
	return false
}

func (p *reply) isDeferred() bool { return p.truncated.IsValid() }

func toOne(p *reply) bool { return p.to.IsValid() }

// waiting counts the replies that wait.
func (r *Responder) waiting(which func(*reply) bool) (n int) {
	for _, p := range r.pending {
		if which(p) {
			n++
		}
	}
	return n
}
