package link

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity returns the n-th machine of the tests.
func identity(t testing.TB, n byte) *Identity {
	t.Helper()
	id, err := NewIdentity(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var secret = bytes.Repeat([]byte{7}, 32)

func config(t testing.TB, n byte, h Handler) Config {
	return Config{Identity: identity(t, n), Admit: AdmitSecret(secret), Handler: h}
}

// pair connects two ends over nc1 (dialler) and nc2.
func pair(t testing.TB, ctx context.Context, nc1, nc2 net.Conn, c1, c2 Config) (*Conn, *Conn) {
	t.Helper()
	var b *Conn
	var errB error
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, errB = Server(ctx, nc2, c2)
	}()
	a, err := Client(ctx, nc1, PeerID{}, c1)
	<-done
	if err := errors.Join(err, errB); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// bubble runs f over an in-memory connection in fake time.
func bubble(t *testing.T, c1, c2 Config, f func(t *testing.T, a, b *Conn)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, q := net.Pipe()
		a, b := pair(t, ctx, p, q, c1, c2)
		f(t, a, b)
		cancel()
		<-a.Done()
		<-b.Done()
	})
}

func echo(_ context.Context, peer PeerID, req Message) (Message, error) {
	return Message{Header: append([]byte("from "+peer.String()[:4]+" "), req.Header...), Body: req.Body}, nil
}

func TestConn_BothEndsAsk(t *testing.T) {
	bubble(t, config(t, 1, echo), config(t, 2, echo), func(t *testing.T, a, b *Conn) {
		if a.Peer() != identity(t, 2).ID() || b.Peer() != identity(t, 1).ID() || !a.Dialled() || b.Dialled() {
			t.Fatalf("peers %v, %v", a.Peer(), b.Peer())
		}
		var wg sync.WaitGroup
		for i := range 100 {
			for _, c := range []*Conn{a, b} {
				wg.Go(func() {
					body := bytes.Repeat([]byte{byte(i)}, i*1000)
					resp, err := c.Call(t.Context(), Message{Method: 5, Header: []byte{byte(i)}, Body: body})
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Release()
					if !bytes.Equal(resp.Body, body) || resp.Header[len(resp.Header)-1] != byte(i) {
						t.Errorf("call %d got another's answer", i)
					}
				})
			}
		}
		wg.Wait()
	})
}

func TestConn_ErrorsCrossWithTheirCode(t *testing.T) {
	h := func(_ context.Context, _ PeerID, req Message) (Message, error) {
		if req.Method == 1 {
			return Message{}, errors.New("disk full")
		}
		return Message{}, fmt.Errorf("wrapped: %w", &Error{Code: 77, Text: strings.Repeat("x", 9000)})
	}
	bubble(t, config(t, 1, nil), config(t, 2, h), func(t *testing.T, a, b *Conn) {
		for _, c := range []struct {
			conn   *Conn
			method uint16
			code   uint16
			length int
		}{{a, 1, CodeFailed, 9}, {a, 2, 77, maxErrorText}, {b, 9, CodeNoMethod, 28}} {
			_, err := c.conn.Call(t.Context(), Message{Method: c.method})
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || len(e.Text) != c.length {
				t.Errorf("method %d: %.40v", c.method, err)
			}
		}
	})
}

func TestConn_ServesNoMoreThanItsBound(t *testing.T) {
	var now, most atomic.Int32
	h := func(context.Context, PeerID, Message) (Message, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		time.Sleep(time.Second)
		return Message{}, nil
	}
	c2 := config(t, 2, h)
	c2.MaxHandlers = 3
	bubble(t, config(t, 1, nil), c2, func(t *testing.T, a, b *Conn) {
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					_, err = a.Call(t.Context(), Message{})
				} else {
					err = a.Send(t.Context(), Message{})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(5 * time.Second)
		if most.Load() != 3 {
			t.Errorf("%d handlers at a time, want 3", most.Load())
		}
		if now.Load() != 0 || a.calls.underWay() != 0 {
			t.Errorf("%d handlers, %d calls are left after %v", now.Load(), a.calls.underWay(), time.Since(start))
		}
	})
}

