package doctor

import (
	"context"
	crand "crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/multicast"
)

// Bounds of a serving machine.
const (
	maxProbes   = 50               // of one step
	maxSessions = 8                // at one time
	sessionIdle = 30 * time.Second // after which one is forgotten
)

// probeCount and probeApart are what the asking machine asks for.
const (
	probeCount = 12
	probeApart = 10 * time.Millisecond
)

// Errors of the proof.
var (
	// ErrNoPeer reports that the other machine does not answer.
	ErrNoPeer = errors.New("the peer does not answer: is aether igmp doctor --serve running there?")
	// ErrRefused reports that it will not take part.
	ErrRefused = errors.New("the peer refuses: it is busy, or does not take the group")
)

// ServeConfig says how [Serve] takes part in proofs.
type ServeConfig struct {
	// Interface is where groups are joined and probes sent.
	Interface string
	// Listen is the address to be asked at. The zero value means [Port] on all
	// addresses.
	Listen netip.AddrPort
	// Event hears what is done, in words; it must not block. Nil means nobody does.
	Event func(what string, from netip.AddrPort)
	// Ready is called with the address in use once questions can be asked. Nil means
	// nobody waits.
	Ready func(netip.AddrPort)
}

// Serve is the other machine of proofs until ctx ends, which is no error. It sends
// to groups of local scope only (239.255/16, ff15::/16), at most 50 datagrams a
// question, and only to who has shown that it can hear its answers.
func Serve(ctx context.Context, cfg ServeConfig) error {
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.AddrPortFrom(netip.IPv6Unspecified(), Port)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(cfg.Listen))
	if err != nil {
		return fmt.Errorf("doctor: serve: %w", err)
	}
	s := &server{cfg: cfg, conn: conn, sessions: make(map[netip.AddrPort]*session)}
	_, _ = crand.Read(s.secret[:]) // it never fails
	defer s.close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if cfg.Ready != nil {
		cfg.Ready(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	var b [controlLen + 1]byte
	for {
		if err := conn.SetReadDeadline(time.Now().Add(sessionIdle / 4)); err != nil && ctx.Err() == nil {
			return fmt.Errorf("doctor: serve: %w", err)
		}
		n, from, err := conn.ReadFromUDPAddrPort(b[:])
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return fmt.Errorf("doctor: serve: %w", err)
		default:
			s.handle(ctx, b[:n], from)
		}
		s.forget(time.Now())
	}
}

// server is a Serve under way. All of it runs on one goroutine.
type server struct {
	cfg      ServeConfig
	conn     *net.UDPConn
	secret   [32]byte
	sessions map[netip.AddrPort]*session
}

// session is one proof that another machine makes with us.
type session struct {
	nonce [16]byte
	group *multicast.Conn
	last  time.Time
}

func (s *server) close() {
	for _, x := range s.sessions {
		_ = x.group.Close()
	}
	_ = s.conn.Close()
}

func (s *server) forget(now time.Time) {
	for from, x := range s.sessions {
		if now.Sub(x.last) > sessionIdle {
			_ = x.group.Close()
			delete(s.sessions, from)
		}
	}
}

