package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/webdav"
)

// ServeConfig says on which networks to serve a machine.
type ServeConfig struct {
	// Listen is where other machines connect. Zero means any free port on all
	// interfaces.
	Listen netip.AddrPort
	// Peers are addresses of machines to connect to besides those that are found.
	Peers []netip.AddrPort
	// Interfaces are the interfaces to discover on. None means all that can.
	Interfaces []string
	// Zeroconf claims an IPv4 link-local address on interfaces without one.
	Zeroconf bool
	// NoDiscovery neither announces the machine nor looks for others.
	NoDiscovery bool
	// WebDAV is where the WebDAV face listens. Zero means port 7480 of the
	// loopback interface, or a free one where that is taken.
	WebDAV netip.AddrPort
	// NoWebDAV leaves the WebDAV face out.
	NoWebDAV bool
	// WebDAVOpen lets anybody who can connect use the WebDAV face. Otherwise it asks
	// for the password in the file [WebDAVTokenFile] of the machine's directory.
	WebDAVOpen bool
	// Metrics is where the state is served for Prometheus, at /metrics, to whoever can
	// connect. The zero value means nowhere.
	Metrics netip.AddrPort
	// Mounts are directories in which to show the drive.
	Mounts []string
	// AllowOther lets other users of the host into them.
	AllowOther bool
	// Grace is how long a machine may be away before its copies are made anew
	// elsewhere. Zero means 10 minutes.
	Grace time.Duration
	// LimitUp and LimitDown bound what is sent to and received from other machines, in
	// bytes of chunks a second; what tells of changes is not held up. Zero is no limit.
	LimitUp, LimitDown int64
	// Event hears what happens, from several goroutines in turn; it must not
	// block. Nil means that nobody listens.
	Event func(Event)

	// apart tells nobody where the machine can be reached; for tests of machines that do
	// not reach each other.
	apart bool
}

func (c ServeConfig) tell(ev Event) {
	if c.Event != nil {
		c.Event(ev)
	}
}

// defaultWebDAV is where the WebDAV face is looked for first.
var defaultWebDAV = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 7480)

// stopGrace bounds how long requests under way may go on after the end.
const stopGrace = 3 * time.Second

// serving is a node that runs.
type serving struct {
	listen  netip.AddrPort
	webdav  netip.AddrPort
	tell    func(Event)
	metrics netip.AddrPort
	// announce makes known that this machine invites at a port, until stop is called.
	announce func(ctx context.Context, port uint16) (stop func())
	end      context.CancelFunc // ends the node
	ended    <-chan struct{}    // closed when it ends
	apart    bool               // see ServeConfig
}

