package node

import (
	"sync"
	"time"
)

// meter counts bytes, and those of the last seconds to tell a rate. Its zero value is
// ready.
type meter struct {
	mu    sync.Mutex
	total int64
	slots [meterSlots]int64 // bytes of a second each; at is the newest
	at    int64             // Unix seconds
}

// meterSlots is over how many seconds a rate is told.
const meterSlots = 5

func (m *meter) add(now time.Time, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	m.total += int64(n)
	m.slots[m.at%meterSlots] += int64(n)
}

// turn clears the slots of the seconds that have passed.
func (m *meter) turn(now time.Time) {
	s := now.Unix()
	if s-m.at >= meterSlots || s < m.at {
		clear(m.slots[:])
		m.at = s
	}
	for m.at < s {
		m.at++
		m.slots[m.at%meterSlots] = 0
	}
}

// read returns all bytes so far and the bytes a second of late.
func (m *meter) read(now time.Time) (total, rate int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(now)
	var sum int64
	for _, n := range m.slots {
		sum += n
	}
	return m.total, sum / meterSlots
}

// traffic is what has crossed the network.
type traffic struct {
	received, sent  meter // chunk bodies
	heard, gossiped meter // messages of gossip
}
