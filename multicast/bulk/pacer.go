package bulk

import (
	"slices"
	"time"
)

// Rates are in bytes of datagrams a second, headers of IP and UDP left out.
const (
	defaultMinRate = 64 << 10
	defaultMaxRate = 1 << 40
	// trainShare of what a train of packets measured is where sending begins: a
	// short train can find a queue empty that a long one fills.
	trainShare = 0.9
	// startMost bounds the rate to begin with: a train of 64 packets fits into
	// buffers that say nothing of what lies behind them.
	startMost = 64 << 20
	// lossAllowed is the loss of the median receiver that is no sign of congestion.
	lossAllowed = 0.01
	// longSection is one for whose measurement a pause of a busy machine does not
	// matter.
	longSection = 100 * time.Millisecond
	// linkShare of what the link carries is used without trying for more, for
	// cleanRounds.
	linkShare   = 0.95
	cleanRounds = 8
	// ownMost bounds the loss that is taken as the link's own.
	ownMost = 0.3
)

// pacer decides how fast to send: from what a packet train measured, then up by a
// twentieth a section and down by up to three tenths on loss (AIMD), both judged by
// the median receiver, so that no single bad port slows the others.
//
// Two things a rule on loss alone gets wrong are told apart. A queue that grows
// delivers more slowly than we send before it loses anything: then the rate drops
// just below what arrives. And a link that loses at random delivers less at a lower
// rate, in proportion, where a full one delivers as much as before: what is still
// lost after such a step down counts as the link's own.
type pacer struct {
	rate, min, max float64
	cap            float64 // the least window of a receiver; 0 none
	own            float64 // loss that does not come from sending too fast
	before         round   // the one for whose loss the rate was lowered last; else zero
	slow           int     // rounds in a row that arrived more slowly than they were sent
	best           float64 // the rate that was good lately: growth up to there is quick
	link           float64 // what the link was seen to carry; 0 not known
	clean          int     // rounds since then with nothing wrong
	start          bool    // nothing was lost yet: grow quickly
	tokens         float64
	at             time.Time
}

func newPacer(least, most int64) *pacer {
	p := &pacer{min: float64(least), max: float64(most), start: true}
	if least <= 0 {
		p.min = defaultMinRate
	}
	if most <= 0 {
		p.max = defaultMaxRate
	}
	p.max = max(p.max, p.min)
	p.rate = p.min
	return p
}

// measured sets the rate from what a train found; zero is that it found nothing.
func (p *pacer) measured(rate float64) {
	p.set(min(startMost, trainShare*rate))
	if rate < startMost {
		p.link = rate
	}
}

func (p *pacer) set(rate float64) {
	most := p.max
	if p.cap > 0 {
		most = min(most, max(p.min, p.cap))
	}
	p.rate = min(most, max(p.min, rate))
}

// round is what the receivers said of one section or part of it.
type round struct {
	rate     float64 // that was asked for meanwhile
	sent     float64 // bytes a second that really left
	took     time.Duration
	losses   []float64 // a receiver each, 0 to 1
	arrivals []float64 // bytes a second, of those who could measure it
	cap      float64   // the least window of any; 0 none
}

// judge changes the rate by what r says.
func (p *pacer) judge(r round) {
	loss, arrival := median(r.losses), median(r.arrivals)
	p.cap = r.cap
	if loss < p.own || p.byChance(r, arrival) {
		p.own = min(loss, ownMost)
	}
	p.before = round{}
	sent := r.rate
	if r.sent > 0 {
		sent = min(sent, r.sent)
	}
	delivered := arrival / max(0.01, 1-loss) // as if nothing had been lost by chance
	slow := arrival > 0 && delivered < 0.96*sent
	if !slow {
		p.slow = 0
	}
	switch {
	case loss > p.own*1.5+lossAllowed:
		p.start, p.before = false, r
		p.best *= 0.85
		p.link, p.clean = arrival, 0
		p.set(max(0.7*r.rate, min(0.95*arrival, 0.95*r.rate)))
	case slow:
		// Once may be a machine that was busy, where a section passes quickly; a
		// queue is there the next time too.
		if p.slow++; p.slow > 1 || r.took > longSection {
			p.start, p.slow = false, 0
			p.best *= 0.9
			p.link, p.clean = delivered, 0
			p.set(max(0.7*r.rate, 0.94*delivered))
		}
	case r.sent > 0 && r.sent < 0.8*r.rate:
		// The machine does not send what it may: more would be a guess.
	default:
		p.best = max(p.best, r.rate)
		p.set(r.rate * p.growth(r.rate))
	}
}

// growth returns by how much to go up from rate when nothing was wrong: slowly where
// the link is known to end, so that queues in the way stay short and have room for
// pauses, until it was quiet for so long that the link may have changed.
func (p *pacer) growth(rate float64) float64 {
	g := 1.05
	if p.start || rate < 0.9*p.best {
		g = 1.15
	}
	p.clean++
	switch {
	case p.link == 0 || g*rate <= linkShare*p.link:
		return g
	case p.clean > cleanRounds:
		p.link = 0
		return g
	}
	return max(1.01, linkShare*p.link/rate)
}

// byChance reports whether r, after a step down for loss, shows that what arrives
// went down with it.
func (p *pacer) byChance(r round, arrival float64) bool {
	was := median(p.before.arrivals)
	if p.before.rate == 0 || was == 0 || arrival == 0 || r.rate >= p.before.rate {
		return false
	}
	return arrival/was < 1-0.5*(1-r.rate/p.before.rate)
}

// silence lowers the rate when no receiver is heard at all.
func (p *pacer) silence() { p.start = false; p.set(p.rate / 2) }

// maxBurst bounds what is sent at once after a pause.
const maxBurst = 4 * time.Millisecond

// fill adds the tokens of the time since the last call.
func (p *pacer) fill(now time.Time) {
	if !p.at.IsZero() {
		p.tokens += now.Sub(p.at).Seconds() * p.rate
	}
	p.at = now
	p.tokens = min(p.tokens, max(2*MaxBlock, maxBurst.Seconds()*p.rate))
}

// take spends n bytes if there are tokens. The last packet may overdraw.
func (p *pacer) take(n int) bool {
	if p.tokens <= 0 {
		return false
	}
	p.tokens -= float64(n)
	return true
}

// next returns when it is worth asking again: not for each packet, timers are
// coarser than that.
func (p *pacer) next(now time.Time) time.Time {
	wait := time.Duration((MaxBlock - p.tokens) / p.rate * float64(time.Second))
	return now.Add(max(wait, time.Millisecond))
}

// median returns the lower median of v, 0 of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[(len(s)-1)/2]
}
