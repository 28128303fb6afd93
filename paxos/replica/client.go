package replica

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/peer"
)

// ErrUnreachable reports that no endpoint answered.
var ErrUnreachable = errors.New("no node of the cluster can be reached")

// ClientConfig says which cluster to talk to.
type ClientConfig struct {
	Endpoints []netip.AddrPort
	Cluster   string
	Secret    []byte
	// Try is how long one node may take to answer before another is asked; 0 is 3 s.
	Try time.Duration
}

// Client talks to a cluster. It finds the leader, tries all endpoints in turn until
// its context ends, and each of its commands is made once, however often it had to be
// sent. It is safe for concurrent use; its commands are made one after the other: use
// several Clients to have more under way.
type Client struct {
	cfg ClientConfig

	one    sync.Mutex // held by the command under way
	id     kv.Client
	number uint64
	begun  bool
	mu     sync.Mutex
	conns  map[netip.AddrPort]*peer.Client
	leader netip.AddrPort
	at     int // of Endpoints
}

// NewClient returns a Client. It connects when it is used.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Try == 0 {
		cfg.Try = 3 * time.Second
	}
	c := &Client{cfg: cfg, conns: map[netip.AddrPort]*peer.Client{}}
	_, _ = rand.Read(c.id[:]) // does not fail
	return c
}

// Close ends the connections. The session ends by being forgotten.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	for a, p := range c.conns {
		err = errors.Join(err, p.Close())
		delete(c.conns, a)
	}
	return err
}

