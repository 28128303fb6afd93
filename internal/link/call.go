package link

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// maxOutstanding bounds the calls under way on one Conn, whatever the peer is
// willing to serve.
const maxOutstanding = 1024

// calls are the requests of this end that the peer has not yet answered.
type calls struct {
	credit chan struct{} // holds one element for each call under way
	wake   chan struct{} // tells the writer that cancelled is not empty

	mu        sync.Mutex
	last      uint32
	open      map[uint32]chan result // nil: nobody waits for the answer
	cancelled []uint32
}

// result is the end of a call.
type result struct {
	Message
	err error
}

func (c *calls) init(limit int) {
	c.credit = make(chan struct{}, limit)
	c.wake = make(chan struct{}, 1)
	c.open = make(map[uint32]chan result)
}

// start takes a stream number for a call that holds a credit.
func (c *calls) start(answer chan result) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.last++
		if _, used := c.open[c.last]; !used {
			c.open[c.last] = answer
			return c.last
		}
	}
}

// drop forgets a call that was never written.
func (c *calls) drop(id uint32) {
	c.mu.Lock()
	delete(c.open, id)
	c.mu.Unlock()
	<-c.credit
}

// abandon says that nobody waits for the answer any more. The credit stays taken
// until the peer has answered, because it serves the request until then.
func (c *calls) abandon(id uint32) {
	c.mu.Lock()
	if _, ok := c.open[id]; ok {
		c.open[id] = nil
		c.cancelled = append(c.cancelled, id)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *calls) takeCancelled() []uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := c.cancelled
	c.cancelled = nil
	return ids
}

// finish delivers the answer on stream id.
func (c *calls) finish(id uint32, r result) error {
	c.mu.Lock()
	answer, ok := c.open[id]
	delete(c.open, id)
	c.mu.Unlock()
	if !ok {
		r.Release()
		return fmt.Errorf("%w: answer on stream %d, which is not open", ErrGarbage, id)
	}
	<-c.credit
	if answer == nil {
		r.Release()
		return nil
	}
	answer <- r // has room for one
	return nil
}

// underWay returns how many calls have not been answered.
func (c *calls) underWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Call asks the peer and waits for its answer. It waits while the peer serves as
// many requests as it is willing to. When ctx ends first, Call returns ctx's cause
// and the peer's Handler is told; then the memory of req must not be used again
// unless req.Sent has been called. An error of the peer's Handler is an [*Error].
func (c *Conn) Call(ctx context.Context, req Message) (Message, error) {
	answer := make(chan result, 1)
	id, err := c.ask(ctx, kindRequest, req, answer)
	if err != nil {
		return Message{}, err
	}
	select {
	case r := <-answer:
		return r.Message, r.err
	case <-ctx.Done():
		c.calls.abandon(id)
		return Message{}, context.Cause(ctx)
	case <-c.life.ctx.Done():
	}
	select { // an answer that came before the end counts
	case r := <-answer:
		return r.Message, r.err
	default:
		return Message{}, c.Err()
	}
}

// Send asks and does not wait for the answer; an error of the peer's Handler is
// lost. Like Call it waits while the peer is busy. A nil error does not mean that
// the request arrives.
func (c *Conn) Send(ctx context.Context, req Message) error {
	_, err := c.ask(ctx, kindOneWay, req, nil)
	return err
}

// ask takes a credit and a stream and queues the request.
func (c *Conn) ask(ctx context.Context, k kind, req Message, answer chan result) (uint32, error) {
	if uint64(len(req.Header)) > uint64(c.hello.header) || uint64(len(req.Body)) > uint64(c.hello.body) {
		return 0, fmt.Errorf("%w: header %d, body %d", ErrTooLarge, len(req.Header), len(req.Body))
	}
	select {
	case c.calls.credit <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-c.life.ctx.Done():
		return 0, c.Err()
	}
	id := c.calls.start(answer)
	f := frame{kind: k, method: req.Method, stream: id, header: req.Header, body: req.Body}
	if err := c.enqueue(ctx, outgoing{f, req.Sent}); err != nil {
		c.calls.drop(id)
		return 0, err
	}
	return id, nil
}

// serving are the peer's requests whose handlers run.
type serving struct {
	mu      sync.Mutex
	cancels map[uint32]context.CancelFunc
}

func (s *serving) start(id uint32, limit int, cancel context.CancelFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.cancels[id]; used {
		return fmt.Errorf("%w: stream %d asked twice", ErrGarbage, id)
	}
	if len(s.cancels) >= limit {
		return fmt.Errorf("%w: more than %d requests at a time", ErrGarbage, limit)
	}
	s.cancels[id] = cancel
	return nil
}

func (s *serving) cancel(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancels[id]; cancel != nil {
		cancel()
	}
}

func (s *serving) finish(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cancels, id)
}

// serve starts the Handler for one request.
func (c *Conn) serve(f frame, buf *buffer) error {
	ctx, cancel := context.WithCancel(c.life.ctx)
	if err := c.serving.start(f.stream, c.cfg.MaxHandlers, cancel); err != nil {
		cancel()
		buf.release()
		return err
	}
	req := Message{Method: f.method, Header: f.header, Body: f.body, buf: buf}
	c.life.wg.Go(func() {
		defer cancel()
		resp, err := c.cfg.Handler(ctx, c.Peer(), req)
		c.answer(f, resp, err)
	})
	return nil
}

// answer queues what the Handler returned.
func (c *Conn) answer(req frame, resp Message, err error) {
	o := outgoing{frame{kind: kindResponse, stream: req.stream, header: resp.Header, body: resp.Body}, resp.Sent}
	switch {
	case req.kind == kindOneWay:
		c.serving.finish(req.stream)
		c.served.add(req.stream)
		if o.sent != nil {
			o.sent()
		}
		return
	case err != nil:
		o.frame = errorFrame(req.stream, err)
	case uint64(len(resp.Header)) > uint64(c.hello.header) || uint64(len(resp.Body)) > uint64(c.hello.body):
		o.frame = errorFrame(req.stream, &Error{Code: CodeTooLarge, Text: "answer too large for the asker"})
	}
	// Before the answer is written: the peer may ask again once it has it.
	c.serving.finish(req.stream)
	if c.enqueue(c.life.ctx, o) != nil && o.sent != nil {
		o.sent()
	}
}

// served are one-way requests that are done. Nobody waits for their empty answers,
// which only give the credit back: they go with the next frame, when there are several,
// or after a moment.
type served struct {
	wake  chan struct{}
	many  int
	timer *time.Timer

	mu   sync.Mutex
	done []uint32
}

// servedFor is how long the empty answers wait for something to go with.
const servedFor = 5 * time.Millisecond

// init prepares s for a Conn that serves that many requests at a time.
func (s *served) init(limit int) {
	s.wake, s.many = make(chan struct{}, 1), max(1, limit/4)
	s.timer = time.AfterFunc(time.Hour, func() { wake(s.wake) })
	s.timer.Stop()
}

func (s *served) add(id uint32) {
	s.mu.Lock()
	s.done = append(s.done, id)
	n := len(s.done)
	s.mu.Unlock()
	switch n {
	case s.many:
		wake(s.wake)
	case 1:
		s.timer.Reset(servedFor)
	}
}

func (s *served) take() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.done
	s.done = nil
	return list
}
