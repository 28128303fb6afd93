package link

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conn is an authenticated connection over which both ends ask and answer. It is
// safe for concurrent use. Large messages delay small ones behind them: open one
// Conn for control and others for bulk.
type Conn struct {
	cfg     *Config
	raw     *pacedConn
	nc      net.Conn // TLS over raw
	key     ed25519.PublicKey
	id      PeerID // of key
	dialled bool
	hello   hello // the peer's

	calls   calls
	serving serving
	served  served
	out     chan outgoing
	signs   signs
	life    life
}

// signs are the signs of life to be written, each at most once.
type signs struct{ ask, answer chan struct{} }

// life is when a Conn ends and who waits for it.
type life struct {
	ctx  context.Context
	end  context.CancelCauseFunc
	wg   sync.WaitGroup
	done chan struct{}
}

// outgoing is a frame on its way to the writer.
type outgoing struct {
	frame
	sent func()
}

// newConn starts the goroutines of the connection that h has established.
func newConn(ctx context.Context, h *handshake) *Conn {
	c := &Conn{
		cfg: h.cfg, raw: h.raw, nc: h.tls, key: h.key, id: PeerIDOf(h.key), dialled: h.dialled, hello: h.peer,
		out:   make(chan outgoing, h.cfg.Queue),
		signs: signs{make(chan struct{}, 1), make(chan struct{}, 1)},
	}
	c.calls.init(int(min(h.peer.serves, maxOutstanding)))
	c.serving.cancels = make(map[uint32]context.CancelFunc)
	c.served.init(c.cfg.MaxHandlers)
	c.life.ctx, c.life.end = context.WithCancelCause(context.WithValue(ctx, connKey{}, c))
	c.life.done = make(chan struct{})
	_ = c.raw.SetDeadline(time.Time{}) // a dead connection shows when it is used
	c.raw.push.Store(int64(c.cfg.DeadAfter))
	if !c.watched() {
		c.raw.pace.Store(int64(c.cfg.DeadAfter))
	}
	c.life.wg.Add(1)
	context.AfterFunc(c.life.ctx, func() {
		defer c.life.wg.Done()
		c.raw.pace.Store(0)
		c.raw.push.Store(0)
		if errors.Is(c.Err(), ErrPeerSilent) {
			c.raw.Close()
			return
		}
		// The goodbye of TLS, for a moment; the other end may be gone.
		wake := time.AfterFunc(time.Second, func() { c.raw.Close() })
		c.nc.Close()
		wake.Stop()
	})
	c.life.wg.Go(func() { c.fail(c.readLoop()) })
	c.life.wg.Go(func() { c.fail(c.writeLoop()) })
	go func() {
		c.life.wg.Wait()
		close(c.life.done)
	}()
	return c
}

// connKey is where the context of a Handler has its Conn.
type connKey struct{}

