package kv

import (
	"encoding/binary"
	"time"
)

// perCommand bounds the keys that one command takes away because their leases have
// ended; what is left goes with the next.
const perCommand = 256

func (m *Machine) grant(ttl time.Duration) Result {
	if m.counts.leases >= m.limits.Leases {
		return Result{Code: Full}
	}
	id := uint64(m.now) // nobody else has this slot
	m.counts.leases++
	m.setLease(id, uint64(ttl/time.Millisecond))
	return Result{Version: m.now, Lease: id}
}

func (m *Machine) setLease(id, ttl uint64) {
	l := lease{ttl, m.counts.time + ttl}
	m.o.set(keyLease(id), l.append(nil))
	m.o.set(keyEnd(l.ends, id), []byte{})
	m.due = min(m.due, l.ends)
}

func (m *Machine) lease(id uint64) (lease, bool) {
	b := m.o.get(keyLease(id))
	if b == nil {
		return lease{}, false
	}
	l, err := parseLease(b)
	if err != nil {
		m.fail(err)
	}
	return l, err == nil
}

func (m *Machine) refresh(id uint64) Result {
	l, ok := m.lease(id)
	if !ok {
		return Result{Code: NoLease}
	}
	m.o.set(keyEnd(l.ends, id), nil)
	m.setLease(id, l.ttl)
	return Result{Version: m.now, Lease: id}
}

func (m *Machine) revoke(id uint64) Result {
	l, ok := m.lease(id)
	if !ok {
		return Result{Code: NoLease}
	}
	// It ends now; its keys go as those of any lease that has ended.
	m.o.set(keyEnd(l.ends, id), nil)
	m.o.set(keyEnd(0, id), []byte{})
	m.o.set(keyLease(id), lease{l.ttl, 0}.append(nil))
	m.due = 0
	m.expire()
	return Result{Version: m.now, Lease: id}
}

// expire takes away leases that have ended, and their keys.
func (m *Machine) expire() {
	if m.counts.leases == 0 || m.counts.time < m.due {
		return
	}
	left := perCommand
	for _, k := range m.o.scan([]byte{'x'}, keyEnd(m.counts.time+1, 0), perCommand) {
		ends, id := binary.BigEndian.Uint64([]byte(k[1:9])), binary.BigEndian.Uint64([]byte(k[9:]))
		keys := m.o.scan(keyOfLease(id, nil), keyOfLease(id+1, nil), left)
		for _, a := range keys {
			key := []byte(a[9:])
			if v, ok := m.value(key); ok && v.Lease == id {
				m.remove(key, v)
			} else {
				m.detach(id, key)
			}
		}
		if left -= len(keys); left <= 0 {
			return
		}
		m.o.set(keyEnd(ends, id), nil)
		m.o.set(keyLease(id), nil)
		m.counts.leases--
	}
	m.due = m.counts.time + 1
	if next := m.o.scan([]byte{'x'}, []byte{'x' + 1}, 1); len(next) > 0 {
		m.due = binary.BigEndian.Uint64([]byte(next[0][1:9]))
	}
}
