package bulk

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

type membership int

const (
	active  membership = iota // waited for in the group
	evicted                   // hears the group, is not waited for
	pulling                   // fetches by TCP
	done
	failed
	replaced // started again under another station ID
)

// member is what a sender knows of one receiver.
type member struct {
	station  StationID
	number   uint16
	token    Token
	addr     netip.AddrPort
	pull     netip.AddrPort // TCP; port 0: none
	name     string
	state    membership
	have     bitmap // verified sections
	complete uint32
	heard    time.Time
	moved    time.Time // of the last progress
	window   uint32
	reports  map[int]*Report // of the sections of this window
	text     string
	pulled   uint64
}

// lacks returns how many packets m still wants of the section that p is about. A
// report cannot make it more than the section has.
func lacks(p *Report, blocks int) (n int) {
	if p == nil || p.Complete {
		return 0
	}
	for _, need := range p.Need {
		n += int(need)
	}
	return min(n, blocks)
}

// roster is all receivers of a session.
type roster struct {
	sections int
	secret   uint64
	members  []*member
}

func newRoster(sections int, secret uint64) *roster {
	return &roster{sections: sections, secret: secret}
}

func (r *roster) count(state membership) (n int) {
	for _, m := range r.members {
		if m.state == state {
			n++
		}
	}
	return n
}

// in returns the members in a state, in the order they came.
func (r *roster) in(state membership) (list []*member) {
	for _, m := range r.members {
		if m.state == state {
			list = append(list, m)
		}
	}
	return list
}

func (r *roster) byStation(id StationID) *member {
	i := slices.IndexFunc(r.members, func(m *member) bool { return m.station == id })
	if i < 0 {
		return nil
	}
	return r.members[i]
}

// byToken returns the member that may speak as number.
func (r *roster) byToken(number uint16, token Token) *member {
	if int(number) >= len(r.members) || r.members[number].token != token {
		return nil
	}
	return r.members[number]
}

// add takes a new receiver in, or nil when there is no room.
func (r *roster) add(id StationID) *member {
	if len(r.members) >= maxReceivers {
		return nil
	}
	n := uint16(len(r.members))
	b := binary.BigEndian.AppendUint64(nil, r.secret)
	sum := sha256.Sum256(append(b, id[:]...))
	m := &member{
		station: id, number: n, token: Token(binary.BigEndian.Uint64(sum[:])),
		have: newBitmap(r.sections), reports: make(map[int]*Report),
	}
	r.members = append(r.members, m)
	return m
}

func (r *roster) touch(now time.Time) {
	for _, m := range r.members {
		m.heard, m.moved = now, now
	}
}

// open returns how many receivers something is still expected of.
func (r *roster) open() int { return r.count(active) + r.count(evicted) + r.count(pulling) }

// ghostAfter of silence a receiver is taken for one that was started again when
// another of its name and address came after it. Receivers speak once a second.
const ghostAfter = 2500 * time.Millisecond

// replaceGhosts no longer counts receivers that were started again.
func (r *roster) replaceGhosts(now time.Time) {
	for i, m := range r.members {
		if m.state > pulling || now.Sub(m.heard) < ghostAfter {
			continue
		}
		if slices.ContainsFunc(r.members[i+1:], func(o *member) bool {
			return o.name == m.name && o.addr.Addr() == m.addr.Addr() && o.state != replaced && o.heard.After(m.heard)
		}) {
			m.state = replaced
			clear(m.reports)
		}
	}
}

// abandon fails all that are not done.
func (r *roster) abandon(text string, say func(Event)) {
	for _, m := range r.members {
		if m.state <= pulling {
			m.state, m.text = failed, text
			say(ReceiverDone{Receiver: m.name, Text: text})
		}
	}
}

func (s *Sender) handleRegister(now time.Time, from netip.AddrPort, m Register) {
	if m.Session != s.offer.Session || s.state >= closing {
		s.stats.Foreign++
		return
	}
	r := s.roster.byStation(m.Station)
	if r == nil {
		if r = s.roster.add(m.Station); r == nil {
			s.stats.TooMany++
			return
		}
		r.name = m.Name
		if s.state != gathering {
			r.state = evicted // too late for the group; it hears it all the same
		}
		defer func() { s.say(Registered{Receiver: r.name, Have: r.have.count()}) }()
	}
	r.addr, r.pull = from, netip.AddrPortFrom(from.Addr(), m.Pull)
	r.heard = now
	s.clock.heard = now
	r.holds(now, int(m.Contiguous), s.roster.sections)
	for i := range min(8*len(m.Have), s.roster.sections-int(min(m.Contiguous, uint32(s.roster.sections)))) {
		if bitmap(m.Have).has(i) {
			r.have.set(int(m.Contiguous) + i)
		}
	}
	s.sendTo(from, Welcome{Session: m.Session, Station: m.Station, Number: r.number, Token: r.token})
}

// holds notes that all sections before contiguous are verified.
func (m *member) holds(now time.Time, contiguous, sections int) {
	for i := min(contiguous, sections) - 1; i >= 0 && !m.have.has(i); i-- {
		m.have.set(i)
		m.moved = now
	}
}

func (s *Sender) handleFinished(now time.Time, from netip.AddrPort, m Finished) {
	if m.Session != s.offer.Session {
		s.stats.Foreign++
		return
	}
	r := s.roster.byStation(m.Station)
	if r == nil {
		// It refused before it registered.
		if r = s.roster.add(m.Station); r == nil {
			s.stats.TooMany++
			return
		}
		r.addr, r.name = from, m.Name
	}
	r.heard = now
	s.clock.heard = now
	if r.state <= pulling {
		r.text, r.pulled = m.Text, m.Pulled
		r.state = failed
		if m.OK {
			r.state = done
		}
		clear(r.reports)
		s.say(ReceiverDone{Receiver: r.name, OK: m.OK, Text: m.Text})
	}
	s.sendTo(from, Released{Session: m.Session, Station: m.Station})
}

// Outcome is how a receiver ended.
type Outcome struct {
	Receiver string
	Addr     netip.Addr
	OK       bool
	Text     string
	// Pulled bytes came by TCP.
	Pulled uint64
}

// Outcomes returns the receivers and how each ended, or has come so far.
func (s *Sender) Outcomes() (list []Outcome) {
	for _, m := range s.roster.members {
		if m.state == replaced {
			continue
		}
		list = append(list, Outcome{Receiver: m.name, Addr: m.addr.Addr(), OK: m.state == done, Text: m.text, Pulled: m.pulled})
	}
	return list
}
