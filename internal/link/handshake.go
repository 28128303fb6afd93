package link

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// Client turns nc, which this end dialled, into a Conn. want, when not zero, is
// the only peer accepted: another is ErrWrongPeer. The Conn lives until ctx ends,
// it is closed or the peer is gone. Client owns nc, also when it fails.
func Client(ctx context.Context, nc net.Conn, want PeerID, cfg Config) (*Conn, error) {
	return establish(ctx, nc, want, true, cfg)
}

// Server turns nc, which the other end dialled, into a Conn; see [Client].
func Server(ctx context.Context, nc net.Conn, cfg Config) (*Conn, error) {
	return establish(ctx, nc, PeerID{}, false, cfg)
}

// Dial connects to addr. The connection lives until ctx ends; how long dialling
// may take is Config.HandshakeTimeout.
func Dial(ctx context.Context, addr netip.AddrPort, want PeerID, cfg Config) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: cfg.HandshakeTimeout}
	nc, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("link: dial: %w", err)
	}
	return Client(ctx, nc, want, cfg)
}

// handshake is a connection on its way to be a Conn.
type handshake struct {
	cfg     *Config
	raw     *pacedConn
	tls     *tls.Conn
	key     ed25519.PublicKey
	dialled bool
	peer    hello
}

func establish(ctx context.Context, nc net.Conn, want PeerID, dialled bool, cfg Config) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		nc.Close()
		return nil, err
	}
	h := &handshake{cfg: &cfg, raw: &pacedConn{Conn: nc, begun: time.Now()}, dialled: dialled}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	err = h.run(ctx, want)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		// Close says goodbye properly, so that a dialler can tell being turned
		// away from a broken network. Its own deadline bounds it.
		if h.tls != nil && h.key != nil {
			h.tls.Close()
		}
		nc.Close()
		return nil, h.name(err)
	}
	return newConn(ctx, h), nil
}

func (h *handshake) run(ctx context.Context, want PeerID) error {
	// One deadline for all of it: a peer that sends a byte a minute gains nothing.
	if err := h.raw.SetDeadline(time.Now().Add(h.cfg.HandshakeTimeout)); err != nil {
		return err
	}
	tc := h.cfg.Identity.tlsConfig(h.cfg.Protocol, want, &h.key)
	if h.dialled {
		h.tls = tls.Client(h.raw, tc)
	} else {
		h.tls = tls.Server(h.raw, tc)
	}
	if err := h.tls.HandshakeContext(ctx); err != nil {
		return err
	}
	if h.key.Equal(h.cfg.Identity.key) {
		return ErrSelf
	}
	if err := h.admit(); err != nil {
		return err
	}
	return h.greet()
}

// admit exchanges the proofs: the dialler's first.
func (h *handshake) admit() error {
	if h.dialled {
		if err := h.prove(); err != nil {
			return err
		}
		return h.check()
	}
	if err := h.check(); err != nil {
		return err
	}
	return h.prove()
}

func (h *handshake) session() Session {
	state := h.tls.ConnectionState()
	return Session{
		Self: h.cfg.Identity.key, Peer: h.key, Dialled: h.dialled,
		Export: func(label string) ([]byte, error) { return state.ExportKeyingMaterial(label, nil, 32) },
	}
}

func (h *handshake) prove() error {
	proof, err := h.cfg.Admit.Prove(h.session())
	if err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	if len(proof) > MaxProof {
		return fmt.Errorf("prove: proof of %d bytes, limit %d", len(proof), MaxProof)
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(len(proof)))
	_, err = h.tls.Write(append(b, proof...))
	return err
}

func (h *handshake) check() error {
	var size [2]byte
	if _, err := io.ReadFull(h.tls, size[:]); err != nil {
		if err == io.EOF && h.dialled {
			return fmt.Errorf("%w: turned away", ErrNotAdmitted)
		}
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > MaxProof {
		return fmt.Errorf("%w: proof of %d bytes, limit %d", ErrNotAdmitted, n, MaxProof)
	}
	proof := make([]byte, n)
	if _, err := io.ReadFull(h.tls, proof); err != nil {
		return noEOF(err)
	}
	if err := h.cfg.Admit.Check(h.session(), proof); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	return nil
}

// greet exchanges the hellos. The dialler reads first, so that over a connection
// without buffers the ends do not write to each other at once.
func (h *handshake) greet() error {
	if h.dialled {
		if err := h.readHello(); err != nil {
			return err
		}
		return h.writeHello()
	}
	if err := h.writeHello(); err != nil {
		return err
	}
	return h.readHello()
}

func (h *handshake) writeHello() error {
	own := hello{serves: uint32(h.cfg.MaxHandlers), header: uint32(h.cfg.MaxHeader), body: uint32(h.cfg.MaxBody)}
	if h.dialled {
		own.serial = h.cfg.serial
	}
	if h.cfg.vigil {
		own.features = featureVigil
	}
	f := frame{kind: kindHello, body: own.append(nil)}
	_, err := h.tls.Write(append(f.appendPrefix(nil), f.body...))
	return err
}

func (h *handshake) readHello() error {
	var prefix [prefixLen]byte
	f, buf, err := readFrame(h.tls, &prefix, bounds{0, MaxProof})
	if err != nil {
		return noEOF(err)
	}
	defer buf.release()
	if f.kind != kindHello {
		return fmt.Errorf("%w: kind %d before the hello", ErrGarbage, f.kind)
	}
	h.peer, err = parseHello(f.body)
	return err
}

// name says in err who and where the peer is.
func (h *handshake) name(err error) error {
	addr := addrPort(h.raw.RemoteAddr())
	if h.key != nil && (errors.Is(err, ErrWrongPeer) || errors.Is(err, ErrNotAdmitted) || errors.Is(err, ErrSelf)) {
		return &PeerError{Peer: PeerIDOf(h.key), Addr: addr, Err: err}
	}
	return fmt.Errorf("link: handshake with %v: %w", addr, err)
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// pacedConn is a connection that fails when a single Read or Write makes no
// progress for a while. TLS reads and writes at most 16 KiB at a time, so a slow
// transfer of a large frame is progress.
type pacedConn struct {
	net.Conn
	pace  atomic.Int64 // of reads, a time.Duration; zero leaves deadlines alone
	push  atomic.Int64 // of writes
	begun time.Time
	heard atomic.Int64 // when bytes came last, a time.Duration since begun
}

func (p *pacedConn) Read(b []byte) (int, error) {
	if d := p.pace.Load(); d > 0 {
		_ = p.Conn.SetReadDeadline(time.Now().Add(time.Duration(d)))
	}
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.heard.Store(int64(time.Since(p.begun)))
	}
	return n, silence(err)
}

func (p *pacedConn) Write(b []byte) (int, error) {
	if d := p.push.Load(); d > 0 {
		_ = p.Conn.SetWriteDeadline(time.Now().Add(time.Duration(d)))
	}
	n, err := p.Conn.Write(b)
	return n, silence(err)
}

// silence names a deadline that has passed for what it means here.
func silence(err error) error {
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrPeerSilent, err)
	}
	return err
}
