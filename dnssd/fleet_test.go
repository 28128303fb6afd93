package dnssd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// offerAll registers instances on h in one call.
func offerAll(t *testing.T, ctx context.Context, h *lanHost, list ...Instance) ([]*Registration, error) {
	t.Helper()
	list, err := normalizeAll(list)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return registerAll(ctx, cancel, h, func() {}, list, slog.New(slog.DiscardHandler))
}

func TestRegister_RFC6763_8_StakesAClaimAtTheFlagship(t *testing.T) {
	records, err := Instance{Name: "P", Service: "_ipp._tcp", Port: 631, Flagship: "_printer._tcp"}.Records("box.local")
	if err != nil {
		t.Fatal(err)
	}
	var at, pointers []string
	for _, r := range records {
		rr, err := r.RR()
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == dns.TypePTR {
			pointers = append(pointers, r.String())
		}
		if strings.Contains(r.Name, "_printer._tcp") {
			at = append(at, strings.Join(strings.Fields(rr.String())[3:], " "))
			if !r.Flush {
				t.Error("the stake is not unique")
			}
		}
	}
	// "priority=0, weight=0, port=0, target host = host name of device", and the target
	// "MUST NOT be the empty root label".
	expect(t, at, "SRV 0 0 0 box.local.")
	// "No PTR record is created".
	if s := fmt.Sprint(pointers); len(pointers) != 2 || strings.Contains(s, "_printer") {
		t.Errorf("pointers %s", s)
	}
	own, err := Instance{Name: "P", Service: "_printer._tcp", Flagship: "_PRINTER._tcp."}.Records("box.local")
	if err != nil || len(own) != 4 {
		t.Errorf("who offers the flagship: %v, %v", own, err)
	}
	for _, bad := range []string{"printer", "_x._sub._printer._tcp", "_-._tcp"} {
		if _, err := (Instance{Name: "P", Service: "_ipp._tcp", Flagship: bad}).Records("h"); !errors.Is(err, ErrService) {
			t.Errorf("flagship %q: %v", bad, err)
		}
	}
}

func TestRegister_RFC6763_8_NamesAreUniqueOverTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, _ := hostOf(t, l, "a")
		b, _ := hostOf(t, l, "b")
		c, _ := hostOf(t, l, "c")
		first := offer(t, t.Context(), a, Instance{Name: "Sales", Service: "_ipp._tcp", Flagship: "_printer._tcp"})
		second := offer(t, t.Context(), b, Instance{Name: "sales", Service: "_pdl-datastream._tcp", Flagship: "_printer._tcp"})
		third := offer(t, t.Context(), c, Instance{Name: "Sales", Service: "_printer._tcp", Port: 515})
		for i, r := range []*Registration{first, second, third} {
			if got, want := r.Instance().Name, []string{"Sales", "sales (2)", "Sales (3)"}[i]; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		l.takeOver("Sales._printer._tcp.local.", l.attach())
		if n := <-first.Renamed(); n != "Sales (4)" {
			t.Errorf("after the stake was lost: %q", n)
		}
		for _, r := range []*Registration{first, second, third} {
			r.Close()
		}
	})
}

func TestBrowse_RFC6763_8_ADeviceIsListedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := new(lan)
		box, _ := hostOf(t, l, "box")
		services, err := parseFleet("_ipp._tcp", []string{"_printer._tcp", "_pdl-datastream._tcp"})
		if err != nil {
			t.Fatal(err)
		}
		var browsers []*Browser
		for _, s := range services {
			browsers = append(browsers, NewBrowser(BrowserConfig{Service: s, NamesOnly: true}))
		}
		var heard []string
		here := l.attach()
		go func() {
			_ = browse(ctx, here, browsers, func(ev Event, _ error) bool {
				heard = append(heard, ev.String())
				return true
			})
		}()
		said := func() []string {
			time.Sleep(time.Second)
			synctest.Wait()
			defer func() { heard = nil }()
			return heard
		}
		lpr := offer(t, ctx, box, Instance{Name: "P", Service: "_printer._tcp", Port: 515})
		expect(t, said(), "add P._printer._tcp.local on eth0")
		pdl := offer(t, ctx, box, Instance{Name: "P", Service: "_pdl-datastream._tcp", Port: 9100})
		expect(t, said())
		ipp := offer(t, ctx, box, Instance{Name: "P", Service: "_ipp._tcp", Port: 631})
		expect(t, said(), "update P._ipp._tcp.local on eth0")
		lpr.Close()
		expect(t, said())
		ipp.Close()
		expect(t, said(), "update P._pdl-datastream._tcp.local on eth0")
		pdl.Close()
		expect(t, said(), "remove P._pdl-datastream._tcp.local on eth0 (goodbye)")
		cancel()
	})
	if _, err := parseFleet("_a._tcp", make([]string, fleetMax)); !errors.Is(err, ErrService) {
		t.Errorf("a large fleet: %v", err)
	}
}

