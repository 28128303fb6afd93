package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
)

// A member may be broken, or in the wrong hands, and ask without end. What each may have
// under way is bounded by kind, so that who floods waits for itself, and nobody else.
// Machines that do what they should never come near the bounds: they wait for an answer
// before they tell or ask for more.

// AlarmFlood is of a machine that asks for more than is served, or tells more than is heard.
const AlarmFlood = "flood"

// codeBusy is the code of the error for requests beyond what is served.
const codeBusy = link.CodeUser + 10

// demandBounds bound what one machine may have this one do.
type demandBounds struct {
	serve int        // how many are served at a time
	wait  int        // how many more may wait; others are refused
	rate  rate.Limit // how many are served in a second; zero: as many as can be
	burst int
}

// demandKind is a kind of requests that share bounds.
type demandKind uint8

const (
	demandTalk  demandKind = iota // gossip, which all machines take turns in
	demandWork                    // what costs a look at the disk or the tree
	demandBytes                   // chunks, bounded by the network
	demandKinds
)

// boundsOf are the bounds of each kind. An honest machine sends a message of gossip when
// the one before was taken, and fetches from one machine in a few streams.
var boundsOf = [demandKinds]demandBounds{
	demandTalk:  {serve: 1, wait: 8, rate: 2000, burst: 4000},
	demandWork:  {serve: 4, wait: 16, rate: 200, burst: 1000},
	demandBytes: {serve: 24, wait: 64},
}

func kindOf(method uint16) demandKind {
	switch method {
	case methodGossip:
		return demandTalk
	case methodBodies, methodPieces:
		return demandBytes
	}
	return demandWork
}

const (
	// floodAlarm is how many requests of a machine must be refused, or how long held
	// up, until the alarm is raised, and floodAgain how often it is raised again.
	floodAlarm = 100
	floodHeld  = 10 * time.Second
	floodAgain = time.Minute
	// maxDemands bounds the machines of which is known what they ask for.
	maxDemands = 1024
)

// demands are what other machines have this one do. It is safe for concurrent use.
type demands struct {
	mu sync.Mutex
	of map[store.MachineID]*demand
}

// demand is what one machine asks for.
type demand struct {
	kinds   [demandKinds]turnstile
	refused uint64
	held    time.Duration // for how long it was made to wait for its rate
	raised  time.Time
	since   struct { // what refused and held were when the alarm was raised last
		refused uint64
		held    time.Duration
	}
}

// turnstile lets some through at a time.
type turnstile struct {
	serving chan struct{}
	waiting int
	limiter *rate.Limiter // nil: none
}

func newDemand() *demand {
	d := new(demand)
	for k, b := range boundsOf {
		d.kinds[k].serving = make(chan struct{}, b.serve)
		if b.rate > 0 {
			d.kinds[k].limiter = rate.NewLimiter(b.rate, b.burst)
		}
	}
	return d
}

// demandOf returns what is known of a machine's requests. Called with ds.mu held.
func (ds *demands) demandOf(id store.MachineID) *demand {
	d := ds.of[id]
	if d == nil {
		if ds.of == nil || len(ds.of) >= maxDemands {
			ds.of = map[store.MachineID]*demand{} // those under way end by themselves
		}
		d = newDemand()
		ds.of[id] = d
	}
	return d
}

// enter waits until a request of a machine may be served; leave ends it. It fails when
// ctx ends, and at once when too many of the machine's wait already.
func (ds *demands) enter(ctx context.Context, id store.MachineID, kind demandKind) (leave func(), err error) {
	ds.mu.Lock()
	d := ds.demandOf(id)
	t := &d.kinds[kind]
	if t.waiting >= boundsOf[kind].wait+boundsOf[kind].serve {
		d.refused++
		ds.mu.Unlock()
		return nil, &link.Error{Code: codeBusy, Text: "too many requests at a time"}
	}
	t.waiting++
	ds.mu.Unlock()
	defer func() {
		if err != nil {
			ds.left(t)
		}
	}()
	select {
	case t.serving <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if t.limiter != nil {
		began := time.Now()
		if err := t.limiter.Wait(ctx); err != nil {
			<-t.serving
			return nil, err
		}
		ds.mu.Lock()
		d.held += time.Since(began)
		ds.mu.Unlock()
	}
	return func() { <-t.serving; ds.left(t) }, nil
}

func (ds *demands) left(t *turnstile) {
	ds.mu.Lock()
	t.waiting--
	ds.mu.Unlock()
}

// flood returns what to say of a machine that floods, empty where it does not, or where
// the same was said just now.
func (ds *demands) flood(now time.Time, id store.MachineID) string {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d := ds.of[id]
	if d == nil {
		return ""
	}
	refused, held := d.refused-d.since.refused, d.held-d.since.held
	if refused < floodAlarm && held < floodHeld || !d.raised.IsZero() && now.Sub(d.raised) < floodAgain {
		return ""
	}
	d.raised, d.since.refused, d.since.held = now, d.refused, d.held
	return fmt.Sprintf("it asks for more than it is served: %d requests were refused, others held up for %v in all", d.refused, d.held.Round(time.Second))
}

// totals returns how many requests were refused of each machine of which any were.
func (ds *demands) totals() map[store.MachineID]uint64 {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	out := map[store.MachineID]uint64{}
	for id, d := range ds.of {
		if d.refused > 0 {
			out[id] = d.refused
		}
	}
	return out
}

// admit waits until a request of a machine may be served, and raises the alarm about one
// that floods.
func (m *Machine) admit(ctx context.Context, id store.MachineID, method uint16) (leave func(), err error) {
	leave, err = m.demands.enter(ctx, id, kindOf(method))
	if text := m.demands.flood(m.now(), id); text != "" {
		m.alarm(AlarmFlood, id.String(), text)
	}
	return leave, err
}