// Serve runs the machine's node until ctx ends: the control socket, the WebDAV
// face, connections to the other machines and what finds them. Ready is called
// once everything listens. It returns nil when ctx has ended, otherwise what made
// it stop.
func (m *Machine) Serve(ctx context.Context, cfg ServeConfig) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg.Event = m.noting(cfg.Event)
	s := &serving{apart: cfg.apart, tell: cfg.tell, end: cancel, ended: ctx.Done(), announce: func(context.Context, uint16) func() { return func() {} }}
	m.limits.set(cfg.LimitUp, cfg.LimitDown)
	for _, name := range cfg.Interfaces {
		if _, err := netif.ByName(name); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	token, err := m.webdavToken(cfg)
	if err != nil {
		return err
	}
	control, err := listenControl(ctx, filepath.Join(m.cfg.Dir, socketName))
	if err != nil {
		return err
	}
	defer control.Close()
	peers, err := net.Listen("tcp", listenAddress(cfg.Listen))
	if err != nil {
		return fmt.Errorf("node: listen for machines: %w", err)
	}
	s.listen = peers.Addr().(*net.TCPAddr).AddrPort()
	var dav net.Listener
	if !cfg.NoWebDAV {
		if dav, err = listenWebDAV(cfg.WebDAV); err != nil {
			peers.Close()
			return fmt.Errorf("node: listen for WebDAV: %w", err)
		}
		defer dav.Close()
		s.webdav = dav.Addr().(*net.TCPAddr).AddrPort()
	}
	var metrics net.Listener
	if cfg.Metrics.IsValid() {
		if metrics, err = net.Listen("tcp", cfg.Metrics.String()); err != nil {
			peers.Close()
			return fmt.Errorf("node: listen for metrics: %w", err)
		}
		defer metrics.Close()
		s.metrics = metrics.Addr().(*net.TCPAddr).AddrPort()
	}
	mesh, err := m.startMesh(ctx, cfg, peers)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		m.mesh.Store(nil)
		mesh.Wait()
		m.core.wire.attach(nil)
		m.core.allDown()
	}()
	var d *discovery
	if !cfg.NoDiscovery {
		d = &discovery{m: m, cfg: cfg, port: s.listen.Port(), log: m.log, found: func(id store.MachineID, addrs []netip.AddrPort) {
			mesh.AddAddress(link.PeerID(id), addrs...)
			if known, _, err := m.standingOf(id); err == nil && known { // anybody can announce anything
				m.core.remember(id, addrs)
			}
		}}
		s.announce = d.announce
	}
	m.core.wire.attach(mesh)
	m.mesh.Store(mesh)
	m.serving.Store(s)
	defer m.serving.Store(nil)
	mesh.AddAddress(link.PeerID{}, cfg.Peers...)
	for _, p := range m.core.remembered() {
		mesh.AddAddress(link.PeerID(p.id), p.addrs...)
	}
	m.approachAll()

	g, ctx := errgroup.WithContext(ctx)
	serveHTTP(ctx, g, control, controlHandler(m))
	if dav != nil {
		serveHTTP(ctx, g, dav, webdav.New(webdav.Config{Drive: m.drive, KV: m.kv, Token: token, Logger: m.log}))
	}
	if metrics != nil {
		serveHTTP(ctx, g, metrics, metricsHandler(m))
	}
	g.Go(func() error { return m.core.run(ctx) })
	g.Go(func() error { return m.heal(ctx, cfg.Grace) })
	g.Go(func() error { return m.keepPins(ctx) })
	g.Go(func() error { return m.challenge(ctx) })
	g.Go(func() error { return m.gatherSecrets(ctx) })
	g.Go(func() error { return m.rekey(ctx) })
	g.Go(func() error { return m.keepClock(ctx, mesh) })
	if cfg.Zeroconf {
		g.Go(func() error { return giveAddresses(ctx, cfg, m.cfg.Dir, m.log) })
	}
	if d != nil {
		g.Go(func() error { return d.keep(ctx) })
	}
	for _, dir := range cfg.Mounts {
		if err := m.Mount(dir, cfg.AllowOther); err != nil {
			cancel()
			return errors.Join(err, g.Wait())
		}
	}
	defer func() { _ = m.unmountAll() }() // Close says what went wrong
	cfg.tell(Event{Kind: EventServing})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func listenAddress(a netip.AddrPort) string {
	if !a.IsValid() {
		return ":0"
	}
	return a.String()
}

// listenControl listens on the control socket. The lock on the directory is held,
// so a socket that is there was left by a process that died.
func listenControl(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("node: control socket: %w", err)
	}
	l, err := listenSocket(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("node: control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("node: control socket: %w", err)
	}
	return l, nil
}

// listenWebDAV listens at a, or where nobody chose at the usual place or, that
// being taken, at any.
func listenWebDAV(a netip.AddrPort) (net.Listener, error) {
	if a.IsValid() {
		return net.Listen("tcp", a.String())
	}
	l, err := net.Listen("tcp", defaultWebDAV.String())
	if err != nil {
		l, err = net.Listen("tcp", netip.AddrPortFrom(defaultWebDAV.Addr(), 0).String())
	}
	return l, err
}