func TestConn_ACallersEndReachesTheHandler(t *testing.T) {
	ended := make(map[uint16]time.Time)
	var mu sync.Mutex
	h := func(ctx context.Context, _ PeerID, req Message) (Message, error) {
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		ended[req.Method] = time.Now()
		return Message{}, ctx.Err()
	}
	bubble(t, config(t, 1, nil), config(t, 2, h), func(t *testing.T, a, b *Conn) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := a.Call(ctx, Message{Method: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call = %v", err)
		}
		synctest.Wait()
		mu.Lock()
		at := ended[1].Sub(start)
		mu.Unlock()
		if at != 3*time.Second {
			t.Errorf("the handler ended after %v", at)
		}
		if n := a.calls.underWay(); n != 0 {
			t.Errorf("%d calls hold a credit", n)
		}
		go a.Call(t.Context(), Message{Method: 2})
		synctest.Wait()
		b.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if _, ok := ended[2]; !ok {
			t.Error("closing did not end the handler")
		}
	})
}

func TestConn_StaysAliveWithoutTraffic(t *testing.T) {
	bubble(t, config(t, 1, echo), config(t, 2, echo), func(t *testing.T, a, b *Conn) {
		time.Sleep(time.Hour)
		if a.Err() != nil || b.Err() != nil {
			t.Fatalf("after an hour: %v, %v", a.Err(), b.Err())
		}
		if _, err := a.Call(t.Context(), Message{}); err != nil {
			t.Error(err)
		}
	})
}

// cable is a connection that can be cut: then nothing arrives and nothing fails.
type cable struct {
	net.Conn
	cut chan struct{}
}

func (c *cable) Write(b []byte) (int, error) {
	select {
	case <-c.cut:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func TestConn_NoticesADeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := net.Pipe()
		cut := make(chan struct{})
		a, b := pair(t, t.Context(), &cable{p, cut}, &cable{q, cut}, config(t, 1, echo), config(t, 2, echo))
		time.Sleep(7 * time.Second)
		start := time.Now()
		close(cut)
		_, err := a.Call(t.Context(), Message{})
		took := time.Since(start)
		<-a.Done()
		<-b.Done()
		// Closing still crosses the cut cable, so one end notices for both.
		if !errors.Is(errors.Join(a.Err(), b.Err()), ErrPeerSilent) || err == nil {
			t.Errorf("ended with %v, %v; Call = %v", a.Err(), b.Err(), err)
		}
		if took > DefaultDeadAfter || took < DefaultDeadAfter-DefaultKeepAlive {
			t.Errorf("noticed after %v", took)
		}
	})
}

func TestConn_NoticesAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := net.Pipe()
		stuck := &stopped{Conn: q, stop: make(chan struct{}), open: make(chan struct{})}
		a, b := pair(t, t.Context(), p, stuck, config(t, 1, echo), config(t, 2, echo))
		close(stuck.stop)
		start := time.Now()
		_, err := a.Call(t.Context(), Message{Body: make([]byte, 1<<20)})
		if took := time.Since(start); !errors.Is(err, ErrPeerSilent) || took > DefaultDeadAfter+DefaultKeepAlive {
			t.Errorf("after %v: %v", took, err)
		}
		close(stuck.open)
		<-a.Done()
		<-b.Done()
	})
}

// stopped is a connection whose reader stops between stop and open.
type stopped struct {
	net.Conn
	stop, open chan struct{}
}

func (s *stopped) Read(b []byte) (int, error) {
	select {
	case <-s.stop:
		<-s.open
	default:
	}
	return s.Conn.Read(b)
}

