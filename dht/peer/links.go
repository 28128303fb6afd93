package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/link"
)

// Methods of link messages. A batch is answered with a batch: what the receiver has to
// say at once, so that a question and its answer cost one frame each.
const (
	methodBatch uint16 = 1
	firstMethod uint16 = 16 // of requests
)

// Bounds of what waits for a node, and of connections.
const (
	maxQueued      = 4096
	maxQueuedBytes = 8 << 20
	maxRemotes     = 4096
	batchPatience  = 3 * time.Second        // for the answer to a batch
	dialPatience   = 3 * time.Second        // for a connection, its handshake included
	dialPause      = 100 * time.Millisecond // after one that failed
	idleAfter      = 2 * time.Minute        // a connection is closed
	sweepEvery     = 15 * time.Second
	recently       = 30 * time.Second // an end of a connection that was used then is news
)

// linksConfig says who a node is on the network, and who hears what it hears.
type linksConfig struct {
	key      ed25519.PrivateKey
	secret   []byte
	listener net.Listener
	// self is this node as it tells itself to others.
	self dht.Peer
	// hear takes what a node sent, and returns what to answer with at once.
	hear func(ctx context.Context, from dht.Peer, list []parcel, answer bool) []parcel
	// gone hears of a node that refused or broke a connection.
	gone func(p dht.Peer, why error)
	// serve answers requests that are no batches.
	serve  func(ctx context.Context, method uint16, header, body []byte) (h, b []byte, err error)
	logger *slog.Logger
}

// traffic counts what links do.
type traffic struct {
	sent, received           atomic.Uint64 // batches
	sentBytes, receivedBytes atomic.Uint64 // of their bodies
	dropped                  atomic.Uint64 // parcels
	refused                  atomic.Uint64 // batches
	dials, dialsFailed       atomic.Uint64
	wrong                    atomic.Uint64 // dials that another node answered
}

// links carries parcels between nodes, over connections that are opened when there is
// something to say and closed when there was nothing for a while. Both ends use the one
// connection, whoever dialled it.
type links struct {
	cfg      linksConfig
	link     link.Config
	ctx      context.Context
	wg       sync.WaitGroup
	listener *link.Listener
	traffic  traffic

	mu      sync.Mutex
	remotes map[dht.ID]*remote
}

// remote is another node: where it is, what waits for it, and the way there.
type remote struct {
	peer    dht.Peer
	urgent  []parcel // of the ring: whether a node lives must not wait behind records
	rest    []parcel
	bytes   int
	sending bool
	conn    *link.Conn
	used    time.Time // when conn was last used
	dialing chan struct{}
	failure error     // of the last dial
	failed  time.Time // when
}

// linkConfig is what all connections of a ring need, nodes' and clients'.
func linkConfig(key ed25519.PrivateKey, secret []byte) (link.Config, error) {
	id, err := link.NewIdentity(key)
	if err != nil {
		return link.Config{}, err
	}
	h := sha256.New()
	h.Write([]byte("aether dht ring\x00"))
	h.Write(secret)
	// The engines see to it that nodes live: the connections need no signs of life.
	return link.Config{
		Identity: id, Admit: link.AdmitSecret(h.Sum(nil)), Protocol: "aether-dht/1", HandshakeTimeout: dialPatience,
		KeepAlive: 5 * time.Minute, DeadAfter: 15 * time.Minute, MaxHandlers: 1024, MaxHeader: 64 << 10, MaxBody: maxBody, Queue: 256,
	}, nil
}

// maxBody bounds a frame: a batch with its last parcel, or a request.
const maxBody = 8 << 20

// newLinks starts links that work until ctx ends; then wait.
func newLinks(ctx context.Context, cfg linksConfig) (*links, error) {
	lc, err := linkConfig(cfg.key, cfg.secret)
	if err != nil {
		return nil, errors.Join(err, cfg.listener.Close())
	}
	l := &links{cfg: cfg, ctx: ctx, remotes: map[dht.ID]*remote{}}
	lc.Handler = l.handle
	l.link = lc
	failed := func(err error) { cfg.logger.Debug("connection refused", "error", err) }
	if l.listener, err = link.NewListener(ctx, cfg.listener, lc, link.Limits{Pending: 256, PerSource: 128}, failed); err != nil {
		return nil, err
	}
	l.wg.Go(l.accept)
	l.wg.Go(l.sweep)
	return l, nil
}

// wait returns once ctx has ended and nothing of the links is left.
func (l *links) wait() {
	l.wg.Wait()
	l.listener.Wait()
}

// accept lets connections in. Whose they are shows when something comes.
func (l *links) accept() {
	for {
		c, err := l.listener.Accept(l.ctx)
		if err != nil {
			return
		}
		l.wg.Go(func() {
			<-c.Done()
			l.ended(c)
		})
	}
}

