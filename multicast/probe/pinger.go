package probe

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// PingerConfig says whom a [Pinger] asks, and how often.
type PingerConfig struct {
	// Group is where all hosts of a measurement meet. Its port is also the one that
	// hosts are asked at by unicast.
	Group netip.AddrPort
	// Hosts are asked by unicast from the start. Others are found by multicast. Their
	// ports are not used.
	Hosts []netip.Addr
	// Interval is the time between two questions. Zero means 1 s.
	Interval time.Duration
	// Count is how many questions are asked from the first host found on; as many at
	// most are asked to find one. Zero means no end.
	Count uint64
	// Wait is how long an answer may take. Zero means 1 s.
	Wait time.Duration
	// Bytes is the length of the payload of questions, at least 56 and at most
	// MaxBytes; answers are as long. Zero means 69.
	Bytes int
	// HopLimit is the TTL or hop limit that all is sent with. Zero means 1.
	HopLimit int
	// ID tells this run from others; 48 bits, drawn at random.
	ID uint64
	// Serve answers and asks nothing.
	Serve bool
	// MaxHosts is how many hosts are asked; further ones are answered only, and
	// counted. Zero means 256.
	MaxHosts int
	// MaxAnswers is how many answers a second are given; further questions are
	// dropped and counted. Zero means 2,000.
	MaxAnswers int
}

func (c PingerConfig) withDefaults() (PingerConfig, error) {
	c.Interval, c.Wait = cmp.Or(c.Interval, time.Second), cmp.Or(c.Wait, time.Second)
	c.Bytes, c.HopLimit = cmp.Or(c.Bytes, 69), cmp.Or(c.HopLimit, 1)
	c.MaxHosts, c.MaxAnswers = cmp.Or(c.MaxHosts, 256), cmp.Or(c.MaxAnswers, 2000)
	switch {
	case !c.Group.Addr().IsMulticast():
		return c, errors.New("probe: ping: no group")
	case c.Interval < time.Millisecond || c.Interval > time.Hour:
		return c, fmt.Errorf("probe: ping: interval %v is not in 1ms to 1h", c.Interval)
	case c.Wait < 0 || c.Wait > time.Minute:
		return c, fmt.Errorf("probe: ping: wait of %v is not in 0 to 1m", c.Wait)
	case c.Bytes < messageLen || c.Bytes > MaxBytes:
		return c, fmt.Errorf("probe: ping: %d bytes is not in %d to %d", c.Bytes, messageLen, MaxBytes)
	case c.HopLimit < 0 || c.HopLimit > 255:
		return c, fmt.Errorf("probe: ping: hop limit %d is not in 1 to 255", c.HopLimit)
	case len(c.Hosts) > c.MaxHosts:
		return c, fmt.Errorf("probe: ping: %d hosts, at most %d", len(c.Hosts), c.MaxHosts)
	}
	for i, h := range c.Hosts {
		if h = h.Unmap(); h.Is4() != c.Group.Addr().Is4() || h.IsMulticast() || h.IsUnspecified() {
			return c, fmt.Errorf("probe: ping: %v is not a host of the family of group %v", c.Hosts[i], c.Group.Addr())
		}
	}
	return c, nil
}

// phase is where a Pinger stands.
type phase int

const (
	asking  phase = iota // a question is due at next
	waiting              // for the last answers, until next
	idle                 // answers only
	ended
)

// Pinger asks the hosts of a group and answers them, by unicast and by multicast.
type Pinger struct {
	cfg    PingerConfig
	from   origin
	phase  phase
	next   time.Time
	seq    uint64 // of the last question
	stopAt uint64 // the last question there will be; 0 is not known
	whole  int    // so many hosts, the first, have answered all of them or left
	asked  [windowBits]time.Time
	guests
	answers limiter
	out     []Packet
	events  []Event
}

