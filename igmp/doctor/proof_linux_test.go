package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// dropper is a switch that is broken: IP groups but those of 224.0.0.x go nowhere.
type dropper struct{}

func (dropper) Forward(_ time.Time, in *netlab.Port, frame []byte, all, out []*netlab.Port) []*netlab.Port {
	if typ := binary.BigEndian.Uint16(frame[12:]); typ == 0x0800 && frame[30] == 239 || typ == 0x86dd && frame[38] == 0xff && frame[39] != 2 {
		return out
	}
	return append(out, all...)
}

// snooping is a switch that asks by itself, with short intervals.
func snooping(key igmp.SnoopKey) *netlab.Snooping {
	return netlab.NewSnooping(igmp.SnooperConfig{
		Key: key, Querier: true, HardwareAddr: igmp.HardwareAddr{2, 0xae, 0, 0, 0xff, 1},
		Timers: igmp.SnooperTimers{QueryInterval: 2 * time.Second, QueryResponse: 100 * time.Millisecond},
	})
}

func TestProve_TellsSwitchesApart(t *testing.T) {
	const b6 = "fe80::ae:ff:fe00:201%eth0"
	for _, c := range []struct {
		name string
		fwd  netlab.Forwarder
		peer string
		want Kind
	}{
		{"flooding", nil, "192.0.2.2", Floods},
		{"by hardware address", snooping(igmp.KeyHardwareAddr), "192.0.2.2", ByHardwareAddr},
		{"by IP address", snooping(igmp.KeyAddr), "192.0.2.2", ByAddr},
		{"broken", dropper{}, "192.0.2.2", DropsGroups},
		{"by hardware address, MLD", snooping(igmp.KeyHardwareAddr), b6, ByHardwareAddr},
		{"by IP address, MLD", snooping(igmp.KeyAddr), b6, ByAddr},
		{"flooding, MLD", nil, b6, Floods},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t)
			sw := lab.Switch(netlab.SwitchConfig{Forwarder: c.fwd})
			a, b := lab.Host("a"), lab.Host("b")
			a.Attach(sw, "eth0")
			b.Attach(sw, "eth0")
			a.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24"))
			b.AddAddr("eth0", netip.MustParsePrefix("192.0.2.2/24"))
			<-time.After(300 * time.Millisecond) // hosts answer the switch's first questions
			ctx, cancel := context.WithCancel(t.Context())
			ready, served := make(chan netip.AddrPort, 1), make(chan error, 1)
			go func() {
				served <- b.Do(func() error {
					return Serve(ctx, ServeConfig{Interface: "eth0", Ready: func(p netip.AddrPort) { ready <- p }})
				})
			}()
			defer func() {
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}()
			<-ready
			var p Proof
			steps := 0
			err := a.Do(func() (err error) {
				p, err = Prove(ctx, ProveConfig{Interface: "eth0", Peer: netip.AddrPortFrom(netip.MustParseAddr(c.peer), Port), Step: func(Count) { steps++ }})
				return err
			})
			if err != nil || p.Kind() != c.want || steps != 3 {
				t.Errorf("%v, %+v, %v", p.Kind(), p, err)
			}
			t.Logf("%v in %v", p.Kind(), p.Took.Round(time.Millisecond))
		})
	}
}

func dialPeer(to string) (*net.UDPConn, error) {
	return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
}

func TestProve_WithoutPeer(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	a := lab.Host("a")
	a.Attach(sw, "eth0")
	a.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24"))
	start := time.Now()
	err := a.Do(func() error {
		_, err := Prove(t.Context(), ProveConfig{Interface: "eth0", Peer: netip.MustParseAddrPort("192.0.2.1:4329")})
		return err
	})
	if !errors.Is(err, ErrNoPeer) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// A stranger who cannot hear the answers has nothing sent to a group.
func TestServe_WantsItsCookieBack(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	a := lab.Host("a")
	a.Attach(sw, "eth0")
	a.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24"))
	ctx, cancel := context.WithCancel(t.Context())
	ready, served := make(chan netip.AddrPort, 1), make(chan error, 1)
	var heard []string
	go func() {
		served <- a.Do(func() error {
			return Serve(ctx, ServeConfig{Interface: "eth0", Ready: func(p netip.AddrPort) { ready <- p },
				Event: func(what string, _ netip.AddrPort) { heard = append(heard, what) }})
		})
	}()
	<-ready
	err := a.Do(func() error {
		c := &prover{group: randomGroup(false)}
		conn, err := dialPeer("192.0.2.1:4329")
		if err != nil {
			return err
		}
		defer conn.Close()
		c.conn = conn
		c.cookie[0] = 1
		for _, k := range []kind{join, send, bye, 99} {
			if _, err := conn.Write(c.message(control{Kind: k, Count: 5}).append(nil)); err != nil {
				return err
			}
		}
		// It answers a hello, and refuses a group that is not for tests.
		m, err := c.ask(ctx, control{Kind: hello}, welcome)
		if err != nil {
			return err
		}
		c.cookie, c.group = m.Cookie, netip.MustParseAddr("224.0.0.251")
		if _, err := c.ask(ctx, control{Kind: join}, joined); !errors.Is(err, ErrRefused) {
			t.Errorf("%v", err)
		}
		if _, err := c.ask(ctx, control{Kind: send, Count: 5}, sent); !errors.Is(err, ErrRefused) {
			t.Errorf("%v", err)
		}
		return nil
	})
	cancel()
	if serveErr := <-served; err != nil || serveErr != nil || len(heard) != 1 {
		t.Errorf("%v, %v, it did %q", err, serveErr, heard)
	}
}

func TestSolicit_MakesAQuerierSpeak(t *testing.T) {
	for _, c := range []struct {
		name  string
		quiet bool
		want  Verdict
	}{{"a switch that asks", false, Healthy}, {"nobody", true, Unhealthy}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t)
			cfg := netlab.SwitchConfig{}
			if !c.quiet {
				cfg.Forwarder = netlab.NewSnooping(igmp.SnooperConfig{Querier: true, Timers: igmp.SnooperTimers{QueryResponse: 100 * time.Millisecond}})
			}
			sw := lab.Switch(cfg)
			a := lab.Host("a")
			a.Attach(sw, "eth0")
			a.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24"))
			<-time.After(200 * time.Millisecond) // the first general query is over
			m := igmp.NewMonitor(time.Now(), igmp.MonitorConfig{})
			var tap *igmp.Tap
			if err := a.Do(func() (err error) { tap, err = igmp.OpenTap("eth0"); return err }); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			watched := make(chan error, 1)
			go func() { watched <- igmp.Watch(ctx, m, tap, igmp.Watching{}) }()
			err := a.Do(func() error { return Solicit(ctx, "eth0", false, 2) })
			cancel()
			if err := errors.Join(err, <-watched); err != nil {
				t.Fatal(err)
			}
			m.HandleTimeout(time.Now())
			if d := Examine(m, false); d.Verdict != c.want {
				t.Errorf("%v\n%v\n%+v", d.Verdict, d.Findings, m.Leaves())
			}
		})
	}
}
