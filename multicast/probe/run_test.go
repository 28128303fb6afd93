package probe

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/multicast"
)

// The driver in fake time: three Pingers measure each other over a medium that loses,
// all end by themselves, and no goroutine stays.
func TestRun_PingersOverAMedium(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		medium := netsim.NewMedium[Packet](1, netsim.Faults{Delay: 3 * time.Millisecond, Loss: 0.05})
		medium.To = func(_ netsim.ID, p Packet) (netsim.ID, bool) {
			return netsim.ID(p.To.Addr().As4()[3]), !p.To.Addr().IsMulticast()
		}
		medium.Receive = func(from, _ netsim.ID, p Packet) Packet {
			p.From, p.HopLimit = at(int(from)), 1
			return p
		}
		type result struct {
			hosts []HostReport
			err   error
		}
		done := make(chan result)
		for id := range uint64(3) {
			p, err := NewPinger(PingerConfig{Group: group, Count: 100, Interval: 20 * time.Millisecond, ID: id + 1}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			conn := medium.Attach()
			go func() {
				ctx, cancel := context.WithCancelCause(t.Context())
				err := loop.Run(ctx, p, conn, loop.Config[Packet, Event]{Event: func(e Event) {
					if e.Kind == Finished {
						cancel(errFinished)
					}
				}})
				done <- result{p.Reports(time.Now()), err}
			}()
		}
		for range 3 {
			r := <-done
			if !errors.Is(r.err, errFinished) || len(r.hosts) != 2 || Judge(r.hosts, DefaultMaxLoss) != Good {
				t.Fatalf("%v, %+v", r.err, r.hosts)
			}
			for _, h := range r.hosts {
				if u := h.Paths[Unicast]; u.Sent < 90 || u.Lost == 0 || u.RTT.Min != 6*time.Millisecond || u.RTT.Max != 6*time.Millisecond {
					t.Errorf("%+v", u)
				}
			}
		}
		if took := time.Since(netsim.Start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func loopbackOnly(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("joins groups on the loopback interface, which only Linux allows; run on Linux")
	}
	return "lo"
}

// Real sockets: what is sent to 30 groups is received from all, and the Count ends both.
func TestSendReceive(t *testing.T) {
	lo, base := loopbackOnly(t), netip.MustParseAddr("239.255.60.1")
	cfg := multicast.Config{Interface: lo, Group: netip.AddrPortFrom(base, 16001)}
	groups := []netip.AddrPort{cfg.Group}
	for a := base.Next(); len(groups) < 30; a = a.Next() {
		cfg.More = append(cfg.More, multicast.Channel{Group: a})
		groups = append(groups, netip.AddrPortFrom(a, 16001))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	type result struct {
		r   Result
		err error
	}
	ready, done := make(chan struct{}), make(chan result)
	go func() {
		r, err := Receive(ctx, ReceiveConfig{
			Conns: []multicast.Config{cfg}, Receiver: ReceiverConfig{Count: 10}, Ready: func() { close(ready) },
		})
		done <- result{r, err}
	}()
	<-ready
	sent, err := Send(ctx, SendConfig{Conns: []multicast.Config{cfg}, Sender: SenderConfig{Groups: groups, Count: 10, Interval: time.Millisecond, Bytes: 64}})
	if err != nil || sent.Sent != 10 || sent.Failed != 0 {
		t.Fatalf("%+v, %v", sent, err)
	}
	got := <-done
	if got.err != nil || ctx.Err() != nil || len(got.r.Reports) != 30 || got.r.Totals.Datagrams != 300 || got.r.Socket.KernelDrops != 0 {
		t.Fatalf("%v, %d streams, %+v", got.err, len(got.r.Reports), got.r.Totals)
	}
	for _, r := range got.r.Reports {
		if r.Sent != 10 || r.Lost != 0 || r.Bytes != 640 || r.Hops != 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestReceive_Fails(t *testing.T) {
	if _, err := Receive(t.Context(), ReceiveConfig{}); err == nil {
		t.Error("nothing to listen to is no error")
	}
	good := multicast.Config{Interface: loopbackOnly(t), Group: netip.MustParseAddrPort("239.255.60.1:16002")}
	bad := multicast.Config{Interface: "no-such-interface", Group: good.Group}
	if _, err := Receive(t.Context(), ReceiveConfig{Conns: []multicast.Config{good, bad}}); err == nil {
		t.Error("an unknown interface is no error")
	}
	if _, err := Send(t.Context(), SendConfig{Conns: []multicast.Config{bad}, Sender: SenderConfig{Groups: []netip.AddrPort{good.Group}}}); err == nil {
		t.Error("an unknown interface is no error")
	}
	if _, err := Send(t.Context(), SendConfig{Sender: SenderConfig{Groups: []netip.AddrPort{good.Group}}}); err == nil {
		t.Error("no connection is no error")
	}
}

// Two connections and an end by ctx.
func TestReceive_SeveralConnections(t *testing.T) {
	lo := loopbackOnly(t)
	ctx, cancel := context.WithCancel(t.Context())
	conns := []multicast.Config{
		{Interface: lo, Group: netip.MustParseAddrPort("239.255.61.1:16003")}, {Interface: lo, Group: netip.MustParseAddrPort("239.255.61.2:16003")},
	}
	heard := 0
	r, err := Receive(ctx, ReceiveConfig{Conns: conns,
		Ready: func() {
			for _, c := range conns {
				s, err := multicast.Dial(ctx, c)
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				if err := s.Send([]byte("x")); err != nil {
					t.Error(err)
				}
				s.Close()
			}
		},
		Event: func(events []Event) {
			for _, e := range events {
				if e.Kind == Received {
					heard++
				}
			}
			if heard == 2 {
				cancel()
			}
		}})
	if err != nil || len(r.Reports) != 2 || r.Totals.Datagrams != 2 {
		t.Errorf("%v, %+v", err, r)
	}
}

// What had come when ctx ended is counted, although nobody had had time to read it.
func TestReceive_ReadsWhatWaitsWhenItEnds(t *testing.T) {
	cfg := multicast.Config{Interface: loopbackOnly(t), Group: netip.MustParseAddrPort("239.255.63.1:16005")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const sent = 2000
	s, err := multicast.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	send := func(n int) {
		for range n {
			if err := s.Send([]byte("x")); err != nil {
				t.Error(err)
			}
		}
	}
	first := true
	r, err := Receive(ctx, ReceiveConfig{
		Conns: []multicast.Config{cfg}, Ready: func() { send(1) },
		Event: func([]Event) {
			if first { // the loop stands still while the others come
				first = false
				send(sent - 1)
				cancel()
			}
		},
	})
	if err != nil || r.Totals.Datagrams != sent || r.Socket.KernelDrops != 0 {
		t.Errorf("%v, %+v, %+v", err, r.Totals, r.Socket)
	}
}

// One program of a machine gets the unicast datagrams of a port: a second is told.
func TestPing_PortTaken(t *testing.T) {
	cfg := PingConfig{Conn: multicast.Config{Interface: loopbackOnly(t), Group: netip.MustParseAddrPort("239.255.62.1:16004")}, Pinger: PingerConfig{Serve: true}}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error)
	first := cfg
	first.Ready = func() { close(ready) }
	go func() { _, err := Ping(ctx, first); done <- err }()
	<-ready
	if _, err := Ping(ctx, cfg); !errors.Is(err, ErrPortTaken) {
		t.Errorf("%v, want ErrPortTaken", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