// NewPinger returns a Pinger that asks from start on. It fails with what is wrong in
// cfg.
func NewPinger(cfg PingerConfig, start time.Time) (*Pinger, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pinger{
		cfg: cfg, from: newOrigin(start, cfg.ID), next: start,
		guests:  guests{max: cfg.MaxHosts, byAddr: make(map[netip.AddrPort]*host), byOrigin: make(map[origin]*host)},
		answers: limiter{rate: float64(cfg.MaxAnswers)},
	}
	if cfg.Serve {
		p.phase = idle
		return p, nil
	}
	for _, a := range cfg.Hosts {
		p.add(netip.AddrPortFrom(a.Unmap(), cfg.Group.Port()), origin{}, 1, 1)
	}
	if len(cfg.Hosts) > 0 {
		p.stopAt = cfg.Count
	}
	return p, nil
}

// HandlePacket takes a question, an answer or a farewell.
func (p *Pinger) HandlePacket(now time.Time, in Packet) {
	m, err := parseMessage(in.Data)
	if err != nil || m.from == p.from || p.phase == ended {
		return
	}
	switch m.kind {
	case kindAsk:
		p.answer(now, in, m)
		p.meet(now, in.From, m, p.seq)
	case kindAnswer:
		p.hear(now, in, m)
	case kindBye:
		p.farewell(now, m)
	case kindTest, kindEnd: // of a Sender on the same group
	}
	p.finishEarly(now)
}

// answer answers a question: one by unicast also by multicast, so that who asked can
// compare the two.
func (p *Pinger) answer(now time.Time, in Packet, m message) {
	hopsTaken := uint8(unknownHops)
	if h := hops(m.hopLimit, in.HopLimit); h >= 0 {
		hopsTaken = uint8(h)
	}
	a := message{
		kind: kindAnswer, hopLimit: uint8(p.cfg.HopLimit), from: p.from, interval: m.interval, seq: m.seq, sent: m.sent,
		echo: echo{asker: m.from, path: m.path, hops: hopsTaken},
	}
	size := min(len(in.Data), MaxBytes)
	if !p.answers.take(now) || size < messageLen {
		return
	}
	p.out = append(p.out, Packet{Data: a.append(nil, size), To: in.From})
	if m.path == 0 && p.answers.take(now) {
		a.path = 1
		p.out = append(p.out, Packet{Data: a.append(nil, size), To: p.cfg.Group})
	}
}

// meet takes note of a host that spoke, and returns it: nil when it is not asked.
// outward is the first question by multicast that it counts for.
func (p *Pinger) meet(now time.Time, from netip.AddrPort, m message, outward uint64) *host {
	if p.cfg.Serve {
		return nil
	}
	h, restarted := p.find(from, m.from)
	if restarted {
		if h.gone() { // nobody was asked meanwhile
			h.paused, h.leftAt = h.paused+p.seq-h.lastAsked, time.Time{}
		}
		p.events = append(p.events, Event{Kind: Restarted, Time: now, From: h.addr, Hops: -1})
	}
	if h != nil || p.phase != asking {
		return h
	}
	if h = p.add(from, m.from, p.seq+1, max(outward, 1)); h == nil {
		return nil
	}
	p.events = append(p.events, Event{Kind: Appeared, Time: now, From: from, Hops: -1})
	if p.stopAt == 0 && p.cfg.Count > 0 {
		p.stopAt = max(outward, 1) + p.cfg.Count - 1
	}
	return h
}

// hear takes an answer to a question of ours.
func (p *Pinger) hear(now time.Time, in Packet, m message) {
	if m.echo.asker != p.from || m.seq > p.seq || p.seq-m.seq >= windowBits || m.path == 1 && m.echo.path == 1 {
		return
	}
	which, distance := Unicast, hops(m.hopLimit, in.HopLimit)
	switch {
	case m.echo.path == 1:
		which, distance = Outward, -1
		if m.echo.hops != unknownHops {
			distance = int(m.echo.hops)
		}
	case m.path == 1:
		which = Multicast
	}
	h := p.meet(now, in.From, m, m.seq)
	if h == nil || h.gone() {
		return
	}
	rtt := now.Sub(p.asked[m.seq%windowBits])
	w := &h.paths[which]
	if m.seq < w.base {
		return
	}
	outcome := w.take(m.seq, rtt, distance)
	p.events = append(p.events, Event{
		Kind: Replied, Time: now, From: h.addr, Seq: m.seq, Bytes: len(in.Data), Hops: distance, Outcome: outcome, Path: which, RTT: rtt,
	})
}