func TestRegisterAll_SharesHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		h := l.attach()
		heard, local := listen(t.Context(), l.attach(), "_ipp._tcp"), listen(t.Context(), l.attach(), "_http._tcp")
		at := []netip.Addr{netip.MustParseAddr("10.9.9.9")}
		more := []netip.Addr{netip.MustParseAddr("10.9.9.8"), at[0]}
		regs, err := offerAll(t, t.Context(), h,
			Instance{Name: "P", Service: "_ipp._tcp", Port: 631, Host: "printer", Addresses: at},
			Instance{Name: "Q", Service: "_ipp._tcp", Port: 632, Host: "PRINTER.local.", Addresses: more},
			Instance{Name: "W", Service: "_http._tcp", Port: 80},
			Instance{Name: "F", Service: "_ipp._tcp", Port: 633, Host: "www.example.com", Addresses: at})
		if err != nil || len(regs) != 4 {
			t.Fatal(regs, err)
		}
		time.Sleep(2 * time.Second)
		if got := heard(); len(got) != 3 || !strings.Contains(fmt.Sprint(got), "printer.local:631 [10.9.9.8 10.9.9.9]") ||
			!strings.Contains(fmt.Sprint(got), "F._ipp._tcp.local at www.example.com:633 []") {
			t.Errorf("%q", got)
		}
		if got := local(); len(got) != 1 || !strings.Contains(got[0], h.name[:len(h.name)-1]+":80 [10.0.0.1]") {
			t.Errorf("%q", got)
		}
		count := func(typ uint16) (n int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, p := range l.records {
				if p.rec.Type == typ {
					n++
				}
			}
			return n
		}
		if n := count(dns.TypeA); n != 3 {
			t.Errorf("%d addresses published", n)
		}
		regs[0].Close()
		regs[0].Close()
		if n := count(dns.TypeA); n != 3 {
			t.Errorf("%d addresses are left with three registrations", n)
		}
		for _, r := range regs {
			r.Close()
		}
		if n := count(dns.TypeA) + count(dns.TypeSRV); n != 0 {
			t.Errorf("%d records left behind", n)
		}
	})
}

func TestRegisterAll_AllOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, _ := hostOf(t, l, "printer")
		b, _ := hostOf(t, l, "b")
		_, err := offerAll(t, t.Context(), b,
			Instance{Name: "X", Service: "_a._tcp"},
			Instance{Name: "P", Service: "_a._tcp", Host: "printer", Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}})
		if c, ok := errors.AsType[*mdns.ConflictError](err); !ok || c.From != a.addr {
			t.Errorf("a host name in use: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := offerAll(t, ctx, b, Instance{Name: "X", Service: "_a._tcp"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a short time: %v", err)
		}
		if n := len(l.records); n != 2 {
			t.Errorf("%d records, want the two hosts", n)
		}
	})
	same := []Instance{{Name: "X", Service: "_a._tcp"}, {Name: "x", Service: "_A._tcp"}}
	if _, err := RegisterAll(t.Context(), same, Config{}); !errors.Is(err, ErrName) {
		t.Errorf("one twice: %v", err)
	}
	if _, err := RegisterAll(t.Context(), make([]Instance, registerMax+1), Config{}); !errors.Is(err, ErrName) {
		t.Errorf("too many: %v", err)
	}
	if regs, err := RegisterAll(t.Context(), nil, Config{}); regs != nil || err != nil {
		t.Errorf("none: %v, %v", regs, err)
	}
	list, err := normalizeAll([]Instance{
		{Name: "P", Service: "_ipp._tcp", Flagship: "_printer._tcp"}, {Name: "p", Service: "_printer._tcp"},
	})
	if err != nil || list[0].Flagship != "" {
		t.Errorf("a stake beside the flagship: %+v, %v", list, err)
	}
}

func TestRegisterAll_EndsWhenTheHostIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		h, _ := hostOf(t, l, "box")
		regs, err := offerAll(t, t.Context(), h,
			Instance{Name: "P", Service: "_a._tcp", Host: "printer", Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}})
		if err != nil {
			t.Fatal(err)
		}
		l.takeOver("printer.local.", l.attach())
		<-regs[0].Done()
		if c, ok := errors.AsType[*mdns.ConflictError](regs[0].Err()); !ok || fold(c.Name) != "printer.local." {
			t.Errorf("Err = %v", regs[0].Err())
		}
	})
}