// send queues a parcel for a node.
func (l *links) send(to dht.Peer, p parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.remoteLocked(to)
	if r == nil || len(r.urgent)+len(r.rest) >= maxQueued || r.bytes+p.weight() > maxQueuedBytes {
		l.traffic.dropped.Add(1)
		return
	}
	if p.layer == layerRing {
		r.urgent = append(r.urgent, p)
	} else {
		r.rest = append(r.rest, p)
	}
	r.bytes += p.weight()
	if !r.sending && l.ctx.Err() == nil {
		r.sending = true
		l.wg.Go(func() { l.drain(r) })
	}
}

// remoteLocked returns what is known of a node, nil when there is no room for another.
func (l *links) remoteLocked(p dht.Peer) *remote {
	r := l.remotes[p.ID]
	if r == nil {
		if len(l.remotes) >= maxRemotes {
			return nil
		}
		r = &remote{peer: p}
		l.remotes[p.ID] = r
	}
	if p.Incarnation >= r.peer.Incarnation && p.Address.IsValid() {
		r.peer = p
	}
	return r
}

// take removes what waits for r, at most a batch, the urgent first.
func (l *links) take(r *remote) (list []parcel, to dht.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := 0
	for _, q := range []*[]parcel{&r.urgent, &r.rest} {
		k := 0
		for k < len(*q) && len(list) < maxParcels && size < maxBatch {
			size += (*q)[k].weight()
			list = append(list, (*q)[k])
			k++
		}
		if *q = (*q)[k:]; len(*q) == 0 {
			*q = nil
		}
	}
	r.bytes -= size
	r.sending = len(list) > 0
	return list, r.peer
}

// drain sends what waits for r until nothing does.
func (l *links) drain(r *remote) {
	for {
		list, to := l.take(r)
		if len(list) == 0 {
			return
		}
		ctx, cancel := context.WithTimeoutCause(l.ctx, batchPatience, errNoAnswer)
		err := l.deliver(ctx, to, list)
		cancel()
		if err != nil {
			l.traffic.dropped.Add(uint64(len(list)))
			l.cfg.logger.Debug("not sent", "node", to.Address, "messages", len(list), "error", err)
		}
	}
}

var errNoAnswer = errors.New("no answer in time")

func (l *links) deliver(ctx context.Context, to dht.Peer, list []parcel) error {
	c, err := l.connect(ctx, to)
	if err != nil {
		return err
	}
	_, err = l.exchange(ctx, c, to.ID, list)
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		_ = c.Close() // whatever broke it: the next one begins anew
	}
	return err
}

// exchange sends a batch over c and hears the answer.
func (l *links) exchange(ctx context.Context, c *link.Conn, id dht.ID, list []parcel) (dht.Peer, error) {
	body := batch{l.cfg.self.Incarnation, l.cfg.self.Address, list}.append(nil)
	l.traffic.sent.Add(1)
	l.traffic.sentBytes.Add(uint64(len(body)))
	answer, err := c.Call(ctx, link.Message{Method: methodBatch, Body: body})
	if err != nil {
		return dht.Peer{}, err
	}
	t, err := parseBatch(answer.Body)
	if err != nil {
		l.traffic.refused.Add(1)
		return dht.Peer{}, err
	}
	from := t.sender(id, c.RemoteAddr().Addr())
	l.heard(from, c, len(answer.Body))
	if len(t.parcels) > 0 {
		l.cfg.hear(ctx, from, t.parcels, false)
	}
	return from, nil
}

// heard notes that a node was heard over c, which is the way to it from now on unless
// another one lives.
func (l *links) heard(from dht.Peer, c *link.Conn, size int) {
	l.traffic.received.Add(1)
	l.traffic.receivedBytes.Add(uint64(size))
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.remoteLocked(from)
	if r == nil {
		return
	}
	if r.conn == nil || r.conn.Err() != nil {
		r.conn = c
	}
	r.used = time.Now()
}

// handle answers what comes over any connection.
func (l *links) handle(ctx context.Context, _ link.PeerID, req link.Message) (link.Message, error) {
	if req.Method >= firstMethod {
		h, b, err := l.cfg.serve(ctx, req.Method, req.Header, req.Body)
		return link.Message{Header: h, Body: b}, err
	}
	c := link.ConnOf(ctx)
	t, err := parseBatch(req.Body)
	if req.Method != methodBatch || err == nil && t.address.Port() == 0 {
		err = errBatch
	}
	if err != nil {
		l.traffic.refused.Add(1)
		return link.Message{}, err
	}
	from := t.sender(IDOf(c.PeerKey()), c.RemoteAddr().Addr())
	l.heard(from, c, len(req.Body))
	var answer []parcel
	if len(t.parcels) > 0 {
		answer = l.cfg.hear(ctx, from, t.parcels, true)
	}
	body := batch{l.cfg.self.Incarnation, l.cfg.self.Address, answer}.append(nil)
	l.traffic.sent.Add(1)
	l.traffic.sentBytes.Add(uint64(len(body)))
	return link.Message{Body: body}, nil
}

