package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

func storeServeCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run this machine's node; makes the machine and a pool where there are none",
		Description: "Runs until interrupted. Other machines of the pool on the same links are found by themselves;\n" +
			"machines elsewhere are named with --peer. With --zeroconf, interfaces without an address get one\n" +
			"(RFC 3927), which needs CAP_NET_RAW and CAP_NET_ADMIN.\n" +
			"The WebDAV face asks for a password: any user name, and what DIR/webdav.token holds.\n" +
			"Exit status: 1 when it cannot run, 3 when a right is missing." +
			examples("aether store serve", "aether store serve --zeroconf -i eth0 --secret-file /media/usb/pool.secret",
				"aether store serve --listen 192.0.2.7:7473 --peer 198.51.100.9:7473"),
		Flags: append(machineFlags(), dirFlag(),
			&cli.StringFlag{Name: "listen", Usage: "`ADDR:PORT` where other machines connect", DefaultText: "any free port, all interfaces"},
			&cli.StringSliceFlag{Name: "peer", Usage: "`ADDR:PORT` of another machine; may be repeated"},
			interfaceFlag("find machines on this `INTERFACE` only; may be repeated"),
			&cli.BoolFlag{Name: "zeroconf", Usage: "give interfaces without an address one"},
			&cli.BoolFlag{Name: "no-discovery", Usage: "neither announce this machine nor look for others"},
			&cli.StringSliceFlag{Name: "mount", Usage: "show the drive in this `DIRECTORY`; may be repeated"},
			allowOtherFlag(),
			&cli.DurationFlag{Name: "grace", Usage: "how long a machine may be away before its copies are made anew: a `TIME` like 10m", DefaultText: "10m"},
			&cli.StringFlag{Name: "limit-up", Usage: "send at most this many `BYTES` of files a second to other machines, like 5MB", DefaultText: "no limit"},
			&cli.StringFlag{Name: "limit-down", Usage: "receive at most this many `BYTES` of files a second", DefaultText: "no limit"},
			&cli.StringFlag{Name: "webdav", Usage: "`ADDR:PORT` of the WebDAV face, or off", DefaultText: "127.0.0.1:7480 or a free port"},
			&cli.StringFlag{Name: "metrics", Usage: "`ADDR:PORT` of metrics for Prometheus, open to whoever can connect; :PORT is for this host only", DefaultText: "none"},
			&cli.BoolFlag{Name: "webdav-open", Usage: "let anybody who can connect use the WebDAV face without a password"},
		),
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("serve takes no arguments")
			}
			cfg, err := serveConfig(c)
			if err != nil {
				return err
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			return storeServe(c, cfg, p)
		},
	}
}

// serveConfig reads the flags of serve.
func serveConfig(c *cli.Context) (cfg node.ServeConfig, err error) {
	cfg = node.ServeConfig{Interfaces: c.StringSlice("interface"), Zeroconf: c.Bool("zeroconf"), NoDiscovery: c.Bool("no-discovery"),
		Mounts: c.StringSlice("mount"), AllowOther: c.Bool("allow-other"),
		WebDAVOpen: c.Bool("webdav-open"), Grace: c.Duration("grace")}
	if cfg.Grace < 0 {
		return cfg, usage("--grace: want a time of 0 or more, not %v", cfg.Grace)
	}
	for flag, limit := range map[string]*int64{"limit-up": &cfg.LimitUp, "limit-down": &cfg.LimitDown} {
		if s := c.String(flag); s != "" {
			if *limit, err = parseBytes(s); err != nil {
				return cfg, usage("--%s: %v", flag, err)
			}
		}
	}
	if s := c.String("listen"); s != "" {
		if cfg.Listen, err = netip.ParseAddrPort(s); err != nil {
			return cfg, usage("--listen: want ADDR:PORT, not %q", s)
		}
	}
	for _, s := range c.StringSlice("peer") {
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Port() == 0 {
			return cfg, usage("--peer: want ADDR:PORT, not %q", s)
		}
		cfg.Peers = append(cfg.Peers, a)
	}
	if s := c.String("metrics"); s != "" {
		if strings.HasPrefix(s, ":") {
			s = "127.0.0.1" + s
		}
		if cfg.Metrics, err = netip.ParseAddrPort(s); err != nil {
			return cfg, usage("--metrics: want ADDR:PORT or :PORT, not %q", c.String("metrics"))
		}
	}
	switch s := c.String("webdav"); s {
	case "":
	case "off":
		cfg.NoWebDAV = true
	default:
		if cfg.WebDAV, err = netip.ParseAddrPort(s); err != nil {
			return cfg, usage("--webdav: want ADDR:PORT or off, not %q", s)
		}
	}
	return cfg, nil
}

