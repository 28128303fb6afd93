package kv

import (
	"encoding/binary"
	"errors"

	"github.com/aether-lan/aether/paxos"
)

// errUnknown says that a client has no session.
var errUnknown = errors.New("kv: no such session")

func (m *Machine) session(c Client) (session, error) {
	h := m.o.read(m.o.key('s', c[:]))
	if h.value == nil {
		return session{}, errUnknown
	}
	s, err := parseSession(h.value)
	if err != nil {
		m.fail(err)
	}
	s.held = h
	return s, err
}

// begin begins a session, and forgets the one that was silent the longest when there
// are too many.
func (m *Machine) begin(c Client) Result {
	if _, err := m.session(c); err == nil {
		return Result{Version: m.now} // asked again
	}
	if m.counts.sessions >= m.limits.Sessions {
		oldest := m.o.scan([]byte{'o'}, []byte{'o' + 1}, 1)
		if len(oldest) == 0 {
			return Result{Code: Full}
		}
		var gone Client
		copy(gone[:], oldest[0][9:])
		m.end(gone)
	}
	m.counts.sessions++
	m.o.add(keySession(c), session{active: m.now}.append(nil))
	m.o.add(keyActive(m.now, c), []byte{}) // of a slot that nothing is of yet
	return Result{Version: m.now}
}

func (m *Machine) end(c Client) Result {
	s, err := m.session(c)
	if err != nil {
		return Result{Code: NoSession}
	}
	m.counts.sessions--
	m.o.change(s.held, nil)
	m.o.drop(keyActive(s.active, c), []byte{})
	return Result{Version: m.now}
}

// coarse is how many slots late the order of sessions may be, at most: it spares most
// commands two writes. A session that is forgotten has been silent for at least three
// quarters of Limits.Sessions slots.
const coarse = 1 << 14

// touch stores a session that made a command.
func (m *Machine) touch(c Client, s session) {
	if now := m.now; now > s.active+min(coarse, paxos.Slot(m.limits.Sessions/4)) {
		m.o.drop(keyActive(s.active, c), []byte{})
		m.o.add(keyActive(now, c), []byte{})
		s.active = now
	}
	m.o.change(s.held, s.append(make([]byte, 0, 2*binary.MaxVarintLen64+len(s.result))))
}