func (s *server) tell(what string, from netip.AddrPort) {
	if s.cfg.Event != nil {
		s.cfg.Event(what, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

func (s *server) handle(ctx context.Context, b []byte, from netip.AddrPort) {
	m, err := parseControl(b)
	if err != nil {
		return
	}
	own := cookie(s.secret, from, m.Nonce)
	answer := m
	if m.Kind == hello {
		answer.Kind, answer.Cookie = welcome, own
		s.answer(answer, from)
		return
	}
	if subtle.ConstantTimeCompare(own[:], m.Cookie[:]) != 1 {
		return
	}
	switch m.Kind {
	case join:
		answer.Kind = joined
		if err := s.join(ctx, m, from); err != nil {
			answer.Kind = refused
			s.tell("refused: "+err.Error(), from)
		}
	case send:
		x := s.sessions[from]
		if x == nil || x.nonce != m.Nonce {
			answer.Kind = refused
			break
		}
		answer.Kind, answer.Count = sent, s.send(ctx, x, m)
		s.tell(fmt.Sprintf("sent %d to %v: %v", answer.Count, x.group.Group().Addr(), m.Step), from)
	case bye:
		if x := s.sessions[from]; x != nil {
			_ = x.group.Close()
			delete(s.sessions, from)
			s.tell("left "+x.group.Group().Addr().String(), from)
		}
	default:
		return
	}
	s.answer(answer, from)
}

func (s *server) answer(m control, to netip.AddrPort) {
	_, _ = s.conn.WriteToUDPAddrPort(m.append(nil), to) // as good as lost; it is asked for again
}

func (s *server) join(ctx context.Context, m control, from netip.AddrPort) error {
	if x := s.sessions[from]; x != nil {
		x.last = time.Now()
		return nil
	}
	switch {
	case !forTests(m.Group):
		return fmt.Errorf("%v is no group for tests", m.Group)
	case len(s.sessions) >= maxSessions:
		return errors.New("too many at a time")
	}
	c, err := multicast.Listen(ctx, multicast.Config{Interface: s.cfg.Interface, Group: netip.AddrPortFrom(m.Group, m.Port), NoLoopback: true})
	if err != nil {
		return err
	}
	s.sessions[from] = &session{nonce: m.Nonce, group: c, last: time.Now()}
	s.tell("joined "+m.Group.String(), from)
	return nil
}

// send sends the probes of one step and returns how many.
func (s *server) send(ctx context.Context, x *session, m control) (n uint16) {
	apart := time.Duration(min(max(m.Apart, 1), 50)) * time.Millisecond
	for i := range min(m.Count, maxProbes) {
		if x.group.Send(probe{m.Nonce, m.Step, i}.append(nil)) == nil {
			n++
		}
		if !wait(ctx, apart) {
			break
		}
	}
	x.last = time.Now()
	return n
}

// ProveConfig says with whom to make a proof.
type ProveConfig struct {
	// Interface is the one whose link is examined.
	Interface string
	// Peer is the address of the machine that runs [Serve].
	Peer netip.AddrPort
	// Step hears each step when it is done. Nil means nobody does.
	Step func(Count)
}

// Prove makes the proof; it takes about three seconds. It needs CAP_NET_RAW. It
// fails with [ErrNoPeer] or [ErrRefused] when there is no peer to do it with. The
// family of the peer's address is the one that is examined.
func Prove(ctx context.Context, cfg ProveConfig) (p Proof, err error) {
	start := time.Now()
	six := cfg.Peer.Addr().Is6() && !cfg.Peer.Addr().Is4In6()
	c := &prover{cfg: cfg, group: randomGroup(six)}
	_, _ = crand.Read(c.nonce[:]) // it never fails
	tap, err := igmp.OpenTap(cfg.Interface)
	if err != nil {
		return p, fmt.Errorf("doctor: proof: %w", err)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(cfg.Peer))
	if err != nil {
		return p, fmt.Errorf("doctor: proof: %w", errors.Join(err, tap.Close()))
	}
	defer conn.Close()
	c.conn = conn
	heard := make(chan struct{})
	go func() { defer close(heard); c.listen(tap) }()
	defer func() { _ = tap.Close(); <-heard }()
	if p.Counts, err = c.steps(ctx); err != nil {
		return p, fmt.Errorf("doctor: proof with %v: %w", cfg.Peer, err)
	}
	p.Took = time.Since(start)
	return p, nil
}

// prover is a Prove under way.
type prover struct {
	cfg    ProveConfig
	conn   *net.UDPConn
	group  netip.Addr
	nonce  [16]byte
	cookie [16]byte
	heard  [GroupJoined + 1]atomic.Int64
}

// listen counts the probes that reach the network card.
func (c *prover) listen(tap *igmp.Tap) {
	var b [1 << 16]byte
	for {
		n, err := tap.Read(b[:])
		if err != nil {
			return
		}
		if p, ok := probeIn(b[:n], c.group, probePort); ok && p.Nonce == c.nonce && p.Step >= CardOpen && p.Step <= GroupJoined {
			c.heard[p.Step].Add(1)
		}
	}
}

func (c *prover) steps(ctx context.Context) (counts []Count, err error) {
	m, err := c.ask(ctx, control{Kind: hello}, welcome)
	if err != nil {
		return nil, err
	}
	c.cookie = m.Cookie
	if _, err := c.ask(ctx, control{Kind: join}, joined); err != nil {
		return nil, err
	}
	defer func() { _, _ = c.conn.Write(c.message(control{Kind: bye}).append(nil)) }()
	for _, s := range []struct {
		step  Step
		group netip.Addr
	}{{CardOpen, netip.Addr{}}, {AliasJoined, aliasOf(c.group)}, {GroupJoined, c.group}} {
		n, err := c.step(ctx, s.step, s.group)
		if err != nil {
			return counts, err
		}
		counts = append(counts, n)
		if c.cfg.Step != nil {
			c.cfg.Step(n)
		}
	}
	return counts, nil
}

// step joins a group unless it is invalid, has the peer send, and counts.
func (c *prover) step(ctx context.Context, step Step, group netip.Addr) (n Count, err error) {
	n.Step = step
	if group.IsValid() {
		g, err := multicast.Listen(ctx, multicast.Config{Interface: c.cfg.Interface, Group: netip.AddrPortFrom(group, probePort)})
		if err != nil {
			return n, err
		}
		defer g.Close()
	}
	if !wait(ctx, settle) {
		return n, context.Cause(ctx)
	}
	m, err := c.ask(ctx, control{Kind: send, Step: step, Count: probeCount, Apart: uint16(probeApart / time.Millisecond)}, sent)
	if err != nil {
		return n, err
	}
	wait(ctx, settle/4) // for what is still under way
	// A question whose answer was lost has been asked, and probes sent, again.
	n.Sent = int(m.Count)
	n.Received = min(int(c.heard[step].Load()), n.Sent)
	return n, nil
}

func (c *prover) message(m control) control {
	m.Nonce, m.Cookie, m.Group, m.Port = c.nonce, c.cookie, c.group, probePort
	return m
}

// attempts and patience are how often and how long to wait for an answer.
const (
	attempts = 4
	patience = time.Second
)

// ask sends m until an answer of the kind want comes.
func (c *prover) ask(ctx context.Context, m control, want kind) (answer control, err error) {
	m = c.message(m)
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Now()) })()
	for range attempts {
		if _, err := c.conn.Write(m.append(nil)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !isRefused(err) {
			return answer, err
		}
		end := time.Now().Add(patience)
		for ctx.Err() == nil {
			if err := c.conn.SetReadDeadline(end); err != nil {
				return answer, err
			}
			var b [controlLen + 1]byte
			n, err := c.conn.Read(b[:])
			if isRefused(err) { // nobody is at the port, perhaps not yet
				wait(ctx, time.Until(end))
				break
			}
			if err != nil {
				break
			}
			answer, err := parseControl(b[:n])
			if err != nil || answer.Nonce != c.nonce || answer.Step != m.Step {
				continue
			}
			switch answer.Kind {
			case want:
				return answer, nil
			case refused:
				return answer, ErrRefused
			}
		}
		if ctx.Err() != nil {
			return answer, context.Cause(ctx)
		}
	}
	return answer, ErrNoPeer
}
