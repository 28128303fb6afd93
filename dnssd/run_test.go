package dnssd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// hostOf attaches a machine called label.
func hostOf(t *testing.T, l *lan, label string) (*lanHost, *lanClaim) {
	t.Helper()
	h := l.attach()
	c, err := h.ClaimHost(t.Context(), label)
	if err != nil {
		t.Fatal(err)
	}
	return h, c.(*lanClaim)
}

func offer(t *testing.T, ctx context.Context, h *lanHost, inst Instance) *Registration {
	t.Helper()
	inst, err := inst.normalize()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r, err := register(ctx, cancel, h, func() {}, inst, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// listen browses in the background and returns what has come since the last call.
func listen(ctx context.Context, h *lanHost, service string) func() []string {
	var heard []string
	s, _ := ParseService(service)
	go func() {
		_ = browse(ctx, h, []*Browser{NewBrowser(BrowserConfig{Service: s, IPv4: true})}, func(ev Event, _ error) bool {
			heard = append(heard, ev.String())
			return true
		})
	}()
	return func() []string {
		synctest.Wait()
		defer func() { heard = nil }()
		return heard
	}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestBrowse_SeesARegistrationComeChangeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := new(lan)
		box, _ := hostOf(t, l, "box")
		heard, colour := listen(ctx, l.attach(), "_ipp._tcp"), listen(ctx, l.attach(), "_color._sub._ipp._tcp")
		r := offer(t, ctx, box, Instance{Name: "Dr. No", Service: "_ipp._tcp,_color", Port: 631, TXT: TXT{{"a", []byte("1")}}})
		time.Sleep(time.Second)
		const at = `Dr\. No._ipp._tcp.local at box.local:631 [10.0.0.1] ["a=`
		expect(t, heard(), `add `+at+`1"] on eth0`)
		expect(t, colour(), `add `+at+`1"] on eth0`)
		time.Sleep(5 * time.Second)
		if err := r.UpdateTXT(TXT{{"a", []byte("2")}}); err != nil {
			t.Error(err)
		}
		if err := r.UpdateTXT(TXT{{"=", nil}}); !errors.Is(err, ErrTXT) {
			t.Errorf("bad TXT: %v", err)
		}
		if s := r.Instance().TXT.Strings(); !slices.Equal(s, []string{"a=2"}) {
			t.Errorf("Instance has %q", s)
		}
		time.Sleep(time.Second)
		expect(t, heard(), `update `+at+`2"] on eth0`)
		r.Close()
		expect(t, heard(), `remove `+at+`2"] on eth0 (goodbye)`)
		if err := r.UpdateTXT(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("UpdateTXT after Close: %v", err)
		}
		cancel()
	})
}

func TestRegister_RFC6762_9_RenamesOnConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, _ := hostOf(t, l, "a")
		b, _ := hostOf(t, l, "b")
		inst := Instance{Name: "Office", Service: "_ipp._tcp", Port: 1}
		first := offer(t, t.Context(), a, inst)
		inst.Name = "OFFICE"
		second := offer(t, t.Context(), b, inst)
		if n := second.Instance().Name; n != "OFFICE (2)" {
			t.Errorf("the second is %q", n)
		}
		l.takeOver(first.Instance().FullName().Presentation(), l.attach())
		if n := <-first.Renamed(); n != "Office (3)" { // " (2)" differs in case only
			t.Errorf("renamed to %q", n)
		}
		if i := first.Instance(); i.Name != "Office (3)" || i.Host != "a.local" {
			t.Errorf("the first is %v", i)
		}
		first.Close()
		second.Close()
	})
}

func TestRegister_SRVFollowsTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, claimed := range []bool{true, false} {
			ctx, cancel := context.WithCancel(t.Context())
			l := new(lan)
			h := l.attach()
			if claimed {
				if _, err := h.ClaimHost(ctx, "old"); err != nil {
					t.Fatal(err)
				}
			}
			r := offer(t, ctx, h, Instance{Name: "X", Service: "_a._udp", Port: 9})
			heard := listen(ctx, l.attach(), "_a._udp")
			time.Sleep(5 * time.Second)
			if got := heard(); len(got) != 1 || !strings.Contains(got[0], r.Instance().Host+":9 [10.0.0.1]") {
				t.Errorf("before: %q", got)
			}
			h.name = "new.local."
			if _, err := h.Publish(ctx, []mdns.Record{h.address()}); err != nil {
				t.Fatal(err)
			}
			h.renames <- h.name
			time.Sleep(time.Second)
			expect(t, heard(), "update X._a._udp.local at new.local:9 [10.0.0.1] on eth0")
			if got := r.Instance().Host; got != "new.local" {
				t.Errorf("Instance is at %q", got)
			}
			cancel()
			<-r.Done()
			if err := r.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("Err = %v", err)
			}
			synctest.Wait()
			for _, p := range l.records {
				if p.rec.Type == dns.TypePTR {
					t.Errorf("left behind: %v", p.rec)
				}
			}
		}
	})
}

