package peer

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/topics"
)

// A session is a subscription or watch of somebody who asks over a connection: what it
// tells waits until it is fetched, and nobody who fetches nothing keeps it for long.
const (
	sessionIdle = time.Minute
	fetchFor    = 20 * time.Second // how long a fetch waits for something
	maxSessions = 4096
	maxFetched  = 256
)

// Headers of requests about sessions.
type (
	openRequest struct {
		Name    string `json:"name"` // or topic
		Prefix  bool   `json:"prefix,omitempty"`
		Anycast bool   `json:"anycast,omitempty"`
	}
	openReply struct {
		Session uint64 `json:"session"`
	}
	fetchReply struct {
		Items []item `json:"items"`
	}
	answerRequest struct {
		Session uint64           `json:"session"`
		ID      topics.RequestID `json:"id"`
		Error   string           `json:"error,omitempty"`
	}
)

// item is a message of a topic, or a change of a record.
type item struct {
	From    dht.ID           `json:"from,omitzero"`
	Epoch   uint64           `json:"epoch,omitempty"`
	Number  uint64           `json:"number,omitempty"`
	Payload []byte           `json:"payload,omitempty"`
	Anycast bool             `json:"anycast,omitempty"`
	ID      topics.RequestID `json:"id,omitzero"`
	Missed  uint64           `json:"missed,omitempty"`
	Record  *Record          `json:"record,omitempty"`
	Moved   bool             `json:"moved,omitempty"`
}

// session is what waits for somebody to fetch it.
type session struct {
	cancel context.CancelFunc
	wait   chan item
	done   chan struct{} // closed when nothing more will come, because of err
	err    error
	sub    *Subscription // nil for watches
	used   time.Time
	busy   int // fetches under way
}

// sessions are those of a node.
type sessions struct {
	n   *Node
	ctx context.Context
	wg  sync.WaitGroup

	mu   sync.Mutex
	open map[uint64]*session
}

func newSessions(ctx context.Context, n *Node) *sessions {
	s := &sessions{n: n, ctx: ctx, open: map[uint64]*session{}}
	s.wg.Go(s.sweep)
	return s
}

// sweep ends sessions that nobody fetches from.
func (s *sessions) sweep() {
	tick := time.NewTicker(sessionIdle / 4)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			for id, x := range s.open {
				if x.busy == 0 && now.Sub(x.used) > sessionIdle {
					x.cancel()
					delete(s.open, id)
				}
			}
			s.mu.Unlock()
		}
	}
}

// serve answers requests about sessions.
func (s *sessions) serve(ctx context.Context, method uint16, header, body []byte) ([]byte, error) {
	switch method {
	case methodSubscribe:
		return answer(header, func(q openRequest) (openReply, error) { return s.subscribe(ctx, q) })
	case methodWatch, methodWatchHere:
		return answer(header, func(q openRequest) (openReply, error) { return s.watch(method, q) })
	case methodFetch:
		return answer(header, func(q openReply) (fetchReply, error) { return s.fetch(ctx, q.Session) })
	case methodAnswer:
		return answer(header, func(q answerRequest) (struct{}, error) { return struct{}{}, s.answer(q, body) })
	}
	return answer(header, func(q openReply) (struct{}, error) { s.end(q.Session); return struct{}{}, nil })
}

