package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// joinServiceType is the DNS-SD service under which a machine that invites is found. It
// tells that it invites and where, and nothing of code or pool.
const joinServiceType = "_aether-join._tcp"

// Why a machine did not join.
var (
	// ErrCode reports that the machine that invites did not take the code, or does not
	// know it itself.
	ErrCode = errors.New("the code was not accepted; after three wrong tries the invitation ends")
	// ErrNobodyInvites reports that no machine was found that invites.
	ErrNobodyInvites = errors.New("no machine that invites was found; is one at: aether store invite? If it is not on this network, name it with --at")
)

// JoinConfig says how to join a pool.
type JoinConfig struct {
	// Code is what the person at the other machine reads out.
	Code pool.Code
	// At is where the machine that invites is, HOST:PORT. Empty means to look for it
	// on the links of this machine.
	At string
	// Interfaces are where to look. None means all that can.
	Interfaces []string
	// Tell hears what goes on, in words for people. Nil means that nobody listens.
	Tell func(string)
}

// Joined is what a machine has joined.
type Joined struct {
	// Pool is the public ID of the pool.
	Pool pool.ID `json:"pool"`
	// Machine is this machine.
	Machine store.MachineID `json:"machine"`
	// Inviter and InviterName are the machine that has let it in.
	Inviter     store.MachineID `json:"inviter"`
	InviterName string          `json:"inviter_name"`
	// Members counts the machines whose addresses it was given.
	Members int `json:"members"`
}

// Join makes the machine of cfg.Dir, which is made where it is missing, a member of the
// pool of a machine that invites. A machine that is alone in a pool of its own in which
// there is nothing gives that pool up; any other that is in a pool is pool.ErrExists. It
// fails with ErrInUse while another process has the machine, with ErrNobodyInvites, and
// with ErrCode. A join that was interrupted can be begun again.
func Join(ctx context.Context, cfg Config, how JoinConfig) (Joined, error) {
	if err := cfg.Set.check(); err != nil {
		return Joined{}, err
	}
	m, err := Open(cfg)
	if err == nil {
		j, err := m.Rejoin(ctx, how)
		return j, errors.Join(err, m.Close())
	}
	if !errors.Is(err, pool.ErrNoPool) && !errors.Is(err, fs.ErrNotExist) {
		return Joined{}, err
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return Joined{}, err
	}
	defer unlock()
	if err := checkRemains(cfg.Dir, pool.ErrNoPool); !errors.Is(err, pool.ErrNoPool) {
		return Joined{}, fmt.Errorf("node: join: %w", err)
	}
	settings, err := updateSettings(cfg.Dir, cfg.Set)
	if err != nil {
		return Joined{}, err
	}
	g := &guest{cfg: cfg, settings: settings, dir: cfg.Dir}
	return g.join(ctx, how)
}

// Rejoin has this machine give up its pool and join that of a machine that invites. It
// fails with pool.ErrExists unless it is alone in its pool, and there is nothing in it.
// When the machine is closed and opened again, which a node that serves it does by
// itself, it is in the other pool.
func (m *Machine) Rejoin(ctx context.Context, how JoinConfig) (Joined, error) {
	untouched, err := m.untouched(ctx)
	if err != nil {
		return Joined{}, err
	}
	if !untouched {
		return Joined{}, fmt.Errorf("node: join: %w, with files or other machines in it; to join another: aether store leave", pool.ErrExists)
	}
	g := &guest{cfg: m.cfg, settings: m.settings, dir: filepath.Join(m.cfg.Dir, joiningName)}
	if err := os.RemoveAll(g.dir); err != nil { // of a join that was interrupted
		return Joined{}, fmt.Errorf("node: join: %w", err)
	}
	g.entered = func() error { return m.giveUp(joiningText) }
	j, err := g.join(ctx, how)
	if sv := m.serving.Load(); err == nil && sv != nil {
		sv.end()
	}
	return j, err
}

// untouched reports whether the machine has never met another one of its pool, and the
// drive is empty.
func (m *Machine) untouched(ctx context.Context) (bool, error) {
	yes := true
	err := m.core.call(ctx, func() {
		for id := range m.core.members.byID { // also who is only known by address
			yes = yes && id == m.ID()
		}
		for id := range m.core.gossip.Vector() {
			yes = yes && id == m.ID()
		}
	})
	werr := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		yes = yes && e.Path == "/"
		return yes
	})
	return yes, errors.Join(err, werr)
}

// guest is a machine on its way into a pool.
type guest struct {
	cfg      Config
	settings Settings
	dir      string // where key, certificate and secret are put
	key      ed25519.PrivateKey
	code     codeProof
	entered  func() error // what makes it a member, with all of them in dir; nil: nothing more
}