// serveHTTP serves h on l until ctx ends, and then for a moment what is under way.
func serveHTTP(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("node: serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if srv.Shutdown(end) != nil {
			return srv.Close()
		}
		return nil
	})
}

// startMesh connects the machine to the others of its pool.
func (m *Machine) startMesh(ctx context.Context, cfg ServeConfig, l net.Listener) (*link.Mesh, error) {
	id, err := link.NewIdentity(m.pool.Key())
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("node: %w", err)
	}
	strangers := rate.NewLimiter(1, 20) // a stranger must not fill the log
	return link.NewMesh(ctx, link.MeshConfig{
		Config: link.Config{
			Identity: id,
			Admit:    m.admission(),
			Handler:  m.handle,
			// So that a machine that died without a word is noticed within 10 s.
			KeepAlive: 2700 * time.Millisecond, DeadAfter: 9300 * time.Millisecond,
		},
		Neighbours: 2,
		Listener:   l,
		Up: func(peer link.PeerID, c *link.Conn) {
			m.core.peerUp(store.MachineID(peer))
			var at []netip.AddrPort
			if c.Dialled() {
				at = []netip.AddrPort{c.RemoteAddr()}
			}
			m.core.met(store.MachineID(peer), at)
			cfg.tell(Event{Kind: EventConnected, Machine: store.MachineID(peer), Address: c.RemoteAddr()})
		},
		Down: func(peer link.PeerID, why error) {
			m.core.peerDown(store.MachineID(peer))
			m.core.remember(store.MachineID(peer), nil) // when it was last there
			if errors.Is(why, link.ErrGarbage) {
				m.alarm(AlarmFault, peer.String(), "it sent what is no message: "+why.Error())
			}
			cfg.tell(Event{Kind: EventDisconnected, Machine: store.MachineID(peer), Reason: why.Error()})
		},
		Failed: func(addr netip.AddrPort, err error) {
			if r, first := m.refusals.note(m.now(), err); first {
				m.log.Warn("a machine was refused", "machine", r.Machine.String(), "address", r.Addr.String(), "reason", r.Reason)
				m.alarm(AlarmRefused, r.Machine.String(), fmt.Sprintf("at %s: %s", r.Addr, r.Reason))
				cfg.tell(Event{Kind: EventRefused, Machine: r.Machine, Address: r.Addr, Reason: r.Reason})
			} else if r.Count == 0 && strangers.Allow() {
				logPeerFailure(m.log, addr, err)
			}
		},
	})
}

// handle answers what another machine asks or tells.
func (m *Machine) handle(ctx context.Context, peer link.PeerID, req link.Message) (link.Message, error) {
	leave, err := m.admit(ctx, store.MachineID(peer), req.Method)
	if err != nil {
		return link.Message{}, err
	}
	defer leave()
	resp, err := m.serve(ctx, peer, req)
	if errors.Is(err, errBadRequest) {
		m.alarm(AlarmFault, peer.String(), "it sent a request that makes no sense: "+err.Error())
	}
	return resp, err
}

func (m *Machine) serve(ctx context.Context, peer link.PeerID, req link.Message) (link.Message, error) {
	switch req.Method {
	case methodGossip:
		return link.Message{}, m.core.receive(ctx, store.MachineID(peer), req.Header)
	case methodBodies:
		return m.serveBodies(ctx, req)
	case methodSecrets:
		return m.serveSecrets(store.MachineID(peer), req)
	case methodProof:
		return m.serveProof(req)
	case methodPieces:
		return m.servePieces(ctx, store.MachineID(peer), req)
	case methodCompare:
		return m.serveCompare(req)
	case methodClock:
		return m.serveClock(), nil
	}
	return link.Message{}, &link.Error{Code: link.CodeNoMethod, Text: fmt.Sprintf("no method %d", req.Method)}
}