func TestConn_RefusesWhatThePeerWouldNotTake(t *testing.T) {
	c2 := config(t, 2, func(context.Context, PeerID, Message) (Message, error) {
		return Message{Body: make([]byte, 500)}, nil
	})
	c2.MaxBody = 1000
	c1 := config(t, 1, nil)
	c1.MaxBody = 400
	bubble(t, c1, c2, func(t *testing.T, a, b *Conn) {
		if _, err := a.Call(t.Context(), Message{Body: make([]byte, 1001)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Call = %v", err)
		}
		var e *Error
		if _, err := a.Call(t.Context(), Message{Body: make([]byte, 1000)}); !errors.As(err, &e) || e.Code != CodeTooLarge {
			t.Errorf("Call = %v", err)
		}
	})
}

func TestConn_SentIsCalledOnce(t *testing.T) {
	var sent atomic.Int32
	h := func(context.Context, PeerID, Message) (Message, error) {
		return Message{Sent: func() { sent.Add(1) }}, nil
	}
	bubble(t, config(t, 1, nil), config(t, 2, h), func(t *testing.T, a, b *Conn) {
		for range 5 {
			if _, err := a.Call(t.Context(), Message{Sent: func() { sent.Add(100) }}); err != nil {
				t.Fatal(err)
			}
		}
		if sent.Load() != 505 {
			t.Errorf("sent = %d", sent.Load())
		}
	})
}

func TestConn_ClosesOnViolations(t *testing.T) {
	for name, f := range map[string]frame{
		"answer to nothing": {kind: kindResponse, stream: 9},
		"second hello":      {kind: kindHello, body: hello{serves: 1}.append(nil)},
		"unknown kind":      {kind: 99},
	} {
		bubble(t, config(t, 1, echo), config(t, 2, echo), func(t *testing.T, a, b *Conn) {
			if err := a.enqueue(t.Context(), outgoing{frame: f}); err != nil {
				t.Fatal(err)
			}
			<-b.Done()
			if !errors.Is(b.Err(), ErrGarbage) {
				t.Errorf("%s: %v", name, b.Err())
			}
			<-a.Done()
			if !errors.Is(a.Err(), io.EOF) {
				t.Errorf("%s: the other end saw %v", name, a.Err())
			}
		})
	}
}

func TestHandshake_WrongPeerIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := net.Pipe()
		go Server(t.Context(), q, config(t, 2, nil))
		_, err := Client(t.Context(), p, identity(t, 3).ID(), config(t, 1, nil))
		var pe *PeerError
		if !errors.Is(err, ErrWrongPeer) || !errors.As(err, &pe) || pe.Peer != identity(t, 2).ID() {
			t.Errorf("Client = %v", err)
		}
	})
}

func TestHandshake_StrangersLearnNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := net.Pipe()
		proved := false
		guarded := config(t, 2, nil)
		guarded.Admit.Prove = func(Session) ([]byte, error) { proved = true; return nil, nil }
		stranger := config(t, 1, nil)
		stranger.Admit = AdmitSecret([]byte("guess"))
		errs := make(chan error)
		go func() { _, err := Server(t.Context(), q, guarded); errs <- err }()
		_, err := Client(t.Context(), p, PeerID{}, stranger)
		var pe *PeerError
		if !errors.Is(err, ErrNotAdmitted) || !errors.As(err, &pe) || pe.Peer != identity(t, 2).ID() {
			t.Errorf("stranger: %v", err)
		}
		err = <-errs
		if !errors.Is(err, ErrNotAdmitted) || !errors.As(err, &pe) || pe.Peer != identity(t, 1).ID() {
			t.Errorf("listener: %v", err)
		}
		if proved {
			t.Error("the listener gave a proof to a stranger")
		}
	})
}

func TestHandshake_AProofSentBackProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := net.Pipe()
		mirror := config(t, 2, nil)
		var seen []byte
		mirror.Admit = Admit{
			Check: func(_ Session, proof []byte) error { seen = proof; return nil },
			Prove: func(Session) ([]byte, error) { return seen, nil },
		}
		go Server(t.Context(), q, mirror)
		if _, err := Client(t.Context(), p, PeerID{}, config(t, 1, nil)); !errors.Is(err, ErrNotAdmitted) {
			t.Errorf("Client = %v", err)
		}
	})
}

func TestHandshake_ItselfIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := net.Pipe()
		go Server(t.Context(), q, config(t, 1, nil))
		if _, err := Client(t.Context(), p, PeerID{}, config(t, 1, nil)); !errors.Is(err, ErrSelf) {
			t.Errorf("Client = %v", err)
		}
	})
}

// listen returns a Listener on loopback and what ends it.
func listen(t *testing.T, cfg Config, limits Limits) (*Listener, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Listen(ctx, netip.MustParseAddrPort("127.0.0.1:0"), cfg, limits)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	stop := func() { cancel(); l.Wait() }
	t.Cleanup(stop)
	return l, stop
}

