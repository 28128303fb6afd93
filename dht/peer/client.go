package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/link"
)

// ErrUnreachable reports that no node answered.
var ErrUnreachable = errors.New("no node of the ring can be reached")

// ClientConfig says whom a [Client] asks.
type ClientConfig struct {
	// Nodes are asked in turn until one answers. At least one must be given.
	Nodes []netip.AddrPort
	// Secret is that of the ring; see Config.
	Secret []byte
}

// Client talks to a ring from outside, through one of its nodes. A request that is made
// again, because a node fell silent, keeps its number, and is done once. It is safe for
// concurrent use; requests share a connection.
type Client struct {
	cfg  ClientConfig
	link link.Config

	mu   sync.Mutex
	conn *link.Conn
	at   int // of Nodes: where conn leads
}

// NewClient returns a Client, which connects when it is used.
func NewClient(cfg ClientConfig) (*Client, error) {
	if len(cfg.Nodes) == 0 {
		return nil, fmt.Errorf("dht/peer: client: %w: no node was given", ErrUnreachable)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("dht/peer: client: %w", err)
	}
	lc, err := linkConfig(key, cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("dht/peer: client: %w", err)
	}
	return &Client{cfg: cfg, link: lc}, nil
}

// Close ends the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn.Close()
	}
	return nil
}

// connect returns a connection to a node: the one there is, else to the next node.
func (c *Client) connect(ctx context.Context) (*link.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.Err() == nil {
		return c.conn, nil
	}
	a := c.cfg.Nodes[c.at%len(c.cfg.Nodes)]
	c.at++
	conn, err := dialWithin(ctx, a, c.link)
	if err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrUnreachable, a, err)
	}
	c.conn = conn
	return conn, nil
}

// dialWithin opens a connection that outlives ctx, but gives up with it.
func dialWithin(ctx context.Context, a netip.AddrPort, cfg link.Config) (*link.Conn, error) {
	type dialled struct {
		c   *link.Conn
		err error
	}
	done := make(chan dialled, 1)
	go func() { // ends within dialPatience
		c, err := dial(context.WithoutCancel(ctx), a, cfg)
		done <- dialled{c, err}
	}()
	select {
	case d := <-done:
		return d.c, d.err
	case <-ctx.Done():
		go func() {
			if d := <-done; d.c != nil {
				_ = d.c.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// Waits of a client.
const (
	tryFor    = fetchFor + 10*time.Second // how long a node may take to answer
	firstWait = 10 * time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// ask asks until a node answers or ctx ends. An error that another try cannot cure is
// returned.
func (c *Client) ask(ctx context.Context, method uint16, header, body []byte) ([]byte, error) {
	var last error
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		b, err := c.once(ctx, method, header, body)
		if err == nil || !again(err) {
			return b, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("dht/peer: %w: %w", context.Cause(ctx), last)
		case <-time.After(wait):
		}
	}
}

func (c *Client) once(ctx context.Context, method uint16, header, body []byte) ([]byte, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	try, cancel := context.WithTimeoutCause(ctx, tryFor, errNoAnswer)
	defer cancel()
	m, err := conn.Call(try, link.Message{Method: method, Header: header, Body: body})
	if errors.Is(context.Cause(try), errNoAnswer) {
		_ = conn.Close() // ask another
	}
	return m.Body, err
}

// again reports whether another try may cure err.
func again(err error) bool {
	var e *link.Error
	if errors.As(err, &e) {
		return e.Code == codeBusy || e.Code == codeEnded
	}
	// Who is not admitted here will not be elsewhere.
	return !errors.Is(err, link.ErrNotAdmitted)
}