// ConnOf returns the Conn over which the request came whose Handler was given ctx, nil
// for any other context. Who handles requests by the peer's key, or calls back over the
// same connection, wants it.
func ConnOf(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Peer returns the ID of the other end, proven by TLS.
func (c *Conn) Peer() PeerID { return c.id }

// PeerKey returns the public key of the other end.
func (c *Conn) PeerKey() ed25519.PublicKey { return c.key }

// Dialled reports whether this end dialled.
func (c *Conn) Dialled() bool { return c.dialled }

// RemoteAddr returns the address of the other end; invalid where the connection
// below has none.
func (c *Conn) RemoteAddr() netip.AddrPort { return addrPort(c.raw.RemoteAddr()) }

// LocalAddr returns the address of this end of the connection; see RemoteAddr.
func (c *Conn) LocalAddr() netip.AddrPort { return addrPort(c.raw.LocalAddr()) }

// Close ends the connection. Calls under way fail, handlers' contexts end. It
// does not wait: see Done.
func (c *Conn) Close() error {
	c.fail(fmt.Errorf("link: %w", net.ErrClosed))
	return nil
}

// Done is closed once the connection has ended and no goroutine of it is left,
// handlers included.
func (c *Conn) Done() <-chan struct{} { return c.life.done }

// Err returns why the connection ended, nil while it lives. A peer that closed it
// is io.EOF.
func (c *Conn) Err() error { return context.Cause(c.life.ctx) }

func (c *Conn) fail(err error) {
	if err != nil {
		c.life.end(err)
	}
}

// enqueue hands a frame to the writer, waiting for room.
func (c *Conn) enqueue(ctx context.Context, o outgoing) error {
	select {
	case c.out <- o:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.life.ctx.Done():
		return c.Err()
	}
}

// watched reports whether both ends leave it to their Mesh to see that the other lives.
func (c *Conn) watched() bool { return c.cfg.vigil && c.hello.features&featureVigil != 0 }

// lastHeard is when bytes came last.
func (c *Conn) lastHeard() time.Time { return c.raw.begun.Add(time.Duration(c.raw.heard.Load())) }

// writeLoop writes what is queued, and pings when there is nothing.
func (c *Conn) writeLoop() error {
	// Small frames share a TLS record; a large body goes past the buffer.
	w := bufio.NewWriterSize(c.nc, 64<<10)
	ping := time.NewTimer(c.cfg.KeepAlive)
	defer ping.Stop()
	if c.watched() {
		ping.Stop()
	}
	prefix := make([]byte, 0, 4<<10)
	for {
		var err error
		var cancelled bool
		select {
		case <-c.life.ctx.Done():
			return nil
		case o := <-c.out:
			prefix, err = writeFrame(w, prefix, o)
		case <-c.calls.wake:
			cancelled = true
		case <-c.served.wake:
		case <-ping.C:
			prefix, err = writeFrame(w, prefix, outgoing{frame: frame{kind: kindPing}})
		case <-c.signs.ask:
			prefix, err = writeFrame(w, prefix, outgoing{frame: frame{kind: kindPing, method: pingAsks}})
		case <-c.signs.answer:
			prefix, err = writeFrame(w, prefix, outgoing{frame: frame{kind: kindPing}})
		}
		for more := true; more && err == nil; {
			select {
			case o := <-c.out:
				prefix, err = writeFrame(w, prefix, o)
			default:
				more = false
			}
		}
		if cancelled && err == nil { // behind the requests that they are about
			prefix, err = c.writeCancels(w, prefix)
		}
		for _, id := range c.served.take() {
			if err == nil {
				prefix, err = writeFrame(w, prefix, outgoing{frame: frame{kind: kindResponse, stream: id}})
			}
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			return fmt.Errorf("link: write: %w", err)
		}
		if !c.watched() {
			ping.Reset(c.cfg.KeepAlive)
		}
	}
}

func (c *Conn) writeCancels(w *bufio.Writer, prefix []byte) ([]byte, error) {
	var err error
	for _, id := range c.calls.takeCancelled() {
		if prefix, err = writeFrame(w, prefix, outgoing{frame: frame{kind: kindCancel, stream: id}}); err != nil {
			break
		}
	}
	return prefix, err
}

func writeFrame(w *bufio.Writer, prefix []byte, o outgoing) ([]byte, error) {
	prefix = o.appendPrefix(prefix[:0])
	_, err := w.Write(prefix)
	if err == nil && len(o.body) > 0 {
		_, err = w.Write(o.body)
	}
	if o.sent != nil {
		o.sent()
	}
	if cap(prefix) > 64<<10 {
		prefix = nil // one large header must not be kept for ever
	}
	return prefix, err
}

// readLoop takes frames until the connection fails. It never waits for anything
// but the peer's bytes, so two ends cannot block each other.
func (c *Conn) readLoop() error {
	r := bufio.NewReaderSize(c.nc, 16<<10)
	max := bounds{c.cfg.MaxHeader, c.cfg.MaxBody}
	var prefix [prefixLen]byte
	for {
		f, buf, err := readFrame(r, &prefix, max)
		if err == io.EOF {
			return io.EOF
		}
		if err == nil {
			err = c.take(f, buf)
		}
		if err != nil {
			return fmt.Errorf("link: read: %w", err)
		}
	}
}

// take acts on one frame; buf is its to release.
func (c *Conn) take(f frame, buf *buffer) error {
	switch f.kind {
	case kindRequest, kindOneWay:
		return c.serve(f, buf)
	case kindResponse:
		return c.calls.finish(f.stream, result{Message: Message{Header: f.header, Body: f.body, buf: buf}})
	case kindError:
		text := string(f.body[:min(len(f.body), maxErrorText)])
		buf.release()
		return c.calls.finish(f.stream, result{err: &Error{Code: f.method, Text: text}})
	case kindCancel:
		c.serving.cancel(f.stream)
		return nil
	case kindPing:
		if f.method == pingAsks {
			wake(c.signs.answer)
		}
		return nil
	case kindDoubt:
		d, err := parseDoubt(f.body)
		buf.release()
		if err == nil && c.cfg.doubted != nil {
			c.cfg.doubted(c.Peer(), d)
		}
		return err
	default:
		buf.release()
		return fmt.Errorf("%w: unexpected kind %d", ErrGarbage, f.kind)
	}
}
