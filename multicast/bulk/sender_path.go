package bulk

import (
	"time"
)

// How the path is measured.
const (
	trainBlocks   = 64
	probePackets  = 24
	trainPatience = 150 * time.Millisecond
	trainTries    = 4
	// probeShare bounds what the unicast probe may cost, as a part of the object.
	probeShare = 1.0 / 400
)

// measuring is what trains of packets find out. The multicast train is made of the
// first blocks of the object, so it costs nothing.
type measuring struct {
	number   uint32
	section  int
	count    int
	length   int // of a packet in bytes
	tries    int
	answers  map[uint16]float64
	asked    *member // by the unicast probe
	measured float64 // of the multicast train, median
	// doubted says that this is the second measurement: the first one, which found
	// before, spoke against multicast, and a busy machine can make it do that.
	doubted bool
	before  float64
}

// startTrain sends the first blocks of the pass at once, and asks how fast they came.
func (s *Sender) startTrain(now time.Time) {
	s.path = measuring{number: s.number(), answers: make(map[uint16]float64), length: s.env.blockLen(s.offer.Block)}
	section, n, err := s.burst(now, trainBlocks)
	if err != nil {
		s.Abort(now, err.Error())
		return
	}
	s.path.section, s.path.count = section, n
	if n < 8 { // too few to tell anything, and few enough not to matter
		s.state = sending
		s.begun(0)
		s.clock.act = now
		return
	}
	s.state = training
	s.askTrain(now)
}

func (s *Sender) askTrain(now time.Time) {
	s.path.tries++
	s.broadcast(Train{Session: s.offer.Session, Number: s.path.number, Section: uint32(s.path.section), Count: uint16(s.path.count)})
	s.clock.act = now.Add(trainPatience)
}

func (s *Sender) handleTrainReport(now time.Time, m TrainReport) {
	r := s.roster.byToken(m.Station, m.Token)
	if r == nil || m.Session != s.offer.Session {
		s.stats.NotAuthentic++
		return
	}
	r.heard, s.clock.heard = now, now
	if m.Number != s.path.number || s.state != training && s.state != probing1 {
		return
	}
	rate := 0.0
	if m.Received >= 2 {
		span := max(time.Duration(m.Span), 10*time.Microsecond)
		rate = float64(int(m.Received-1)*s.path.length) / span.Seconds()
	}
	s.path.answers[m.Station] = rate
}

// train waits for the reports of all active receivers, or of most after a while.
func (s *Sender) train(now time.Time) {
	if len(s.path.answers) < s.roster.count(active) && now.Before(s.clock.act) {
		return
	}
	if 2*len(s.path.answers) < s.roster.count(active) && s.path.tries < trainTries {
		s.askTrain(now)
		return
	}
	var rates []float64
	for _, m := range s.roster.in(active) {
		if rate, ok := s.path.answers[m.number]; ok {
			rates = append(rates, rate)
		}
	}
	s.path.measured = max(s.path.before, median(rates))
	if !s.worthProbing() {
		s.proceed(now)
		return
	}
	s.startProbe(now)
}

// worthProbing says whether unicast could win: with one receiver it cannot, and for
// a small object the probe costs more than it may save.
func (s *Sender) worthProbing() bool {
	cost := float64(probePackets * s.path.length)
	return s.cfg.Mode == ModeAuto && s.roster.count(active) > 1 && cost <= probeShare*float64(s.offer.Size)
}

// startProbe sends a burst to the receiver whose train was the median.
func (s *Sender) startProbe(now time.Time) {
	for _, m := range s.roster.in(active) {
		if rate, ok := s.path.answers[m.number]; s.path.asked == nil || ok && rate == s.path.measured {
			s.path.asked = m
		}
	}
	s.path.number, s.path.answers = s.number(), make(map[uint16]float64)
	padding := make([]byte, s.offer.Block-80)
	for i := range probePackets {
		before := s.stats.Bytes
		s.sendTo(s.path.asked.addr, Probe{
			Session: s.offer.Session, Number: s.path.number, Index: uint16(i), Count: probePackets, Padding: padding,
		})
		s.stats.ProbeBytes += s.stats.Bytes - before
	}
	s.state = probing1
	s.clock.act = now.Add(trainPatience)
}

// probe decides between multicast and unicast: unicast has to carry the object once
// for each receiver.
func (s *Sender) probe(now time.Time) {
	unicast, ok := s.path.answers[s.path.asked.number]
	if !ok && now.Before(s.clock.act) {
		return
	}
	n := s.roster.count(active)
	if ok && s.path.measured < unicast/float64(n) {
		if !s.path.doubted {
			before := s.path.measured
			s.startTrain(now)
			s.path.doubted, s.path.before = true, before
			return
		}
		s.say(Refused{Multicast: s.path.measured, Unicast: unicast, Receivers: n})
		s.toUnicast(now, "multicast is slower here than unicast")
		return
	}
	s.proceed(now)
}

// proceed goes on with multicast at the rate found.
func (s *Sender) proceed(now time.Time) {
	s.pace.measured(s.path.measured)
	s.state, s.clock.act = sending, now
	s.begun(s.path.measured)
}

func (s *Sender) begun(measured float64) {
	s.say(Started{Receivers: s.roster.count(active), Rate: s.pace.rate, Train: measured})
}

// toUnicast lets everybody fetch by TCP.
func (s *Sender) toUnicast(now time.Time, reason string) {
	for _, m := range s.roster.in(active) {
		m.state, m.text = evicted, reason
	}
	s.startTrailing(now)
}
