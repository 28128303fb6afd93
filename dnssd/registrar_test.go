package dnssd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/mdns"
)

func newRegistrar(t *testing.T, inst Instance) *Registrar {
	t.Helper()
	r, err := NewRegistrar(inst, "box.local")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wants returns what r wants done, the records with their TTL and flush bit.
func wants(r *Registrar) []string {
	var list []string
	for _, c := range r.Outgoing() {
		list = append(list, map[CommandKind]string{Publish: "publish", Replace: "replace"}[c.Kind])
		for _, rec := range c.Records {
			list = append(list, rec.String())
		}
	}
	return list
}

func conflict(name string) mdns.ConflictError {
	return mdns.ConflictError{Name: name, From: netip.MustParseAddr("10.0.0.9")}
}

// TestInstance_RFC6763_Records checks names, data, TTLs (RFC 6762 section 10) and
// which records are unique.
func TestInstance_RFC6763_Records(t *testing.T) {
	r := newRegistrar(t, Instance{
		Name: "Dr. No", Service: "_http._tcp", Subtypes: []string{"_printer"}, Port: 80, Priority: 1, Weight: 2,
		TXT: TXT{{"a", []byte("b")}, {Key: "c"}},
	})
	expect(t, wants(r), "publish",
		`_http._tcp.local. 4500 IN PTR Dr\.\ No._http._tcp.local.`,
		`_printer._sub._http._tcp.local. 4500 IN PTR Dr\.\ No._http._tcp.local.`,
		`_services._dns-sd._udp.local. 4500 IN PTR _http._tcp.local.`,
		`Dr\.\ No._http._tcp.local. 120 IN SRV 1 2 80 box.local. (flush)`,
		`Dr\.\ No._http._tcp.local. 4500 IN TXT "a=b" "c" (flush)`)
	if _, ok := r.NextTimeout(); ok || len(wants(r)) > 0 {
		t.Error("it wants more")
	}
}

func TestRegistrar_Refuses(t *testing.T) {
	good := Instance{Name: "X", Service: "_a._tcp"}
	for name, c := range map[string]struct {
		change func(*Instance)
		want   error
	}{
		"no name":       {func(i *Instance) { i.Name = "" }, ErrName},
		"control":       {func(i *Instance) { i.Name = "a\x1b" }, ErrName},
		"no service":    {func(i *Instance) { i.Service = "a" }, ErrService},
		"long service":  {func(i *Instance) { i.Service = "_abcdefghijklmnop._tcp" }, ErrService},
		"empty subtype": {func(i *Instance) { i.Subtypes = []string{""} }, ErrService},
		"domain":        {func(i *Instance) { i.Domain = "example.com" }, ErrDomain},
		"TXT":           {func(i *Instance) { i.TXT = TXT{{Key: "="}} }, ErrTXT},
	} {
		i := good
		c.change(&i)
		if _, err := NewRegistrar(i, "box.local"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewRegistrar(good, "a..b"); !errors.Is(err, ErrName) {
		t.Errorf("host: %v", err)
	}
}

func TestRegistrar_RFC6762_9_NextNameAfterAConflict(t *testing.T) {
	r := newRegistrar(t, Instance{Name: "X", Service: "_a._tcp"})
	wants(r)
	if err := r.HandleConflict(epoch, conflict("x._A._tcp.local.")); err != nil {
		t.Fatal(err)
	}
	if w := wants(r); len(w) == 0 || !strings.Contains(strings.Join(w, "\n"), `X\ \(2\)._a._tcp.local. 120 IN SRV`) {
		t.Errorf("wants %q", w)
	}
	if err := r.HandleAnnounced(epoch); err != nil {
		t.Fatal(err)
	}
	if ev := r.Events(); len(ev) != 1 || ev[0].Instance.Name != "X (2)" || ev[0].Previous != "" {
		t.Errorf("events %v", ev)
	}
	if err := r.HandleConflict(epoch, conflict(r.Instance().FullName().Presentation())); err != nil {
		t.Fatal(err)
	}
	if err := r.HandleAnnounced(epoch); err != nil {
		t.Fatal(err)
	}
	if ev := r.Events(); len(ev) != 1 || ev[0].Instance.Name != "X (3)" || ev[0].Previous != "X (2)" {
		t.Errorf("events %v", ev)
	}
	if err := r.HandleConflict(epoch, conflict("box.local.")); err == nil {
		t.Error("a conflict about the host name was swallowed")
	}
}

func TestRegistrar_RFC6762_8_1_SlowAfterFifteenConflicts(t *testing.T) {
	r := newRegistrar(t, Instance{Name: "X", Service: "_a._tcp"})
	now := epoch
	var at []time.Duration
	for len(at) < 18 {
		if len(wants(r)) > 0 {
			at = append(at, now.Sub(epoch))
			now = now.Add(250 * time.Millisecond)
			if err := r.HandleConflict(now, conflict(r.Instance().FullName().Presentation())); err != nil {
				t.Fatal(err)
			}
			continue
		}
		due, ok := r.NextTimeout()
		if !ok {
			t.Fatal("it gave up")
		}
		if err := r.HandleTimeout(due.Add(-1)); err != nil || len(r.out) > 0 {
			t.Fatal("too early", err)
		}
		now = due
		if err := r.HandleTimeout(now); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i < len(at); i++ {
		want := 250 * time.Millisecond
		if i >= 15 {
			want += 5 * time.Second
		}
		if d := at[i] - at[i-1]; d != want {
			t.Errorf("attempt %d came %v after the last, want %v", i+1, d, want)
		}
	}
}

func TestRegistrar_ChangesWhileProbingAreToldAfterwards(t *testing.T) {
	r := newRegistrar(t, Instance{Name: "X", Service: "_a._tcp"})
	wants(r)
	if err := errors.Join(r.HandleHost(epoch, "box-2.local."), r.HandleTXT(epoch, TXT{{Key: "k"}})); err != nil {
		t.Fatal(err)
	}
	if w := wants(r); len(w) > 0 {
		t.Errorf("before the announcement it wants %q", w)
	}
	if err := r.HandleAnnounced(epoch); err != nil {
		t.Fatal(err)
	}
	w := wants(r)
	if len(w) == 0 || w[0] != "replace" || !strings.Contains(fmt.Sprint(w), "box-2.local.") || !strings.Contains(fmt.Sprint(w), `"k"`) {
		t.Errorf("wants %q", w)
	}
}

func TestOutbox_JoinsWhatIsAboutTheSame(t *testing.T) {
	for _, in := range []string{
		"add", "update", "remove", "add update", "add remove", "add remove add", "update update", "update remove",
		"remove add", "remove add update", "remove add remove", "remove add remove add", "update remove add update", "add update remove",
	} {
		var n int
		type event struct {
			op Op
			n  int
		}
		box := newOutbox(func(event) int { return 0 }, func(e *event) *Op { return &e.op })
		for _, op := range strings.Fields(in) {
			n++
			box.push(event{map[string]Op{"add": Add, "update": Update, "remove": Remove}[op], n})
		}
		got := box.take()
		// What the reader is told must end in the state of the last event, begin as the
		// first did, and be no longer than two.
		fields := strings.Fields(in)
		gone := fields[len(fields)-1] == "remove"
		switch {
		case len(got) > 2:
			t.Errorf("%s: %v", in, got)
		case len(got) == 0 && !(fields[0] == "add" && gone):
			t.Errorf("%s: nothing", in)
		case len(got) > 0 && (got[len(got)-1].op == Remove) != gone:
			t.Errorf("%s: %v", in, got)
		case len(got) > 0 && !gone && got[len(got)-1].n != n:
			t.Errorf("%s: %v is not the newest", in, got)
		case len(got) > 0 && (got[0].op == Add) != (fields[0] == "add"):
			t.Errorf("%s: %v", in, got)
		}
		if len(box.take()) != 0 || len(box.order) != 0 || len(box.held) != 0 {
			t.Errorf("%s: something stayed", in)
		}
	}
}

func TestWeigh_RFC2782(t *testing.T) {
	list := []target{{weight: 3, port: 3}, {weight: 0, port: 0}, {weight: 1, port: 1}}
	var count [4]int
	rnd := seeded(t)
	for range 4000 {
		count[weigh(rnd, slices.Clone(list)).port]++
	}
	// A number from 0 to 4: 0 takes weight 0, 1 takes weight 1, the rest weight 3.
	for port, want := range []int{800, 800, 0, 2400} {
		if d := count[port] - want; d < -150 || d > 150 {
			t.Errorf("port %d was chosen %d times, want about %d", port, count[port], want)
		}
	}
}
