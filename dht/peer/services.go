package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aether-lan/aether/dht"
)

// ErrNoService reports a request for a service that the node does not offer.
var ErrNoService = errors.New("no such service")

// Request is what a service is asked.
type Request struct {
	From    dht.ID // the node that asks
	Key     dht.ID // the point that was asked for; this node owns it
	Payload []byte
}

// Service answers a request that was sent to an ID that the node owns, within ctx. It
// runs beside the loop and may take its time. An error is told to whoever asked, as
// text.
type Service func(ctx context.Context, req Request) ([]byte, error)

// maxAskedServices bounds the requests that wait for a worker.
const maxAskedServices = 1024

// services runs what a node offers, in a bounded number of workers.
type services struct {
	ctx   context.Context
	wg    sync.WaitGroup
	slots chan struct{}
	queue chan struct{}

	mu   sync.Mutex
	list map[string]Service
}

func newServices(ctx context.Context, workers int) *services {
	return &services{
		ctx: ctx, slots: make(chan struct{}, workers), queue: make(chan struct{}, maxAskedServices+workers), list: map[string]Service{},
	}
}

// wait returns when no service runs any more, after ctx has ended.
func (s *services) wait() { s.wg.Wait() }

// run has a service answer a request, and done hear of it, which must not wait. It
// reports false when too many wait already.
func (s *services) run(name string, req Request, done func([]byte, error)) bool {
	s.mu.Lock()
	f := s.list[name]
	s.mu.Unlock()
	if f == nil {
		done(nil, fmt.Errorf("%w: %q", ErrNoService, name))
		return true
	}
	select {
	case s.queue <- struct{}{}:
	default:
		return false
	}
	s.wg.Go(func() {
		defer func() { <-s.queue }()
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		defer func() { <-s.slots }()
		done(guarded(s.ctx, f, req))
	})
	return true
}

// guarded calls a service: one that panics has failed, and the node goes on.
func guarded(ctx context.Context, f Service, req Request) (b []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			b, err = nil, fmt.Errorf("the service failed: %v", r)
		}
	}()
	return f(ctx, req)
}

// Serve offers a service under a name of at most 255 bytes; nil takes it back. It
// answers what is sent to IDs that this node owns: [Node.Send].
func (n *Node) Serve(name string, f Service) {
	n.services.mu.Lock()
	defer n.services.mu.Unlock()
	if f == nil {
		delete(n.services.list, name)
		return
	}
	n.services.list[name] = f
}
