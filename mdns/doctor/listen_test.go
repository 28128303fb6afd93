package doctor

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
)

// A live link: what one socket of this machine multicasts on loopback is judged.
func TestListen_HearsTheLink(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the name and the multicasting of loopback differ; run it on linux")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	to := netip.AddrPortFrom(group, mdns.Port)
	c, err := multicast.Listen(ctx, multicast.Config{Interface: "lo", Group: to, HopLimit: 255})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := response(t, "!_doctor._tcp.local. 120 IN PTR x._doctor._tcp.local.")
	b, _ := m.Split(1472)
	sent := make(chan struct{})
	go func() { // until the listener has joined and hears it
		defer close(sent)
		for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; {
			_ = c.SendTo(b[0], to)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	var found []Finding
	d := New()
	err = Listen(ctx, d, Config{Interfaces: []string{"lo"}, IPv4: true, Found: func(f Finding) {
		if f.Rule == SharedFlush && f.What == "_doctor._tcp.local. PTR" {
			found = append(found, f)
			cancel()
		}
	}})
	cancel()
	<-sent
	if err != nil || len(found) != 1 || found[0].Severity != Broken || found[0].Host.HopLimit != 255 {
		t.Errorf("%v: %+v", err, found)
	}
	if d.Totals().Packets == 0 {
		t.Error("no totals")
	}
}

func TestListen_RefusesAnInterfaceThatIsNotThere(t *testing.T) {
	err := Listen(context.Background(), New(), Config{Interfaces: []string{"nosuch0"}})
	if !errors.Is(err, netif.ErrNoInterface) {
		t.Error(err)
	}
}
