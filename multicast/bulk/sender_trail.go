package bulk

import (
	"fmt"
	"net/netip"
	"time"
)

// trailInterval is how often those who are not done are told where to fetch.
const trailInterval = 500 * time.Millisecond

// startTrailing ends the part of the group: whoever is not done fetches by TCP.
func (s *Sender) startTrailing(now time.Time) {
	s.state = trailing
	s.clock.began, s.clock.act = now, now
	for _, m := range s.roster.members {
		m.moved = now
	}
}

// trail tells who is not done where to fetch, and gives up on who does not get on.
func (s *Sender) trail(now time.Time) {
	s.roster.replaceGhosts(now)
	if s.roster.open() == 0 {
		s.finish(now, "")
		return
	}
	if now.Before(s.clock.act) {
		return
	}
	s.clock.act = now.Add(trailInterval)
	for _, m := range s.roster.members {
		switch {
		case m.state > pulling:
		case now.Sub(m.heard) > s.cfg.Patience && now.Sub(m.moved) > s.cfg.Patience:
			s.giveUp(m, fmt.Sprintf("silent for %v", s.cfg.Patience))
		case now.Sub(m.moved) > s.cfg.Patience:
			s.giveUp(m, fmt.Sprintf("no progress for %v", s.cfg.Patience))
		default:
			s.tellToPull(m)
		}
	}
	s.broadcast(Poll{Session: s.offer.Session, Number: s.number(), Pass: s.pass.number})
	s.progress()
}

func (s *Sender) giveUp(m *member, text string) {
	m.state, m.text = failed, text
	s.say(ReceiverDone{Receiver: m.name, Text: text})
}

// tellToPull names sources to m: those who have all first, each receiver beginning
// with another one, and the sender last. An active receiver has all and only has to
// say so.
func (s *Sender) tellToPull(m *member) {
	if m.state == active {
		if m.have.count() == s.roster.sections {
			return
		}
		m.text = "lacked sections at the end"
	}
	m.state = pulling
	var sources []netip.AddrPort
	n := len(s.roster.members)
	for i := range n {
		o := s.roster.members[(int(m.number)+1+i)%n]
		if o != m && o.pull.Port() != 0 && o.state != failed && o.state != replaced && (o.state == done || o.complete > 0) && len(sources) < maxSources-1 {
			sources = append(sources, o.pull)
		}
	}
	if s.cfg.Pull != 0 {
		sources = append(sources, netip.AddrPortFrom(s.cfg.From.Addr(), s.cfg.Pull))
	}
	s.sendTo(m.addr, Pull{Session: s.offer.Session, Station: m.number, Token: m.token, Reason: clip(m.text, maxText), Sources: sources})
}