// connect returns a connection to a node, and dials it when there is none.
func (l *links) connect(ctx context.Context, to dht.Peer) (*link.Conn, error) {
	for {
		l.mu.Lock()
		r := l.remoteLocked(to)
		switch {
		case r == nil:
			l.mu.Unlock()
			return nil, errors.New("dht/peer: too many nodes")
		case r.conn != nil && r.conn.Err() == nil:
			c := r.conn
			r.used = time.Now()
			l.mu.Unlock()
			return c, nil
		case r.failure != nil && time.Since(r.failed) < dialPause:
			err := r.failure
			l.mu.Unlock()
			return nil, err
		case r.dialing == nil:
			r.dialing = make(chan struct{})
			l.wg.Go(func() { l.dialRemote(r) })
		}
		done := r.dialing
		l.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// dialRemote dials a node that connect waits for.
func (l *links) dialRemote(r *remote) {
	l.mu.Lock()
	to := r.peer
	l.mu.Unlock()
	c, err := l.dial(to.Address)
	if err == nil && IDOf(c.PeerKey()) != to.ID {
		l.traffic.wrong.Add(1)
		_ = c.Close()
		err = fmt.Errorf("dht/peer: %v is another node now: %w", to.Address, link.ErrWrongPeer)
	}
	l.mu.Lock()
	switch r.failure = err; {
	case err != nil:
		r.failed = time.Now()
	case r.conn != nil && r.conn.Err() == nil:
		_ = c.Close() // the other end was faster
	default:
		r.conn, r.used = c, time.Now()
	}
	close(r.dialing)
	r.dialing = nil
	l.mu.Unlock()
	if err != nil && isNews(err) {
		l.cfg.gone(to, err)
	}
}

// dial opens a connection, which lives until it is closed or the links end.
func (l *links) dial(addr netip.AddrPort) (*link.Conn, error) {
	l.traffic.dials.Add(1)
	c, err := dial(l.ctx, addr, l.link)
	if err != nil {
		l.traffic.dialsFailed.Add(1)
		return nil, err
	}
	l.wg.Go(func() {
		<-c.Done()
		l.ended(c)
	})
	return c, nil
}

func dial(ctx context.Context, addr netip.AddrPort, cfg link.Config) (*link.Conn, error) {
	d := net.Dialer{Timeout: dialPatience, KeepAlive: -1} // the engines notice who is gone
	nc, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	return link.Client(ctx, nc, link.PeerID{}, cfg)
}

// isNews reports whether err says that nobody is there: somebody refused, another
// answers, or a connection broke. Silence says nothing yet.
func isNews(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, link.ErrWrongPeer) ||
		errors.Is(err, link.ErrSelf) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE)
}

// ended forgets a connection, and tells when it broke while it was in use.
func (l *links) ended(c *link.Conn) {
	l.mu.Lock()
	r := l.remotes[IDOf(c.PeerKey())]
	if r == nil || r.conn != c {
		l.mu.Unlock()
		return
	}
	r.conn = nil
	news := time.Since(r.used) < recently && isNews(c.Err())
	p := r.peer
	l.mu.Unlock()
	if news && l.ctx.Err() == nil {
		l.cfg.gone(p, c.Err())
	}
}

// sweep closes connections that nobody uses, and forgets nodes with which there is
// nothing to do.
func (l *links) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case now := <-tick.C:
			l.sweepOnce(now)
		}
	}
}

func (l *links) sweepOnce(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, r := range l.remotes {
		if r.sending || r.dialing != nil || now.Sub(r.used) < idleAfter {
			continue
		}
		if r.conn != nil {
			_ = r.conn.Close()
			r.conn = nil
		}
		if now.Sub(r.failed) > idleAfter {
			delete(l.remotes, id)
		}
	}
}

// probe asks who is at an address.
func (l *links) probe(ctx context.Context, addr netip.AddrPort) (dht.Peer, error) {
	c, err := l.dial(addr)
	if err != nil {
		return dht.Peer{}, err
	}
	id := IDOf(c.PeerKey())
	p, err := l.exchange(ctx, c, id, nil)
	l.mu.Lock()
	if r := l.remotes[id]; r == nil || r.conn != c {
		_ = c.Close() // there is another one
	}
	l.mu.Unlock()
	return p, err
}

// call asks a node; method is firstMethod or more. An error of the node is a *link.Error.
func (l *links) call(ctx context.Context, to dht.Peer, method uint16, header, body []byte) ([]byte, error) {
	c, err := l.connect(ctx, to)
	if err != nil {
		return nil, err
	}
	m, err := c.Call(ctx, link.Message{Method: method, Header: header, Body: body})
	return m.Body, err
}

// idle reports whether nothing waits to be sent.
func (l *links) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.remotes {
		if r.sending {
			return false
		}
	}
	return true
}

// connections counts the nodes to which there is a connection.
func (l *links) connections() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.remotes {
		if r.conn != nil && r.conn.Err() == nil {
			n++
		}
	}
	return n
}