// conn returns a connection to a node.
func (c *Client) conn(ctx context.Context, a netip.AddrPort) (*peer.Client, error) {
	c.mu.Lock()
	p := c.conns[a]
	c.mu.Unlock()
	if p != nil {
		select {
		case <-p.Done():
		default:
			return p, nil
		}
	}
	type dialled struct {
		p   *peer.Client
		err error
	}
	done := make(chan dialled, 1)
	go func() { // lives as long as the Client, not as this call
		p, err := peer.Dial(context.WithoutCancel(ctx), a, ClusterID(c.cfg.Cluster), nil, c.cfg.Secret)
		done <- dialled{p, err}
	}()
	select {
	case d := <-done:
		if d.err != nil {
			return nil, d.err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if other := c.conns[a]; other != nil {
			_ = other.Close()
		}
		c.conns[a] = d.p
		return d.p, nil
	case <-ctx.Done():
		go func() {
			if d := <-done; d.p != nil {
				_ = d.p.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// next returns the node to ask: the leader if it is known, else the endpoints in turn.
func (c *Client) next() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader.IsValid() {
		return c.leader
	}
	c.at++
	return c.cfg.Endpoints[c.at%len(c.cfg.Endpoints)]
}

// led notes where the leader is; the zero value when that is not known.
func (c *Client) led(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = a
}

// ask asks the cluster until somebody answers or ctx ends. Errors that another try
// cannot cure are returned.
func (c *Client) ask(ctx context.Context, method uint16, header, body []byte) ([]byte, error) {
	if len(c.cfg.Endpoints) == 0 {
		return nil, fmt.Errorf("paxos: %w: no endpoint was given", ErrUnreachable)
	}
	pause := 5 * time.Millisecond
	var last error
	lost := false // the answer of an earlier try, which may have done what was asked
	for try := 1; ; try++ {
		b, err := c.once(ctx, c.next(), method, header, body)
		var e *peer.Error
		told := errors.As(err, &e)
		switch {
		case err == nil:
			return b, nil
		case c.again(err):
		case lost && e.Code == codeMember:
			return nil, errors.Join(errMade, err)
		default:
			return nil, err
		}
		lost = lost || !told || e.Code == codeUncertain || e.Code == codeEnded
		last = err
		if try%max(1, len(c.cfg.Endpoints)) != 0 && pause < 20*time.Millisecond {
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("paxos: %w: %w", context.Cause(ctx), last)
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// maxPause bounds the pause after all endpoints were asked in vain: a new leader is
// there a second or two after the old one has gone, and should not wait for its clients.
const maxPause = 100 * time.Millisecond

func (c *Client) once(ctx context.Context, a netip.AddrPort, method uint16, header, body []byte) ([]byte, error) {
	try := c.cfg.Try
	switch method {
	case methodWatch:
		try += watchFor
	case methodSnapshot: // writes the whole map
		try += 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	p, err := c.conn(ctx, a)
	if err != nil {
		c.led(netip.AddrPort{})
		return nil, fmt.Errorf("%w: %v: %w", ErrUnreachable, a, err)
	}
	_, b, err := p.Call(ctx, method, header, body)
	return b, err
}

// again reports whether err is cured by asking another node, or later.
func (c *Client) again(err error) bool {
	var e *peer.Error
	if !errors.As(err, &e) {
		c.led(netip.AddrPort{})
		return true // the connection, or the node, or time
	}
	switch e.Code {
	case codeNotLeader:
		a, _ := netip.ParseAddrPort(e.Text)
		c.led(a)
		return true
	case codeBusy:
		return true
	case codeUncertain, codeEnded:
		c.led(netip.AddrPort{})
		return true
	}
	return false
}

// Do has a command made, once. Its Client, Number and Time are set. The error is that
// of the answer, see [kv.Code.Err], whose Result is given with it; kv.ErrSession means
// that nobody knows whether the command was made. When ctx ends first, the command may
// be made or not.
func (c *Client) Do(ctx context.Context, cmd kv.Command) (kv.Result, error) {
	if err := cmd.Check(); err != nil {
		return kv.Result{}, err
	}
	c.one.Lock()
	defer c.one.Unlock()
	if !c.begun {
		if _, err := c.send(ctx, kv.Command{Op: kv.Begin, Client: c.id}); err != nil {
			return kv.Result{}, err
		}
		c.begun = true
	}
	c.number++
	cmd.Client, cmd.Number = c.id, c.number
	r, err := c.send(ctx, cmd)
	if err != nil { // the next command must not be taken for this one
		c.begun, c.number = false, 0
		_, _ = rand.Read(c.id[:])
		return r, err
	}
	if r.Code == kv.NoSession {
		c.begun, c.number = false, 0
		_, _ = rand.Read(c.id[:])
	}
	return r, r.Code.Err()
}

func (c *Client) send(ctx context.Context, cmd kv.Command) (kv.Result, error) {
	b, err := c.ask(ctx, methodCommand, nil, cmd.Append(nil))
	if err != nil {
		return kv.Result{}, err
	}
	return kv.ParseResult(b)
}

// Get returns what a key has. stale takes what the node that is asked has, which may
// be old.
func (c *Client) Get(ctx context.Context, key []byte, stale bool) (kv.Value, bool, error) {
	var a getReply
	err := c.query(ctx, methodGet, getRequest{key, stale}, &a)
	return a.Value, a.Found, err
}

// Range returns keys that begin with prefix, from from on, at most limit (0: 10,000),
// whether there are more, and the slot of the state.
func (c *Client) Range(ctx context.Context, prefix, from []byte, limit int, stale bool) ([]Pair, bool, paxos.Slot, error) {
	var a rangeReply
	err := c.query(ctx, methodRange, rangeRequest{prefix, from, limit, stale}, &a)
	return a.Pairs, a.More, a.Slot, err
}

// Watch calls f with the changes after slot since of keys that begin with prefix, in
// order, until ctx ends or f returns an error. It fails with kv.ErrLagging when since
// is too long ago.
func (c *Client) Watch(ctx context.Context, prefix []byte, since paxos.Slot, f func(kv.Event) error) error {
	for {
		var a watchReply
		if err := c.query(ctx, methodWatch, watchRequest{prefix, since}, &a); err != nil {
			return err
		}
		for _, e := range a.Events {
			if err := f(e); err != nil {
				return err
			}
		}
		since = max(since, a.Since)
	}
}

// Status asks one node how it stands.
func (c *Client) Status(ctx context.Context, a netip.AddrPort) (s Status, err error) {
	b, err := c.once(ctx, a, methodStatus, nil, nil)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// Member changes who is in the cluster, and returns when the change is in effect:
// action is add, remove, promote or lead. With stay, a node that is added remains a
// learner.
func (c *Client) Member(ctx context.Context, action string, id paxos.NodeID, addr string, stay bool) error {
	err := c.query(ctx, methodMember, memberRequest{action, id, addr, stay}, &struct{}{})
	if errors.Is(err, errMade) {
		return nil
	}
	return err
}

// errMade says that what was asked for is so already, after a try whose answer was
// lost.
var errMade = errors.New("it is so already")

func (c *Client) query(ctx context.Context, method uint16, q, a any) error {
	b, err := c.ask(ctx, method, encode(q), nil)
	var e *peer.Error
	if errors.As(err, &e) && e.Code == codeLagging {
		return kv.ErrLagging
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, a)
}

// SaveSnapshot has one node make a snapshot and writes its bytes to w, verified.
func (c *Client) SaveSnapshot(ctx context.Context, a netip.AddrPort, w io.Writer) (s paxos.Snapshot, err error) {
	b, err := c.once(ctx, a, methodSnapshot, nil, nil)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, err
	}
	sum := sha256.New()
	for at := uint64(0); at < s.Size; at += uint64(len(b)) {
		if b, err = c.once(ctx, a, methodPiece, pieceHeader(s.Slot, at), nil); err != nil {
			return s, err
		}
		if len(b) == 0 {
			return s, errEmpty
		}
		b = b[:min(uint64(len(b)), s.Size-at)] // the node's file goes on with its description
		sum.Write(b)
		if _, err := w.Write(b); err != nil {
			return s, err
		}
	}
	if [32]byte(sum.Sum(nil)) != s.Sum {
		return s, errors.New("the snapshot arrived other than it was made")
	}
	return s, nil
}