// farewell takes a host's word that it answers no more.
func (p *Pinger) farewell(now time.Time, m message) {
	if h := p.byOrigin[m.from]; h != nil && !h.gone() {
		h.leftAt, h.lastAsked = now, p.seq
		p.events = append(p.events, Event{Kind: Left, Time: now, From: h.addr, Hops: -1})
	}
}

// HandleTimeout asks what is due, or ends the wait for answers.
func (p *Pinger) HandleTimeout(now time.Time) {
	if p.phase > waiting || p.next.After(now) {
		return
	}
	if p.phase == waiting {
		p.end(now)
		return
	}
	p.ask(now)
	p.next = p.next.Add(p.cfg.Interval)
	if p.next.Before(now) { // held up, by sleep say: no burst
		p.next = now.Add(p.cfg.Interval)
	}
	last := p.stopAt
	if last == 0 {
		last = p.cfg.Count // to find somebody
	}
	if last > 0 && p.seq >= last {
		p.phase, p.next = waiting, now.Add(p.cfg.Wait)
	}
}

// ask sends the next question to the group and to each known host.
func (p *Pinger) ask(now time.Time) {
	p.seq++
	p.asked[p.seq%windowBits] = now
	p.send(now, kindAsk)
}

// send sends a message of kind k to the group and to each host that is there.
func (p *Pinger) send(now time.Time, k kind) {
	m := message{
		kind: k, hopLimit: uint8(p.cfg.HopLimit), path: 1, from: p.from,
		interval: min(p.cfg.Interval, (1<<32-1)*time.Microsecond), seq: p.seq, sent: now.UnixNano(),
	}
	p.out = append(p.out, Packet{Data: m.append(nil, p.cfg.Bytes), To: p.cfg.Group})
	m.path = 0
	for _, h := range p.list {
		if !h.gone() {
			p.out = append(p.out, Packet{Data: m.append(nil, p.cfg.Bytes), To: h.addr})
		}
	}
}

// finishEarly ends the wait when nothing is missing, and all when everybody has left.
func (p *Pinger) finishEarly(now time.Time) {
	if p.cfg.Count == 0 || len(p.list) == 0 || p.phase > waiting {
		return
	}
	if p.phase == waiting {
		for ; p.whole < len(p.list); p.whole++ {
			if h := p.list[p.whole]; !h.gone() && h.missing(now, p) {
				return
			}
		}
		p.end(now)
		return
	}
	if !slices.ContainsFunc(p.list, func(h *host) bool { return !h.gone() }) {
		p.end(now)
	}
}

func (p *Pinger) end(now time.Time) {
	p.send(now, kindBye)
	p.phase = ended
	p.events = append(p.events, Event{Kind: Finished, Time: now, Seq: p.seq})
}

// Stop ends the measurement before its time. Questions that were asked just now and
// are not answered yet do not count.
func (p *Pinger) Stop(now time.Time) {
	if p.phase != ended {
		p.end(now)
	}
}

// NextTimeout reports when HandleTimeout must next be called.
func (p *Pinger) NextTimeout() (time.Time, bool) { return p.next, p.phase <= waiting }

// Outgoing returns the packets to send and forgets them.
func (p *Pinger) Outgoing() []Packet { out := p.out; p.out = nil; return out }

// Events returns what happened and forgets it.
func (p *Pinger) Events() []Event { ev := p.events; p.events = nil; return ev }

// Dropped returns how many questions were not answered because there were too many,
// and how many packets were of hosts beyond MaxHosts.
func (p *Pinger) Dropped() (questions, hosts uint64) { return p.answers.dropped, p.refused }

// Reports returns what is known of each host at now, in the order of their addresses.
func (p *Pinger) Reports(now time.Time) []HostReport {
	list := make([]HostReport, 0, len(p.list))
	for _, h := range p.list {
		list = append(list, h.report(now, p))
	}
	slices.SortFunc(list, func(a, b HostReport) int { return a.Host.Compare(b.Host) })
	return list
}
