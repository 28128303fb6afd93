package records

import (
	"encoding/binary"
	"fmt"
	"time"
)

// client does one operation after the other, each until it has an outcome or is given
// up.
type client struct {
	w     *world
	n     int
	left  int
	key   string
	q     Request
	op    *operation
	tries int
	seen  map[string]uint64 // versions
	token int               // of the attempt whose answer counts
	hint  *host
	begun time.Duration
	lease leaseState
}

// leaseState is what a holder believes.
type leaseState struct {
	name  string
	until time.Duration
	fence uint64
}

// unknownField is a field of a newer version of the program.
var unknownField = appendField(nil, 99, []byte("kept"))

func (w *world) addClient() {
	c := &client{w: w, n: len(w.clients), left: w.knobs.ops, seen: map[string]uint64{}}
	w.clients = append(w.clients, c)
	w.after(w.exp(200*time.Millisecond), c.next)
}

// next begins an operation.
func (c *client) next() {
	w := c.w
	if c.left == 0 {
		c.op = nil
		return
	}
	c.left--
	c.tries, c.hint, c.begun = 0, nil, w.now
	c.key = fmt.Sprintf("k%d", w.rng.IntN(w.knobs.keys))
	c.q = Request{Op: Get, Name: c.key, Version: c.seen[c.key]}
	value := []byte(fmt.Sprintf("%d.%d", c.n, c.left))
	switch w.rng.IntN(10) {
	case 0, 1:
		c.q.Op, c.q.Value = Put, value
	case 2, 3, 4, 5:
		c.q.Op, c.q.Value = Swap, value
	case 6:
		c.q.Op, c.q.Version = Delete, 0
		if w.rng.IntN(2) == 0 {
			c.q.Version = c.seen[c.key]
		}
	case 7:
		c.beginLease()
	}
	if c.q.Op == Put || c.q.Op == Swap {
		c.q.Fields = unknownField
		if w.rng.IntN(2) == 0 {
			c.q.Fields = nil
		}
	}
	w.seq++
	binary.BigEndian.PutUint64(c.q.ID[:], w.seq)
	c.q.ID[15] = byte(c.n)
	c.op = w.check.begin(c)
	c.attempt()
}

func (c *client) beginLease() {
	c.q = Request{Op: Acquire, Name: "lease", Holder: fmt.Sprintf("holder%d", c.n), TTL: 2 * time.Second}
	if c.lease.until > c.w.now && c.w.rng.IntN(2) == 0 {
		c.q.Op, c.q.Version = Renew, c.lease.fence
	} else if c.lease.until > c.w.now {
		c.q.Op, c.q.Version = Release, c.lease.fence
		c.lease.until = 0
	}
	c.key = c.q.Name
}

// attempt asks some host, and waits for its answer for a while.
func (c *client) attempt() {
	w := c.w
	c.tries++
	c.token++
	token := c.token
	h := c.hint
	if h == nil {
		h = w.hosts[w.rng.IntN(len(w.hosts))]
	}
	c.hint = nil
	if w.now-c.begun > 6*time.Second && !w.calm && w.chance(0.1) {
		w.check.end(c, Response{Status: Unknown})
		w.after(w.exp(200*time.Millisecond), c.next)
		return
	}
	if c.q.Op == Acquire || c.q.Op == Renew {
		c.begun = w.now // a holder counts from before it asked, this time
	}
	q := c.q
	c.q.Again = true
	w.after(w.exp(w.knobs.delay), func() {
		if h.up && (w.calm || !w.chance(w.knobs.loss)) {
			w.check.pending[q.ID] = func(p Response) { c.answered(h, token, p) }
			h.do(func(e *Engine, now time.Time) { e.Do(now, q) })
		}
	})
	w.after(1800*time.Millisecond, func() {
		if c.token == token {
			c.attempt()
		}
	})
}

// answered takes what a host said, if the answer is not lost.
func (c *client) answered(h *host, token int, p Response) {
	w := c.w
	w.logf("client %d: %s %v %s: %v version %d %q", c.n, h.name(), c.q.Op, c.key, p.Status, p.Record.Version, p.Record.Value)
	if !w.calm && w.chance(w.knobs.loss) {
		return
	}
	w.after(w.exp(w.knobs.delay), func() {
		if c.token != token {
			return
		}
		switch p.Status {
		case Elsewhere, Busy, NoMajority:
			c.token++
			again := c.token
			if p.Status == Elsewhere && c.tries%4 != 0 {
				for _, o := range w.hosts {
					if o.peer.ID == p.Leader.ID {
						c.hint = o
					}
				}
			}
			w.after(time.Duration(10+w.rng.IntN(100))*time.Millisecond, func() {
				if c.token == again {
					c.attempt()
				}
			})
			return
		}
		c.token++
		w.check.end(c, p)
		w.after(w.exp(300*time.Millisecond), c.next)
	})
}
