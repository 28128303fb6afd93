package sim

import (
	"time"

	"github.com/aether-lan/aether/paxos"
)

// client does one operation after the other, and tries an operation again at other
// hosts until it is answered or it gives up.
type client struct {
	w       *world
	id      uint64
	session uint64
	seq     uint64
	left    int
	current operation
	attempt int // counts attempts, so that late answers are known
	tries   int
	host    int // to ask first
	busy    bool
}

// way is how a value is read.
type way int

const (
	throughLog way = iota
	readIndex
	byLease
)

// operation is what the history keeps.
type operation struct {
	client    uint64
	command   command
	way       way
	call, ret time.Duration
	reply     uint64
	answered  bool
}

// request is an operation at a host.
type request struct {
	client  *client
	attempt int
	op      operation
	after   paxos.Slot // of a read: may be answered when this is applied
	ready   bool
	reply   func(uint64)
}

func commandKey(c command) uint64 { return c.client<<16 | c.seq }

// hotKey is the counter that most operations are about.
const hotKey = 10

// glance lets somebody read at a random host, from time to time, without trying
// again: the host may have led once and not know better.
func (w *world) glance(id uint64) {
	if w.calm {
		return
	}
	c := &client{w: w, id: 1000 + id, session: 1000 + id, attempt: 1}
	c.current = operation{client: c.id, call: w.now, way: readIndex}
	c.current.command = command{client: c.session, action: get, key: byte(w.rng.IntN(3))}
	if w.rng.IntN(4) > 0 {
		c.current.command.key = hotKey
	}
	if w.knobs.lease > 0 && w.rng.IntN(4) > 0 {
		c.current.way = byLease
	}
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	r := request{client: c, attempt: 1, op: c.current, reply: func(v uint64) { c.send(func() { c.seen(v) }) }}
	c.send(func() {
		if h.node != nil {
			h.act(h.life, func() { h.ask(r) })
		}
	})
	w.after(w.exponential(60*time.Millisecond), func() { w.glance(id + 1) })
}

// seen notes the answer to a glance.
func (c *client) seen(v uint64) {
	c.current.ret, c.current.reply, c.current.answered = c.w.now, v, true
	c.w.check.history = append(c.w.check.history, c.current)
	c.w.mark("glance", c.id, v)
}

// next draws an operation.
func (c *client) next() {
	if c.left == 0 {
		c.busy = false
		return
	}
	c.left--
	if c.session == 0 {
		c.session = c.w.check.newSession()
		c.seq = 0
	}
	c.seq++
	r := c.w.rng
	op := operation{client: c.id, call: c.w.now, way: throughLog}
	op.command = command{client: c.session, seq: c.seq, key: byte(r.IntN(3)), value: r.Uint64()%100 + 1}
	switch n := r.IntN(10); {
	case n < 3:
		op.command.action, op.way = get, readIndex
	case n < 4:
		op.command.action = get
	case n < 6:
		op.command.action = put
	case n < 7:
		op.command.action, op.command.old = swap, r.Uint64()%100+1
	default:
		op.command.action, op.command.key = count, hotKey+byte(r.IntN(4)/3)
	}
	if op.way == readIndex && r.IntN(3) == 0 {
		op.command.key = hotKey
	}
	if op.way == readIndex && c.w.knobs.lease > 0 && r.IntN(2) == 0 {
		op.way = byLease
	}
	c.current, c.tries, c.busy = op, 0, true
	c.try()
}

// try sends the operation to a host.
func (c *client) try() {
	w := c.w
	if c.tries++; c.tries > 20 && !w.calm {
		w.check.history = append(w.check.history, c.current) // may or may not have happened
		c.session = 0
		c.attempt++
		w.after(w.exponential(200*time.Millisecond), c.next)
		return
	}
	c.attempt++
	attempt, h := c.attempt, w.hosts[c.host]
	r := request{client: c, attempt: attempt, op: c.current}
	r.reply = func(v uint64) { c.send(func() { c.done(attempt, v) }) }
	c.send(func() {
		if h.node != nil {
			h.act(h.life, func() { h.ask(r) })
		}
	})
	w.after(400*time.Millisecond+4*w.knobs.delay, func() {
		if c.attempt == attempt {
			c.host = w.rng.IntN(len(w.hosts))
			c.try()
		}
	})
}

// send carries something between a client and a host.
func (c *client) send(do func()) {
	if !c.w.chance(c.w.net.lossP()) {
		c.w.after(c.w.exponential(c.w.knobs.delay), do)
	}
}

// redirected tries again at another host.
func (c *client) redirected(attempt int, leader paxos.NodeID) {
	if attempt != c.attempt || !c.busy {
		return
	}
	c.attempt++
	c.host = c.w.rng.IntN(len(c.w.hosts))
	if leader != 0 {
		c.host = int(leader) - 1
	}
	c.w.after(50*time.Millisecond+c.w.exponential(100*time.Millisecond), c.try)
}

func (c *client) done(attempt int, v uint64) {
	if attempt != c.attempt {
		return
	}
	c.attempt++
	w := c.w
	c.current.ret, c.current.reply, c.current.answered = w.now, v, true
	w.check.history = append(w.check.history, c.current)
	w.trace.operation(w.now, c.current)
	w.mark("answer", c.id, v)
	pace := 150 * time.Millisecond
	if w.has(bursts) {
		pace = 20 * time.Millisecond
	}
	w.after(w.exponential(pace), c.next)
}

// ask is a request that arrives at a host.
func (h *host) ask(r request) {
	refuse := func(error) {
		leader := h.node.Status(h.local()).Leader
		r.client.send(func() { r.client.redirected(r.attempt, leader) })
	}
	switch r.op.way {
	case readIndex:
		id, err := h.node.Read(h.local())
		if err != nil {
			refuse(err)
			return
		}
		h.waiting[uint64(id)|1<<63] = r
	case byLease:
		slot, ok := h.node.LeaseRead(h.local())
		if !ok {
			r.op.way = readIndex
			h.ask(r)
			return
		}
		if slot <= h.app.slot {
			h.w.check.leased(h)
			r.reply(h.app.values[r.op.command.key])
			return
		}
		refuse(nil)
	default:
		if h.full {
			refuse(nil)
			return
		}
		h.waiting[commandKey(r.op.command)] = r
		if err := h.node.Propose(h.local(), r.op.command.encode()); err != nil {
			delete(h.waiting, commandKey(r.op.command))
			refuse(err)
		}
	}
}

// readReady notes that a read may be answered.
func (h *host) readReady(read paxos.Read) {
	key := uint64(read.ID) | 1<<63
	r, ok := h.waiting[key]
	switch {
	case !ok:
	case read.Err != nil:
		delete(h.waiting, key)
		r.client.send(func() { r.client.redirected(r.attempt, 0) })
	case read.Slot <= h.app.slot:
		delete(h.waiting, key)
		r.reply(h.app.values[r.op.command.key])
	default:
		r.ready, r.after = true, read.Slot
		h.waiting[key] = r
	}
}

// answer answers reads whose slot was applied meanwhile, in the order they came.
func (h *host) answer() {
	var keys []uint64
	for k, r := range h.waiting {
		if r.ready && r.after <= h.app.slot {
			keys = append(keys, k)
		}
	}
	sortKeys(keys)
	for _, k := range keys {
		r := h.waiting[k]
		delete(h.waiting, k)
		r.reply(h.app.values[r.op.command.key])
	}
}

// lost forgets what was asked of a leader that leads no more: clients try again.
func (h *host) lost() {
	for k := range h.waiting {
		if k>>63 == 0 {
			delete(h.waiting, k)
		}
	}
}
