package records

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checks looks at what happens in a world and finds fault with it.
type checks struct {
	w       *world
	history []*operation
	pending map[RequestID]func(Response)
	led     []ledGroup
	founded []Group
	apart   bool // two lineages are meant to be
	merged  int
	heard   map[RequestID][]uint64 // versions, by watch
	ended   map[RequestID]Ended
	fences  []fence
	fields  map[string]uint64 // from which version on the unknown field must be there
}

// operation is a client's, from when it asked to when it knew.
type operation struct {
	client   int
	key      string
	q        Request
	from, to time.Duration
	p        Response
	ended    bool
}

type ledGroup struct {
	g    Group
	name string
}

// fence is a lease as acquired.
type fence struct {
	name     string
	client   int
	number   uint64
	from, to time.Duration // of the asking
	until    time.Duration
}

func (c *checks) init(w *world) {
	c.w = w
	c.pending = map[RequestID]func(Response){}
	c.fields = map[string]uint64{}
	c.heard = map[RequestID][]uint64{}
	c.ended = map[RequestID]Ended{}
}

func (c *checks) begin(cl *client) *operation {
	o := &operation{client: cl.n, key: cl.key, q: cl.q, from: c.w.now}
	c.history = append(c.history, o)
	return o
}

// end notes the outcome of a client's operation.
func (c *checks) end(cl *client, p Response) {
	o := cl.op
	o.to, o.p, o.ended = c.w.now, p, true
	c.w.logf("client %d: %v %s: %v %d", cl.n, o.q.Op, o.key, p.Status, p.Record.Version)
	if p.Status == Unknown {
		o.ended = false
		return
	}
	cl.seen[o.key] = 0
	if p.Status == OK && o.q.Op != Delete || p.Status == Conflict {
		cl.seen[o.key] = p.Record.Version
	}
	switch o.q.Op {
	case Acquire, Renew:
		c.lease(cl, o, p)
	case Get:
		if at, ok := c.fields[o.key]; ok && p.Status == OK && p.Record.Version >= at && !bytes.Contains(p.Record.Unknown, unknownField) {
			c.w.fail("the unknown field of %s is lost at version %d", o.key, p.Record.Version)
		}
	case Put, Swap:
		if at, ok := c.fields[o.key]; p.Status == OK && len(o.q.Fields) > 0 && (!ok || p.Record.Version < at) {
			c.fields[o.key] = p.Record.Version
		}
	}
}

// lease holds a new lease against all others.
func (c *checks) lease(cl *client, o *operation, p Response) {
	if p.Status != OK {
		if o.q.Op == Renew {
			cl.lease.until = 0
		}
		return
	}
	f := fence{o.q.Name, cl.n, p.Record.Fence, cl.begun, c.w.now, cl.begun + o.q.TTL}
	if f.until < c.w.now {
		cl.lease.until = 0
		return // it came too late to be believed
	}
	cl.lease = leaseState{o.q.Name, f.until, f.number}
	for _, g := range c.fences {
		if g.client != f.client && g.until > c.w.now && c.w.clients[g.client].lease.until > c.w.now {
			c.w.fail("%s is held by %d until %v and by %d", f.name, g.client, g.until, f.client)
		}
		if g.client != f.client && g.to < f.from && g.number >= f.number {
			c.w.fail("fence %d of %d follows %d of %d", f.number, f.client, g.number, g.client)
		}
	}
	c.fences = append(c.fences, f)
}

// event takes what an engine says.
func (c *checks) event(h *host, v Event) {
	switch v := v.(type) {
	case Answered:
		if f := c.pending[v.Response.ID]; f != nil {
			f(v.Response)
		}
	case Led:
		c.w.logf("%s leads %v of %d", h.name(), v.Group, len(v.Group.Members))
		c.leads(h, v.Group)
	case Ceded:
		c.w.logf("%s cedes %v", h.name(), v.Group)
	case Founded:
		c.w.logf("%s founds %v", h.name(), v.Group)
		c.founded = append(c.founded, v.Group)
		if len(c.founded) > 1 && !c.apart {
			c.w.fail("two lineages are founded in one ring")
		}
	case Changed:
		c.heard[v.Watch] = append(c.heard[v.Watch], v.Record.Version)
	case Ended:
		c.ended[v.Watch] = v
	case Merged:
		c.merged++
	case Refused:
		c.w.logf("%s refuses %x: %s", h.name(), v.From.ID[:2], v.Why)
	}
}

// leads checks that of all groups ever led those of one epoch have no point in common.
func (c *checks) leads(h *host, g Group) {
	for _, o := range c.led {
		if o.g.Lineage == g.Lineage && o.g.Epoch == g.Epoch && o.g.Arc.Overlaps(g.Arc) && (o.g.Ref() != g.Ref() || o.name != h.name()) {
			c.w.fail("%s leads %v, and %s %v", o.name, o.g, h.name(), g)
		}
	}
	c.led = append(c.led, ledGroup{g, h.name()})
}

