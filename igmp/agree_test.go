package igmp_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netsim"
)

// want is a filter as a person would say it.
type want struct {
	mode    igmp.FilterMode
	sources igmp.SourceSet
}

func (w want) passes(a netip.Addr) bool {
	return slices.Contains(w.sources, a) == (w.mode == igmp.Include)
}

func forwards(r igmp.Reception, a netip.Addr) bool {
	if r.Mode == igmp.Include {
		return slices.Contains(r.Requested, a)
	}
	return !slices.Contains(r.Excluded, a)
}

// RFC 9776 section 3.2: an interface lets through what any socket does, for all
// pairs of filters over three sources, and a fourth that no filter names.
func TestHost_RFC9776_3_2_MergesSockets(t *testing.T) {
	universe := letters("abcz")
	var all []want
	for bits := range 8 {
		var s igmp.SourceSet
		for i := range 3 {
			if bits>>i&1 == 1 {
				s = append(s, universe[i])
			}
		}
		all = append(all, want{igmp.Include, s}, want{igmp.Exclude, s})
	}
	group := addr("239.1.1.1")
	for _, a := range all {
		for _, b := range all {
			for _, c := range all {
				h, err := igmp.NewHost(igmp.HostConfig{})
				if err != nil {
					t.Fatal(err)
				}
				for i, w := range []want{a, b, c} {
					if err := h.SetFilter(netsim.Start, igmp.SocketID(i), group, w.mode, w.sources...); err != nil {
						t.Fatal(err)
					}
				}
				for _, s := range universe {
					wanted := a.passes(s) || b.passes(s) || c.passes(s)
					got := false
					for _, f := range h.Filters() {
						got = want{f.Mode, f.Sources}.passes(s)
					}
					if got != wanted {
						t.Fatalf("%v, %v, %v: %v passes = %t", a, b, c, s, got)
					}
				}
			}
		}
	}
}

// RFC 9776 section 5.1: whatever a host does, the records it sends let a listener
// follow: one that applies them as words, without timers, ends with the same filter.
func TestHost_RFC9776_5_1_RecordsTellTheWholeChange(t *testing.T) {
	universe := letters("abcd")
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		h, err := igmp.NewHost(igmp.HostConfig{Robustness: uint8(1 + r.IntN(3)), Rand: r})
		if err != nil {
			t.Fatal(err)
		}
		group, now := addr("239.1.1.1"), netsim.Start
		var follows want
		listen := func() {
			for _, p := range h.Outgoing() {
				for _, rec := range p.Message.(*igmp.Report).Records {
					follows.hear(t, rec)
				}
			}
		}
		for range 40 {
			now = now.Add(time.Duration(r.IntN(int(500 * time.Millisecond))))
			var s igmp.SourceSet
			for _, a := range universe {
				if r.IntN(2) == 0 {
					s = append(s, a)
				}
			}
			h.HandleTimeout(now)
			listen()
			if err := h.SetFilter(now, igmp.SocketID(r.IntN(2)), group, igmp.FilterMode(r.IntN(2)), s...); err != nil {
				t.Fatal(err)
			}
			listen()
			is := want{}
			for _, f := range h.Filters() {
				is = want{f.Mode, f.Sources}
			}
			for _, a := range append(letters("z"), universe...) {
				if is.passes(a) != follows.passes(a) {
					t.Fatalf("seed %d: the host wants %v, its records told %v", seed, is, follows)
				}
			}
		}
	}
}

func (w *want) hear(t *testing.T, rec igmp.Record) {
	set := igmp.NewSourceSet(rec.Sources...)
	switch {
	case rec.Type == igmp.ChangeToInclude:
		*w = want{igmp.Include, set}
	case rec.Type == igmp.ChangeToExclude:
		*w = want{igmp.Exclude, set}
	case (rec.Type == igmp.AllowNewSources) == (w.mode == igmp.Include):
		w.sources = w.sources.Union(set)
	case rec.Type.IsKnown():
		w.sources = w.sources.Minus(set)
	default:
		t.Fatalf("record %v", rec)
	}
}

// Four hosts, one of them of version 2 in half of the runs, change what they want
// of one group at random. What somebody wants the router never cuts off, at any
// time; and when all has been quiet for long, it forwards nothing else. The other
// router, which is not the querier, knows the same.
func TestSim_RoutersKnowWhatHostsWant(t *testing.T) {
	universe := letters("abcd")
	group := addr("239.1.1.1")
	simulate(t, 40, func(t *testing.T, seed uint64) *lan {
		l := newLAN(t, seed, quick)
		l.querier(igmp.QuerierConfig{Address: addr("10.0.0.1")})
		l.querier(igmp.QuerierConfig{Address: addr("10.0.0.2")})
		for i := range 4 {
			cfg := igmp.HostConfig{Address: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})}
			if i == 0 && seed%2 == 1 {
				cfg.Version = 2
			}
			l.host(cfg)
		}
		l.start(0)
		l.start(1)
		l.RunFor(time.Minute)
		wants := make([]want, len(l.hosts))
		wanted := func(a netip.Addr) bool {
			for i, w := range wants {
				all := l.hosts[i].Version() == 2 && (w.mode == igmp.Exclude || w.sources != nil)
				if all || w.passes(a) {
					return true
				}
			}
			return false
		}
		check := func(exact bool) {
			t.Helper()
			for i, q := range l.queriers {
				m, _ := q.Group(group)
				for _, a := range universe {
					if got := forwards(m.Reception, a); wanted(a) && !got || exact && got && !wanted(a) {
						l.errorf("router %d has %v, the hosts want %v: %v is forwarded = %t", i, m.Reception, wants, a, got)
					}
				}
			}
		}
		for round := range 40 {
			for range 1 + l.Rand().IntN(3) {
				i := l.Rand().IntN(len(wants))
				w := want{mode: igmp.FilterMode(l.Rand().IntN(2))}
				for _, a := range universe {
					if l.Rand().IntN(2) == 0 {
						w.sources = append(w.sources, a)
					}
				}
				if l.Rand().IntN(3) == 0 {
					w = want{}
				}
				wants[i] = w
				l.Do(l.members[i], func(now time.Time) {
					if err := l.hosts[i].SetFilter(now, 0, group, w.mode, w.sources...); err != nil {
						t.Fatal(err)
					}
				})
				l.RunFor(50 * time.Millisecond)
			}
			for range l.Rand().IntN(30) {
				check(false)
				l.RunFor(300 * time.Millisecond)
			}
			if round%10 == 9 {
				l.RunFor(15 * time.Minute)
				check(true)
			}
			if t.Failed() {
				break
			}
		}
		return l
	})
}