// otherKey is a certificate with a key that is not Ed25519.
func otherKey(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestListener_CountsAndDropsBadPeers(t *testing.T) {
	cfg := config(t, 2, echo)
	cfg.HandshakeTimeout = 300 * time.Millisecond
	l, stop := listen(t, cfg, Limits{PerSource: 4})
	raw := func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	gone := func(nc net.Conn) { // the listener must hang up
		nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, context.DeadlineExceeded) {
			t.Error("the listener kept the connection")
		}
		nc.Close()
	}
	nc := raw()
	nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	gone(nc)
	nc = raw()
	nc.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252}) // a client hello that ends early
	nc.(*net.TCPConn).CloseWrite()
	gone(nc)
	for _, certs := range [][]tls.Certificate{nil, {otherKey(t)}} {
		tc := tls.Client(raw(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{DefaultProtocol}, Certificates: certs})
		tc.Handshake()
		gone(tc)
	}
	tc := tls.Client(raw(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{DefaultProtocol}, MaxVersion: tls.VersionTLS12})
	if tc.Handshake() == nil {
		t.Error("TLS 1.2 was accepted")
	}
	gone(tc)
	stranger := config(t, 1, nil)
	stranger.Admit = AdmitAnyone()
	if _, err := Dial(t.Context(), l.Addr(), PeerID{}, stranger); !errors.Is(err, ErrNotAdmitted) {
		t.Errorf("Dial = %v", err)
	}
	// A connection is counted a moment after the other end sees it closed.
	for end := time.Now().Add(10 * time.Second); l.Counters().Garbage+l.Counters().NotAdmitted < 6; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("counters %+v", l.Counters())
		}
	}
	slow := []net.Conn{raw(), raw(), raw(), raw()} // four that say nothing, and one too many
	for range 200 {
		if l.Counters().OverLimit > 0 {
			break
		}
		gone(raw())
	}
	for _, nc := range slow {
		gone(nc)
	}
	c, err := Dial(t.Context(), l.Addr(), identity(t, 2).ID(), config(t, 1, nil))
	if err != nil {
		t.Fatalf("a good peer is refused after bad ones: %v", err)
	}
	s, err := l.Accept(t.Context())
	if err != nil || s.Peer() != identity(t, 1).ID() {
		t.Fatal(err)
	}
	c.Close()
	<-c.Done()
	<-s.Done()
	stop()
	n := l.Counters()
	if n.Garbage != 5 || n.NotAdmitted != 1 || n.TooSlow != 4 || n.OverLimit == 0 || n.Established != 1 {
		t.Errorf("counters %+v", n)
	}
}

func TestDial_EndsWithItsContext(t *testing.T) {
	l, _ := listen(t, config(t, 2, echo), Limits{})
	ctx, cancel := context.WithCancelCause(t.Context())
	c, err := Dial(ctx, l.Addr(), PeerID{}, config(t, 1, nil))
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	cancel(why)
	<-c.Done()
	if !errors.Is(c.Err(), why) {
		t.Errorf("Err = %v", c.Err())
	}
	if _, err := c.Call(t.Context(), Message{}); !errors.Is(err, why) {
		t.Errorf("Call = %v", err)
	}
}

func TestConfig_MustSayWhoBelongs(t *testing.T) {
	p, _ := net.Pipe()
	if _, err := Client(t.Context(), p, PeerID{}, Config{Identity: identity(t, 1)}); err == nil {
		t.Error("no admission was accepted")
	}
	if _, err := NewIdentity(nil); err == nil {
		t.Error("an empty key was accepted")
	}
}

func TestConnOf_IsTheConnectionOfTheRequest(t *testing.T) {
	key := func(ctx context.Context, _ PeerID, _ Message) (Message, error) {
		return Message{Body: ConnOf(ctx).PeerKey()}, nil
	}
	bubble(t, config(t, 1, nil), config(t, 2, key), func(t *testing.T, a, _ *Conn) {
		m, err := a.Call(t.Context(), Message{})
		if err != nil || !bytes.Equal(m.Body, identity(t, 1).PublicKey()) {
			t.Errorf("%x, %v; want the caller's key", m.Body, err)
		}
	})
	if c := ConnOf(t.Context()); c != nil {
		t.Errorf("a context of no request has %v", c)
	}
}