// whole reports why the ring is not at rest and in order, "" if it is.
func (c *checks) whole() string {
	for _, cl := range c.w.clients {
		if cl.op != nil || cl.left > 0 {
			return fmt.Sprintf("client %d still waits for %v %s", cl.n, cl.q.Op, cl.key)
		}
	}
	for _, h := range c.w.hosts {
		if !h.up {
			continue
		}
		if len(h.e.changes) > 0 {
			return fmt.Sprintf("%s is changing %v", h.name(), h.e.changes[0].group)
		}
		for _, r := range h.e.replicas {
			if why := c.inOrder(h, r); why != "" {
				return why
			}
		}
		if h.e.waiting != 0 || len(h.e.disk.held) > 0 {
			return fmt.Sprintf("%s: %d requests wait", h.name(), h.e.waiting)
		}
	}
	return ""
}

func (c *checks) inOrder(h *host, r *replica) string {
	if r.phase == past && r.acceptor.decision.Into != 0 {
		return "" // that a lineage was dissolved is remembered
	}
	if r.phase != active || r.sealed() {
		return fmt.Sprintf("%s has %v in phase %d, promised %v", h.name(), r.group, r.phase, r.acceptor.promised)
	}
	var owner *host
	alive := 0
	for _, o := range c.w.hosts {
		if !o.up {
			continue
		}
		if r.group.Has(o.peer.ID) {
			alive++
		}
		if d := h.e.cfg.Space.Distance; owner == nil || d(r.group.Arc.To, o.peer.ID).Compare(d(r.group.Arc.To, owner.peer.ID)) < 0 {
			owner = o
		}
	}
	for _, o := range c.w.hosts {
		if o.up && o.peer.ID != r.group.Arc.To && o != owner && r.group.Arc.Contains(o.peer.ID) {
			return fmt.Sprintf("%v is not split at %s", r.group, o.name())
		}
	}
	if !owner.peer.Is(r.group.Leader) {
		return fmt.Sprintf("%v is not led by %s, its owner", r.group, owner.name())
	}
	if want := min(c.w.knobs.copies, c.w.upHosts()); alive < want {
		return fmt.Sprintf("%v has %d members alive, want %d", r.group, alive, want)
	}
	if !r.installed {
		return fmt.Sprintf("%s lacks the records of %v", h.name(), r.group)
	}
	return ""
}

// state is a record as the model has it.
type state struct {
	version uint64
	live    bool
	value   string
}

// explains says whether an operation may have the outcome that it had, and what follows.
func explains(s state, o *operation) (bool, state) {
	write := func(live bool, value string) state { return state{s.version + 1, live, value} }
	fits := s.live && o.q.Version == s.version || !s.live && o.q.Version == 0
	ok, v := o.p.Status == OK, o.p.Record.Version
	switch o.q.Op {
	case Get:
		if !o.ended {
			return true, s
		}
		if ok {
			return s.live && v == s.version && string(o.p.Record.Value) == s.value, s
		}
		return o.p.Status == NotFound && !s.live && v == s.version, s
	case Put:
		return !o.ended || ok && v == s.version+1, write(true, string(o.q.Value))
	case Swap:
		switch {
		case ok || !o.ended && fits:
			return fits && (v == s.version+1 || !o.ended), write(true, string(o.q.Value))
		case !o.ended:
			return true, s
		}
		return o.p.Status == Conflict && !fits && v == s.version, s
	}
	// Delete.
	fits = s.live && (o.q.Version == 0 || o.q.Version == s.version)
	switch {
	case ok || !o.ended && fits:
		return fits && (v == s.version+1 || !o.ended), write(false, "")
	case !o.ended:
		return true, s
	case o.p.Status == NotFound:
		return !s.live, s
	}
	return o.p.Status == Conflict && s.live && !fits, s
}

// linear checks with porcupine that some order of the operations on each key explains
// all outcomes.
func (c *checks) linear() {
	byKey := map[string][]porcupine.Operation{}
	for _, o := range c.history {
		if o.key == "lease" {
			continue
		}
		to := int64(o.to)
		if !o.ended {
			to = 1 << 60
			if o.q.Op == Get {
				continue
			}
		}
		byKey[o.key] = append(byKey[o.key], porcupine.Operation{ClientId: o.client, Input: o, Output: o, Call: int64(o.from), Return: to})
	}
	model := porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, in, _ any) (bool, any) {
			ok, next := explains(s.(state), in.(*operation))
			return ok, next
		},
	}
	for _, k := range sortedNames(byKey) {
		if r := porcupine.CheckOperationsTimeout(model, byKey[k], 5*time.Second); r == porcupine.Illegal {
			c.w.fail("no order explains what clients saw of %s:\n%s", k, describe(byKey[k]))
		}
	}
}

func sortedNames[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

func describe(list []porcupine.Operation) string {
	var b strings.Builder
	slices.SortFunc(list, func(x, y porcupine.Operation) int { return cmp.Compare(x.Call, y.Call) })
	for _, v := range list {
		o := v.Input.(*operation)
		fmt.Fprintf(&b, "  %d %v..%v %v %d %q: %v %v %d %q\n", o.client, o.from, o.to, o.q.Op, o.q.Version, o.q.Value, o.ended, o.p.Status, o.p.Record.Version, o.p.Record.Value)
	}
	return b.String()
}