// begin opens a session: run fills it until it returns.
func (s *sessions) begin(sub *Subscription, run func(ctx context.Context, tell func(item) error) error) (openReply, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return openReply{}, err
	}
	id := binary.BigEndian.Uint64(b[:]) >> 11 // JSON knows no larger numbers
	ctx, cancel := context.WithCancel(s.ctx)
	x := &session{cancel: cancel, wait: make(chan item, maxFetched), done: make(chan struct{}), sub: sub, used: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxSessions {
		cancel()
		return openReply{}, ErrBusy
	}
	s.open[id] = x
	s.wg.Go(func() {
		defer close(x.done)
		x.err = run(ctx, func(i item) error {
			select {
			case x.wait <- i:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		cancel()
	})
	return openReply{id}, nil
}

func (s *sessions) subscribe(ctx context.Context, q openRequest) (openReply, error) {
	sub, err := s.n.Subscribe(ctx, q.Name, q.Anycast)
	if err != nil {
		return openReply{}, err
	}
	r, err := s.begin(sub, func(ctx context.Context, tell func(item) error) error {
		defer sub.Close()
		for {
			m, err := sub.Next(ctx)
			if err != nil {
				return err
			}
			i := item{From: m.From, Epoch: m.Epoch, Number: m.Number, Payload: m.Payload, Anycast: m.Anycast, ID: m.id, Missed: m.Missed}
			if err := tell(i); err != nil {
				return err
			}
		}
	})
	if err != nil {
		sub.Close()
	}
	return r, err
}

func (s *sessions) watch(method uint16, q openRequest) (openReply, error) {
	return s.begin(nil, func(ctx context.Context, tell func(item) error) error {
		record := func(r records.Record) error {
			shown := recordOf(r)
			return tell(item{Record: &shown})
		}
		switch {
		case method == methodWatchHere:
			return s.n.watchHere(ctx, q.Name, q.Prefix, func(c change) error {
				shown := recordOf(c.record)
				return tell(item{Record: &shown, Moved: c.moved})
			})
		case q.Prefix:
			return s.n.WatchPrefix(ctx, q.Name, record)
		}
		return s.n.Watch(ctx, q.Name, record)
	})
}

// fetch waits for what a session has, and returns it.
func (s *sessions) fetch(ctx context.Context, id uint64) (r fetchReply, err error) {
	s.mu.Lock()
	x := s.open[id]
	if x != nil {
		x.busy++
	}
	s.mu.Unlock()
	if x == nil {
		return r, ErrSession
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		x.busy--
		x.used = time.Now()
	}()
	limit := time.NewTimer(fetchFor)
	defer limit.Stop()
	select {
	case i := <-x.wait:
		r.Items = append(r.Items, i)
	case <-ctx.Done():
		return r, context.Cause(ctx)
	case <-limit.C:
		return r, nil
	case <-x.done:
	}
	for size := 0; len(r.Items) < maxFetched && size < maxBatch; {
		select {
		case i := <-x.wait:
			r.Items = append(r.Items, i)
			size += len(i.Payload) + 200
			if i.Record != nil {
				size += len(i.Record.Value)
			}
			continue
		default:
		}
		break
	}
	if len(r.Items) == 0 {
		return r, s.over(id, x)
	}
	return r, nil
}

// over forgets a session that has ended by itself, and says why it has.
func (s *sessions) over(id uint64, x *session) error {
	s.end(id)
	if errors.Is(x.err, errMoved) {
		return errMoved
	}
	return fmt.Errorf("%w: %w", ErrSession, x.err)
}

func (s *sessions) end(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.open[id]; x != nil {
		x.cancel()
		delete(s.open, id)
	}
}

// answer answers an anycast that a session was given.
func (s *sessions) answer(q answerRequest, body []byte) error {
	s.mu.Lock()
	x := s.open[q.Session]
	s.mu.Unlock()
	if x == nil || x.sub == nil {
		return ErrSession
	}
	var err error
	if q.Error != "" {
		err = errors.New(q.Error)
	}
	x.sub.Answer(Message{Anycast: true, id: q.ID}, body, err)
	return nil
}

// watchThere is watchHere at another node.
func (n *Node) watchThere(ctx context.Context, at dht.Peer, name string, prefix bool, f func(change) error) error {
	begin, cancel := context.WithTimeoutCause(ctx, askWait, errNoAnswer)
	defer cancel()
	b, err := n.links.call(begin, at, methodWatchHere, encode(openRequest{Name: name, Prefix: prefix}), nil)
	var open openReply
	if err == nil {
		err = decode(b, &open)
	}
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = n.links.call(ctx, at, methodEnd, encode(open), nil)
	}()
	for {
		items, err := n.fetchFrom(ctx, at, open)
		if err != nil {
			return err
		}
		for _, i := range items {
			if i.Record == nil {
				continue
			}
			if err := f(change{recordFrom(*i.Record), i.Moved}); err != nil {
				return err
			}
		}
	}
}

func (n *Node) fetchFrom(ctx context.Context, at dht.Peer, open openReply) ([]item, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchFor+askWait, errNoAnswer)
	defer cancel()
	b, err := n.links.call(ctx, at, methodFetch, encode(open), nil)
	if err != nil {
		return nil, fromLink(err)
	}
	var r fetchReply
	return r.Items, decode(b, &r)
}

func recordFrom(r Record) records.Record {
	return records.Record{
		Name: r.Name, Version: r.Version, Value: r.Value, TTL: r.TTL, Holder: r.Holder, Fence: r.Fence, Deleted: r.Deleted,
	}
}