func TestRegister_ForAnotherHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := new(lan)
		h, _ := hostOf(t, l, "box")
		heard := listen(ctx, l.attach(), "_ipp._tcp")
		inst := Instance{Name: "P", Service: "_ipp._tcp", Port: 631, Host: "printer", Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}}
		offer(t, ctx, h, inst)
		time.Sleep(time.Second)
		expect(t, heard(), "add P._ipp._tcp.local at printer.local:631 [10.9.9.9] on eth0")
		// The host's name is not ours to change.
		inst.Name, inst.Host = "Q", "printer.local."
		within, stop := context.WithCancel(ctx)
		_, err := register(within, stop, l.attach(), func() {}, inst, slog.New(slog.DiscardHandler))
		if c, ok := errors.AsType[*mdns.ConflictError](err); !ok || c.Name != "printer.local." {
			t.Errorf("a host name in use: %v", err)
		}
		cancel()
	})
}

func TestRegister_EndsWithItsContextWhileProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		l := new(lan)
		start := time.Now()
		_, err := register(ctx, cancel, l.attach(), func() {}, Instance{Name: "X", Service: "_a._tcp"}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second || len(l.records) != 0 {
			t.Errorf("%v after %v, %d records left", err, time.Since(start), len(l.records))
		}
	})
}

func TestBrowse_ASlowReaderDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		box, _ := hostOf(t, l, "box")
		first := offer(t, t.Context(), box, Instance{Name: "first", Service: "_a._tcp"})
		s, _ := ParseService("_a._tcp")
		var heard []string
		b := NewBrowser(BrowserConfig{Service: s})
		err := browse(t.Context(), l.attach(), []*Browser{b}, func(ev Event, _ error) bool {
			heard = append(heard, fmt.Sprint(ev.Op, " ", ev.Instance.Name, ev.Instance.TXT.Strings()))
			if len(heard) > 1 {
				return false
			}
			// While the body works, a hundred come and go and one changes often.
			for i := range 100 {
				offer(t, t.Context(), box, Instance{Name: fmt.Sprint(i), Service: "_a._tcp"}).Close()
				if err := first.UpdateTXT(TXT{{"n", fmt.Append(nil, i)}}); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Hour)
			return true
		})
		if err != nil {
			t.Error(err)
		}
		expect(t, heard, "add first[]", "update first[n=99]")
		first.Close()
	})
}

func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		box, _ := hostOf(t, l, "box")
		r := offer(t, t.Context(), box, Instance{Name: "Café", Service: "_ipp._tcp", Port: 631})
		defer r.Close()
		look := func(name string) (Instance, time.Duration, error) {
			pinned, err := spellings(name, "_ipp._tcp", Local)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			i, err := resolve(t.Context(), l.attach(), BrowserConfig{Pinned: pinned})
			return i, time.Since(start), err
		}
		i, d, err := look("cafe\u0301")
		if err != nil || i.Host != "box.local" || i.Port != 631 || len(i.Addresses) != 1 || d > 100*time.Millisecond {
			t.Errorf("%v, %v, %v", i, d, err)
		}
		if i, d, err = look("nobody"); !errors.Is(err, ErrNotFound) || d != resolveTimeout {
			t.Errorf("%v, %v, %v", i, d, err)
		}
		offer(t, t.Context(), box, Instance{Name: "far", Service: "_ipp._tcp", Host: "www.example.com"})
		if i, d, err = look("far"); !errors.Is(err, ErrNotFound) || i.Host != "www.example.com" || d != resolveTimeout {
			t.Errorf("%v, %v, %v", i, d, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := resolve(ctx, l.attach(), BrowserConfig{Pinned: []FullName{{"x", "_a._tcp", Local}}}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestTypes_RFC6763_9(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		box, _ := hostOf(t, l, "box")
		for _, s := range []string{"_ipp._tcp", "_http._tcp,_printer", "_ipp._tcp"} {
			offer(t, t.Context(), box, Instance{Name: "X", Service: s})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var heard []string
		err := enumerate(ctx, l.attach(), NewEnumerator(""), func(ev TypeEvent, _ error) bool {
			heard = append(heard, fmt.Sprint(ev.Op, ev.Service, ev.Domain, ev.Interface))
			return true
		})
		if err != nil {
			t.Error(err)
		}
		expect(t, heard, "add_ipp._tcplocaleth0", "add_http._tcplocaleth0")
	})
}

// RFC 6762 section 9: the name that had to be taken is tried first at the next start.
func TestRegister_RFC6762_9_ATakenNameIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(lan)
		a, _ := hostOf(t, l, "a")
		b, _ := hostOf(t, l, "b")
		office := Instance{Name: "Office", Service: "_ipp._tcp", Port: 631}
		first := offer(t, t.Context(), a, office)
		second := offer(t, t.Context(), b, office)
		if name := second.Instance().Name; name != "Office (2)" {
			t.Fatalf("registered as %s", name)
		}
		first.Close()
		second.Close()
		again := offer(t, t.Context(), b, office)
		defer again.Close()
		if name := again.Instance().Name; name != "Office (2)" {
			t.Errorf("registered as %s at the next start", name)
		}
		other := offer(t, t.Context(), a, office)
		defer other.Close()
		if name := other.Instance().Name; name != "Office" {
			t.Errorf("the first machine is called %s", name)
		}
	})
}
