package dnssd

import (
	"context"
	"iter"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// lan is a network in memory: whoever is attached sees the records that others
// publish, unique names are probed for, and goodbyes are heard.
type lan struct {
	mu       sync.Mutex
	nodes    int
	records  []*published
	watchers []*lanWatch
}

type published struct {
	owner *lanHost
	rec   mdns.Record
	pub   *lanPublication
}

type lanWatch struct {
	q     mdns.Question
	queue []mdns.Change
	wake  chan struct{}
}

func (l *lan) attach() *lanHost {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes++
	return &lanHost{l: l, addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(l.nodes)}), renames: make(chan string, 4)}
}

// lanHost is a node on a lan.
type lanHost struct {
	names   sync.Map // what Remember was told
	l       *lan
	addr    netip.Addr
	name    string
	renames chan string
}

func (l *lan) tell(op mdns.Op, reason mdns.Reason, p *published) {
	for _, w := range l.watchers {
		if fold(w.q.Name) == fold(p.rec.Name) && w.q.Type == p.rec.Type {
			w.queue = append(w.queue, mdns.Change{Op: op, Reason: reason, Record: p.rec, Interface: "eth0", IfIndex: 1, From: p.owner.addr})
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

func (h *lanHost) Watch(ctx context.Context, q mdns.Question) iter.Seq2[mdns.Change, error] {
	return func(yield func(mdns.Change, error) bool) {
		w := &lanWatch{q: q, wake: make(chan struct{}, 1)}
		h.l.mu.Lock()
		all := h.l.watchers
		h.l.watchers = []*lanWatch{w} // what is there is told to the new one
		for _, p := range h.l.records {
			h.l.tell(mdns.Add, mdns.Answered, p)
		}
		h.l.watchers = append(all, w)
		h.l.mu.Unlock()
		defer func() {
			h.l.mu.Lock()
			defer h.l.mu.Unlock()
			h.l.watchers = without(h.l.watchers, w)
		}()
		for {
			h.l.mu.Lock()
			queue := w.queue
			w.queue = nil
			h.l.mu.Unlock()
			for _, c := range queue {
				if ctx.Err() != nil || !yield(c, nil) {
					return
				}
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func without[T comparable](list []T, x T) []T {
	var rest []T
	for _, y := range list {
		if x != y {
			rest = append(rest, y)
		}
	}
	return rest
}

type lanPublication struct {
	h        *lanHost
	conflict chan mdns.ConflictError
}

func (h *lanHost) Publish(ctx context.Context, records []mdns.Record) (publication, error) {
	select { // probing
	case <-time.After(750 * time.Millisecond):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	for _, r := range records {
		for _, p := range h.l.records {
			if p.owner != h && r.Flush && fold(r.Name) == fold(p.rec.Name) {
				return nil, &mdns.ConflictError{Name: r.Name, From: p.owner.addr}
			}
		}
	}
	pub := &lanPublication{h, make(chan mdns.ConflictError, 1)}
	for _, r := range records {
		p := &published{h, r, pub}
		h.l.records = append(h.l.records, p)
		h.l.tell(mdns.Add, mdns.Answered, p)
	}
	return pub, nil
}

// drop takes all records of pub away.
func (l *lan) drop(pub *lanPublication, reason mdns.Reason) {
	for _, p := range l.records {
		if p.pub == pub {
			l.records = without(l.records, p)
			l.tell(mdns.Remove, reason, p)
		}
	}
}

func (p *lanPublication) Update(records []mdns.Record) error {
	l := p.h.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		for _, old := range l.records {
			if old.pub == p && old.rec.Name == r.Name && old.rec.Type == r.Type && string(old.rec.Data) != string(r.Data) && r.Flush {
				l.records = without(l.records, old)
				n := &published{p.h, r, p}
				l.records = append(l.records, n)
				l.tell(mdns.Update, mdns.Answered, n)
				l.tell(mdns.Remove, mdns.Flushed, old)
			}
		}
	}
	return nil
}

func (p *lanPublication) Conflict() <-chan mdns.ConflictError { return p.conflict }

func (p *lanPublication) Close() error {
	p.h.l.mu.Lock()
	defer p.h.l.mu.Unlock()
	p.h.l.drop(p, mdns.Goodbye)
	return nil
}

// takeOver lets another host win the unique name.
func (l *lan) takeOver(name string, by *lanHost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.records {
		if p.rec.Flush && fold(p.rec.Name) == fold(name) {
			l.drop(p.pub, mdns.Goodbye)
			p.pub.conflict <- mdns.ConflictError{Name: p.rec.Name, From: by.addr}
			l.records = append(l.records, &published{by, p.rec, &lanPublication{h: by}})
			return
		}
	}
}

type lanClaim struct {
	h   *lanHost
	pub publication
}

func (h *lanHost) ClaimHost(ctx context.Context, label string) (hostClaim, error) {
	for i := 1; ; i++ {
		name := label
		if i > 1 {
			name += "-" + strconv.Itoa(i)
		}
		h.name = name + ".local."
		pub, err := h.Publish(ctx, []mdns.Record{h.address()})
		if err == nil {
			return &lanClaim{h, pub}, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
}

func (h *lanHost) address() mdns.Record {
	return mdns.Record{Name: h.name, Type: dns.TypeA, Class: dns.ClassINET, Flush: true, TTL: mdns.HostTTL, Data: h.addr.AsSlice()}
}

func (c *lanClaim) Name() string           { return c.h.name }
func (c *lanClaim) Renamed() <-chan string { return c.h.renames }
func (c *lanClaim) Close() error           { return c.pub.Close() }

func (h *lanHost) Hostname() string { return h.name }

func (h *lanHost) HostNames(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		for {
			select {
			case name := <-h.renames:
				if !yield(name) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (h *lanHost) Recall(name string) string {
	if taken, ok := h.names.Load(name); ok {
		return taken.(string)
	}
	return name
}

func (h *lanHost) Remember(name, taken string) { h.names.Store(name, taken) }