// answerAtOnce lets more goroutines run than there are processors, unless the environment
// says how many. With one for each a request that arrives while all of them compute
// waits up to 10 ms for Go to take one away; with more, the system divides the
// processors, and gives them first to who has waited.
func answerAtOnce() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), runtime.NumCPU()) + 2)
	}
}

// spareHeap is memory that is never touched, and so takes none of the machine's. Go looks
// for garbage when the heap has doubled; what a node keeps is so little that this would
// be many times a second where many small files are made.
const spareHeap = 32 << 20

// collectRarely lets more garbage gather, unless the environment says how much. The
// caller calls again once it is done.
func collectRarely() (again func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	spare := make([]byte, spareHeap)
	return func() { runtime.KeepAlive(spare) }
}

func storeServe(c *cli.Context, cfg node.ServeConfig, p *printer) error {
	answerAtOnce()
	defer collectRarely()()
	dir := storeDir(c)
	mcfg, secret, err := machineConfig(c, dir)
	if err != nil {
		return err
	}
	mcfg.Logger = newLogger(c)
	m, err := node.Open(mcfg)
	if errors.Is(err, pool.ErrNoPool) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, node.ErrSecretLost) && !secret.IsZero() {
		if _, err := node.Init(mcfg, secret); err != nil {
			return err
		}
		m, err = node.Open(mcfg)
	}
	if err != nil {
		return err
	}
	if !secret.IsZero() && secret.ID() != m.Pool().ID {
		return errors.Join(fmt.Errorf("%s is a machine of pool %s, the secret is that of pool %s", dir, m.Pool().ID, secret.ID()), m.Close())
	}
	cfg.Event = func(ev node.Event) { printServeEvent(p, m, ev, cfg.WebDAVOpen) }
	for {
		err = errors.Join(m.Serve(c.Context, cfg), m.Close())
		if err != nil || !m.Left() {
			return err
		}
		next, err := node.Open(mcfg) // it may have joined another pool
		if errors.Is(err, pool.ErrNoPool) {
			return p.event("left", "left the pool; "+dir+" belongs to none", "dir", dir)
		}
		if err != nil {
			return err
		}
		m = next
	}
}

// printServeEvent prints what happens to a serving node. The first event says
// where everything is and what to type next; open says that the WebDAV face asks for
// no password.
func printServeEvent(p *printer, m *node.Machine, ev node.Event, open bool) {
	name := m.NameOf(ev.Machine)
	switch ev.Kind {
	case node.EventServing:
		s := m.Summary()
		text := fmt.Sprintf("pool    %s\nmachine %s (%s)\ndir     %s\nlisten  %s\n", s.Pool, s.Machine, s.Name, s.Dir, s.Listen)
		if s.WebDAV != "" {
			text += fmt.Sprintf("webdav  %s\n", s.WebDAV)
			if !open {
				text += fmt.Sprintf("        any user; the password is in %s\n", filepath.Join(s.Dir, node.WebDAVTokenFile))
			}
		}
		if s.Metrics != "" {
			text += fmt.Sprintf("metrics %s\n", s.Metrics)
		}
		for _, d := range m.Mounts() {
			text += fmt.Sprintf("mounted %s\n", d)
		}
		dirFlag := " --dir " + s.Dir
		text += fmt.Sprintf("\nput files in:            aether store put%s FILE... /\nlet a machine join it:   aether store invite%s",
			dirFlag, dirFlag)
		_ = p.event(string(ev.Kind), text, "pool", s.Pool, "machine", s.Machine, "name", s.Name, "dir", s.Dir, "listen", s.Listen, "webdav", s.WebDAV, "metrics", s.Metrics, "mounts", m.Mounts())
	case node.EventAddress:
		_ = p.event(string(ev.Kind), fmt.Sprintf("address %s on %s", ev.Address.Addr(), ev.Interface), "address", ev.Address.Addr(), "interface", ev.Interface)
	case node.EventNamed:
		_ = p.event(string(ev.Kind), "name    "+ev.Name, "name", ev.Name)
	case node.EventConnected:
		_ = p.event(string(ev.Kind), fmt.Sprintf("+ %s at %s", name, ev.Address), "machine", ev.Machine, "name", m.NameOf(ev.Machine), "address", ev.Address)
	case node.EventDisconnected:
		_ = p.event(string(ev.Kind), fmt.Sprintf("- %s: %s", name, ev.Reason), "machine", ev.Machine, "name", m.NameOf(ev.Machine), "reason", ev.Reason)
	case node.EventFault:
		_ = p.event(string(ev.Kind), fmt.Sprintf("! %s: %s", name, ev.Reason), "machine", ev.Machine, "name", name, "reason", ev.Reason)
	case node.EventRefused:
		_ = p.event(string(ev.Kind), fmt.Sprintf("! refused %s at %s: %s", ev.Machine, ev.Address, ev.Reason), "machine", ev.Machine, "address", ev.Address, "reason", ev.Reason)
	}
}
