package mdns

import (
	"hash/fnv"
	"slices"
	"time"
)

// echoes remembers what was sent in the last two seconds.
type echoes struct {
	ring [256]echo
	next int
}

type echo struct {
	hash    uint64
	at      time.Time
	ifIndex int
	query   bool
	heard   []int
}

const echoWindow = 2 * time.Second

func (x *echoes) sent(now time.Time, p Packet) {
	e := echo{hash: hashOf(p.Data), at: now, ifIndex: p.IfIndex}
	e.query = len(p.Data) >= headerSize && p.Data[2]&0x80 == 0 && p.Data[8] == 0 && p.Data[9] == 0
	x.ring[x.next] = e
	x.next = (x.next + 1) % len(x.ring)
}

// heard reports whether p is one of ours come back, and by which interface it had
// left. Probes and responses hold data that is ours alone, but another program of
// this machine (or another host) may ask the very same question: a plain query is
// an echo only once an interface, and only from an address of ours.
func (x *echoes) heard(now time.Time, p Packet, own bool) (ifIndex int, ok bool) {
	hash := hashOf(p.Data)
	for i := range x.ring {
		e := &x.ring[i]
		if e.hash != hash || e.at.IsZero() || now.Sub(e.at) > echoWindow {
			continue
		}
		if e.query {
			if !own || slices.Contains(e.heard, p.IfIndex) {
				continue
			}
			e.heard = append(e.heard, p.IfIndex)
		}
		return e.ifIndex, true
	}
	return 0, false
}

func hashOf(b []byte) uint64 {
	f := fnv.New64a()
	_, _ = f.Write(b)
	return f.Sum64()
}