// join joins.
func (g *guest) join(ctx context.Context, how JoinConfig) (j Joined, err error) {
	if how.Tell == nil {
		how.Tell = func(string) {}
	}
	if g.key, err = pool.PrepareKey(g.dir, g.cfg.Passphrase); err != nil {
		return j, fmt.Errorf("node: join: %w", err)
	}
	g.code.code = how.Code
	conn, err := g.find(ctx, how)
	if err != nil {
		return j, fmt.Errorf("node: join: %w", err)
	}
	defer conn.Close()
	reply, err := g.ask(ctx, conn)
	if err != nil {
		return j, fmt.Errorf("node: join: %w", err)
	}
	if j, err = g.enter(reply); err == nil && g.entered != nil {
		err = g.entered()
	}
	if err != nil {
		return j, fmt.Errorf("node: join: %w", err)
	}
	// It is a member now, whether or not the other end hears of it.
	if resp, err := conn.Call(ctx, link.Message{Method: methodJoined}); err == nil {
		resp.Release()
	}
	j.Inviter, j.InviterName, j.Members = store.MachineID(conn.Peer()), reply.inviter, len(reply.members)
	return j, nil
}

func (g *guest) name() string {
	if g.settings.Name != "" {
		return g.settings.Name
	}
	return defaultName()
}

// find connects to the machine that invites.
func (g *guest) find(ctx context.Context, how JoinConfig) (*link.Conn, error) {
	if how.At != "" {
		addrs, err := resolve(ctx, how.At)
		if err != nil {
			return nil, err
		}
		return g.dialAny(ctx, addrs)
	}
	how.Tell("looking for a machine that invites")
	search, stop := context.WithTimeout(ctx, searchTime)
	defer stop()
	node, err := mdns.Open(search, mdns.Config{Interfaces: how.Interfaces, Logger: g.cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	defer node.Close()
	failure := ErrNobodyInvites
	tried := map[netip.AddrPort]bool{}
	for ev, err := range dnssd.Browse(search, joinServiceType, dnssd.Config{Node: node, Logger: g.cfg.Logger}) {
		if err != nil {
			break
		}
		var fresh []netip.AddrPort
		for _, a := range ev.Instance.Addresses {
			at := netip.AddrPortFrom(a, ev.Instance.Port)
			if ev.Op != mdns.Remove && at.Port() != 0 && !tried[at] && len(tried) < maxTried {
				tried[at] = true
				fresh = append(fresh, at)
			}
		}
		if len(fresh) == 0 {
			continue
		}
		how.Tell("trying " + ev.Instance.Name)
		conn, err := g.dialAny(ctx, fresh)
		if err == nil {
			return conn, nil
		}
		failure = fmt.Errorf("%s: %w", ev.Instance.Name, err)
		if errors.Is(err, ErrCode) {
			// Another machine may invite too, to a pool of its own, and the code be
			// that one's: a moment more.
			time.AfterFunc(searchMore, stop)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, failure
}

const (
	// searchTime is how long a machine that invites is looked for, and searchMore how
	// long after one has not taken the code.
	searchTime = 30 * time.Second
	searchMore = 3 * time.Second
)

// maxTried bounds the addresses that are dialled in one search.
const maxTried = 64

// resolve returns the addresses that HOST:PORT stands for.
func resolve(ctx context.Context, at string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(at); err == nil {
		return []netip.AddrPort{a}, nil
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	var out []netip.AddrPort
	for _, ip := range ips {
		out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
	}
	return out, err
}

// dialAny connects to the first of addrs that answers; one that does not take the code
// ends it, so that one wrong code counts once.
func (g *guest) dialAny(ctx context.Context, addrs []netip.AddrPort) (*link.Conn, error) {
	id, err := link.NewIdentity(g.key)
	if err != nil {
		return nil, err
	}
	cfg := link.Config{
		Identity: id, Protocol: joinProtocol, HandshakeTimeout: joinTimeout,
		Admit: link.Admit{Prove: g.code.prove, Check: g.code.check},
	}
	var errs []error
	for _, a := range addrs {
		d := net.Dialer{Timeout: dialTimeout}
		nc, err := d.DialContext(ctx, "tcp", a.String())
		if err == nil {
			var c *link.Conn
			if c, err = link.Client(ctx, nc, link.PeerID{}, cfg); err == nil {
				return c, nil
			}
		}
		if errors.Is(err, link.ErrNotAdmitted) {
			return nil, ErrCode
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dialTimeout is how long one address of a machine that invites is waited for.
const dialTimeout = 5 * time.Second

// ask asks to be let in.
func (g *guest) ask(ctx context.Context, conn *link.Conn) (m membership, err error) {
	h, err := cbor.Marshal(joinRequest{Format: joinFormat, Name: g.name(), Space: uint64(g.settings.Space)})
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	resp, err := conn.Call(ctx, link.Message{Method: methodJoin, Header: h})
	if err != nil {
		return m, err
	}
	defer resp.Release()
	return parseMembership(resp.Header, g.key.Public().(ed25519.PublicKey))
}

// enter puts what makes this machine a member into its directory, the secret last: a
// directory without it belongs to no pool.
func (g *guest) enter(m membership) (Joined, error) {
	if err := pool.WriteCertificate(g.dir, m.certificate); err != nil {
		return Joined{}, err
	}
	if err := writeNeighbours(g.dir, m.members); err != nil {
		return Joined{}, err
	}
	p, err := pool.Join(g.dir, m.first, g.cfg.Passphrase)
	if err == nil { // after a crash here the others give them
		err = p.Ring().AddAll(g.dir, m.later, g.cfg.Passphrase)
	}
	if err != nil {
		return Joined{}, err
	}
	return Joined{Pool: p.ID, Machine: p.Machine}, nil
}
