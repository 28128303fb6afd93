package igmp_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
)

// began is when the engines of these tests begin.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newHost(t testing.TB, cfg igmp.HostConfig) *igmp.Host {
	t.Helper()
	h, err := igmp.NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newQuerier(t testing.TB, cfg igmp.QuerierConfig) *igmp.Querier {
	t.Helper()
	q, err := igmp.NewQuerier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// pass lets time pass and returns what was sent with the instants of sending.
func pass(e timed, now, end time.Time) (out []igmp.Packet, at []time.Time) {
	for {
		for _, p := range e.Outgoing() {
			out, at = append(out, p), append(at, now)
		}
		next, ok := e.NextTimeout()
		if !ok || next.After(end) {
			return out, at
		}
		if next.After(now) {
			now = next
		}
		e.HandleTimeout(now)
	}
}

func recv(t testing.TB, text string) igmp.Packet { return parsePacket(t, strings.Fields(text)) }

func TestEngines_RFC9776_4_HeaderOfAllTheySend(t *testing.T) {
	h := newHost(t, igmp.HostConfig{Address: addr("10.0.0.7")})
	old := newHost(t, igmp.HostConfig{Address: addr("10.0.0.8"), Version: 2})
	q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.1")})
	q.Start(began)
	for _, x := range []*igmp.Host{h, old} {
		if err := x.Join(began, addr("239.1.1.1")); err != nil {
			t.Fatal(err)
		}
		if err := x.Leave(began, addr("239.1.1.1")); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, e := range []timed{h, old, q} {
		out, _ := pass(e, began, began.Add(time.Minute))
		for _, p := range out {
			n++
			if p.TTL != 1 || p.TOS != 0xc0 || !p.RouterAlert || !p.Dst.IsMulticast() {
				t.Errorf("sent %+v", p)
			}
		}
	}
	if n < 6 {
		t.Errorf("only %d packets", n)
	}
}

func TestQuery_RFC9776_4_1_6_RobustnessOver7IsSentAs0(t *testing.T) {
	q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.1"), Timing: igmp.Timing{Robustness: 9}})
	q.Start(began)
	b, err := q.Outgoing()[0].Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := igmp.ParsePacket(b)
	if err != nil || p.Message.(*igmp.Query).Robustness != 0 {
		t.Errorf("%v, %v", p, err)
	}
}

func TestHost_RFC9776_4_1_6_RobustnessFollowsTheQuerier(t *testing.T) {
	for _, v := range []struct {
		query string
		want  int
	}{{"robustness 4", 4}, {"robustness 0", 2}, {"robustness 1", 1}} {
		h := newHost(t, igmp.HostConfig{})
		h.HandlePacket(began, recv(t, "10.0.0.1 query v3 "+v.query))
		if err := h.Join(began, addr("239.1.1.1")); err != nil {
			t.Fatal(err)
		}
		out, _ := pass(h, began, began.Add(time.Minute))
		out = slices.DeleteFunc(out, func(p igmp.Packet) bool {
			return p.Message.(*igmp.Report).Records[0].Type != igmp.ChangeToExclude
		})
		if len(out) != v.want {
			t.Errorf("%s: the change was told %d times, want %d", v.query, len(out), v.want)
		}
	}
}

// Records that do not fit go into further reports, and long lists are split; but
// of sources to exclude what does not fit is left out.
func TestHost_RFC9776_4_2_16_ReportsKeepToTheMTU(t *testing.T) {
	var many []netip.Addr
	for i := range 300 {
		many = append(many, netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}))
	}
	h := newHost(t, igmp.HostConfig{MTU: 576})
	room := (576 - 24 - 8 - 8) / 4
	if err := h.SetFilter(began, 0, addr("232.1.1.1"), igmp.Include, many...); err != nil {
		t.Fatal(err)
	}
	if err := h.SetFilter(began, 0, addr("239.1.1.1"), igmp.Exclude, many...); err != nil {
		t.Fatal(err)
	}
	allowed, excluded := map[netip.Addr]bool{}, 0
	for _, p := range h.Outgoing() {
		b, err := p.Append(nil)
		if err != nil || len(b) > 576 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		for _, r := range p.Message.(*igmp.Report).Records {
			switch r.Type {
			case igmp.AllowNewSources:
				for _, a := range r.Sources {
					allowed[a] = true
				}
			case igmp.ChangeToExclude:
				excluded++
				if len(r.Sources) != room {
					t.Errorf("%d sources excluded, %d fit", len(r.Sources), room)
				}
			default:
				t.Errorf("record %v", r)
			}
		}
	}
	if len(allowed) != 300 || excluded != 1 {
		t.Errorf("%d sources allowed, %d records to exclude", len(allowed), excluded)
	}
	for i := range 200 {
		if err := h.Join(began, netip.AddrFrom4([4]byte{239, 2, 0, byte(i)})); err != nil {
			t.Fatal(err)
		}
	}
	pass(h, began, began.Add(time.Minute))
	now := began.Add(time.Minute)
	h.HandlePacket(now, recv(t, "10.0.0.1 query v3"))
	out, _ := pass(h, now, now.Add(11*time.Second))
	told := map[netip.Addr]bool{}
	for _, p := range out {
		if b, err := p.Append(nil); err != nil || len(b) > 576 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		for _, g := range p.Groups() {
			told[g] = true
		}
	}
	if len(told) != 202 || len(out) > 10 {
		t.Errorf("%d groups told in %d reports", len(told), len(out))
	}
}

func TestHost_RFC9776_5_AllSystemsIsNeverReported(t *testing.T) {
	for _, cfg := range []igmp.HostConfig{{}, {Version: 2}, {Version: 1}, {Family: igmp.IPv6}, {Family: igmp.IPv6, Version: 2}} {
		h := newHost(t, cfg)
		group, from := addr("224.0.0.1"), "10.0.0.1"
		if cfg.Family == igmp.IPv6 {
			group, from = addr("ff02::1"), "fe80::1"
		}
		if err := h.Join(began, group); err != nil {
			t.Fatal(err)
		}
		h.HandlePacket(began, recv(t, from+" query v3"))
		h.Rejoin(began.Add(time.Minute))
		if err := h.Leave(began.Add(2*time.Minute), group); err != nil {
			t.Fatal(err)
		}
		if out, _ := pass(h, began.Add(2*time.Minute), began.Add(time.Hour)); len(out) != 0 {
			t.Errorf("%+v: sent %v", cfg, out)
		}
	}
}

// Answers come at any time up to the maximum, never after it.
func TestHost_RFC9776_5_2_DelaysAreUniform(t *testing.T) {
	for _, version := range []igmp.Version{2, 3} {
		const n = 4000
		h := newHost(t, igmp.HostConfig{Version: version, Rand: rand.New(rand.NewPCG(1, uint64(version)))})
		if err := h.Join(began, addr("239.1.1.1")); err != nil {
			t.Fatal(err)
		}
		now := began.Add(time.Minute)
		pass(h, began, now)
		var tenths [10]int
		for range n {
			h.HandlePacket(now, recv(t, "10.0.0.1 query v"+string('0'+rune(version))))
			out, at := pass(h, now, now.Add(20*time.Second))
			if len(out) != 1 {
				t.Fatalf("%d answers", len(out))
			}
			d := at[0].Sub(now)
			if d <= 0 || d > 10*time.Second {
				t.Fatalf("answer after %v", d)
			}
			tenths[(d-1)/time.Second]++
			now = now.Add(time.Minute)
		}
		for i, got := range tenths {
			if got < n/10-100 || got > n/10+100 { // five standard deviations
				t.Errorf("version %d: %d of %d answers in second %d", version, got, n, i)
			}
		}
	}
}

// Every rule on its own: what is pending, what comes, and how many answers follow.
func TestHost_RFC9776_5_2_Rules(t *testing.T) {
	for _, v := range []struct {
		rule         string
		first, other string
		want         []string
	}{
		{"1: all is about to be told", "query v3 within 1ms", "query v3 232.1.1.1 within 100s", []string{"is_in 232.1.1.1 a b"}},
		{"2: a general query comes beside a group's", "query v3 232.1.1.1 within 1s", "query v3 within 100s",
			[]string{"is_in 232.1.1.1 a b", "is_in 232.1.1.1 a b"}},
		{"2: the sooner of two general queries", "query v3 within 100s", "query v3 within 1ms", []string{"is_in 232.1.1.1 a b"}},
		{"3: none is pending", "", "query v3 232.1.1.1 sources 10.9.0.98", []string{"is_in 232.1.1.1 b"}},
		{"4: a query for the group clears the sources", "query v3 232.1.1.1 sources 10.9.0.98 within 100s", "query v3 232.1.1.1 within 1ms",
			[]string{"is_in 232.1.1.1 a b"}},
		{"4: sources do not narrow a pending answer", "query v3 232.1.1.1 within 100s", "query v3 232.1.1.1 sources 10.9.0.98 within 1ms",
			[]string{"is_in 232.1.1.1 a b"}},
		{"5: sources are joined", "query v3 232.1.1.1 sources 10.9.0.98 within 100s", "query v3 232.1.1.1 sources 10.9.0.97,10.9.0.99 within 1ms",
			[]string{"is_in 232.1.1.1 a b"}},
	} {
		h := newHost(t, igmp.HostConfig{})
		if err := h.SetFilter(began, 0, addr("232.1.1.1"), igmp.Include, addr("10.9.0.97"), addr("10.9.0.98")); err != nil {
			t.Fatal(err)
		}
		now := began.Add(time.Minute)
		pass(h, began, now)
		for _, q := range []string{v.first, v.other} {
			if q != "" {
				h.HandlePacket(now, recv(t, "10.0.0.1 "+q))
			}
		}
		out, _ := pass(h, now, now.Add(time.Hour))
		var got []string
		for _, p := range out {
			for _, r := range p.Message.(*igmp.Report).Records {
				got = append(got, strings.TrimSpace(r.Type.String()+" "+r.Group.String()+" "+strings.Join(strings.Split(word(r.Sources), ""), " ")))
			}
		}
		if !slices.Equal(got, v.want) {
			t.Errorf("rule %s: answers %q, want %q", v.rule, got, v.want)
		}
	}
}

func TestHost_RFC9776_7_2_1_SwitchCancelsWhatIsPending(t *testing.T) {
	h := newHost(t, igmp.HostConfig{Robustness: 7})
	if err := h.Join(began, addr("239.1.1.1")); err != nil {
		t.Fatal(err)
	}
	h.Outgoing()
	h.HandlePacket(began, recv(t, "10.0.0.1 query v3 robustness 7"))
	h.HandlePacket(began, recv(t, "10.0.0.1 query v2 239.9.9.9"))
	if out, _ := pass(h, began, began.Add(2*time.Minute)); len(out) != 0 {
		t.Errorf("sent %v", out)
	}
}

// Older querier present: robustness times the interval of the last query of
// version 3, plus the time to answer.
func TestHost_RFC9776_8_12_OlderVersionQuerierPresent(t *testing.T) {
	for _, v := range []struct {
		known, older string
		want         time.Duration
	}{
		{"", "query v2 within 10s", 260 * time.Second},
		{"", "query v1", 260 * time.Second},
		{"query v3 robustness 3 interval 20s", "query v2 within 5s", 65 * time.Second},
	} {
		h := newHost(t, igmp.HostConfig{})
		if v.known != "" {
			h.HandlePacket(began, recv(t, "10.0.0.1 "+v.known))
		}
		h.HandlePacket(began, recv(t, "10.0.0.1 "+v.older))
		pass(h, began, began.Add(v.want-time.Nanosecond))
		if h.Version() == 3 {
			t.Errorf("%s: back to version 3 too soon", v.older)
		}
		pass(h, began.Add(v.want-time.Nanosecond), began.Add(v.want))
		if h.Version() != 3 {
			t.Errorf("%s: still version %d after %v", v.older, h.Version(), v.want)
		}
	}
}

func TestHost_RFC9777_6_2_IgnoresQueriesThatMayComeFromElsewhere(t *testing.T) {
	h := newHost(t, igmp.HostConfig{Family: igmp.IPv6, Address: addr("fe80::7")})
	if err := h.Join(began, addr("ff05::7")); err != nil {
		t.Fatal(err)
	}
	now := began.Add(time.Minute)
	pass(h, began, now)
	for _, text := range []string{"2001:db8::1 query v3", "fe80::1 ttl 2 query v3", "fe80::1 noalert query v3", ":: query v3", "fe80::1 to ff05::9 query v3"} {
		h.HandlePacket(now, recv(t, text))
	}
	if out, _ := pass(h, now, now.Add(time.Minute)); len(out) != 0 {
		t.Errorf("answered %v", out)
	}
	if r := h.Stats().Refused; r.Source != 2 || r.TTL != 1 || r.RouterAlert != 1 || r.Destination != 1 {
		t.Errorf("counted %+v", r)
	}
	h.HandlePacket(now, recv(t, "fe80::1 query v3"))
	if out, _ := pass(h, now, now.Add(time.Minute)); len(out) != 1 {
		t.Errorf("%d answers to a proper query", len(out))
	}
}

func TestQuerier_RFC9776_6_6_2_WhoIsElected(t *testing.T) {
	for _, v := range []struct {
		own, other string
		yields     bool
	}{
		{"10.0.0.5", "10.0.0.4", true}, {"10.0.0.5", "10.0.0.6", false}, {"10.0.0.5", "9.255.255.255", true},
		{"10.0.0.5", "0.0.0.0", false}, {"10.0.0.5", "0.0.0.1", false}, {"10.0.0.5", "0.255.0.1", false},
		{"10.0.0.5", "169.254.0.1", false}, {"200.0.0.5", "169.254.0.1", false}, {"200.0.0.5", "127.0.0.1", false},
		{"169.254.5.5", "192.168.1.1", true}, {"169.254.5.5", "169.254.5.4", true}, {"169.254.5.5", "169.254.5.6", false},
		{"0.0.0.0", "10.0.0.1", true}, {"0.0.0.0", "169.254.0.1", true},
		{"fe80::5", "fe80::4", true}, {"fe80::5", "fe80::6", false}, {"fe80::5", "::", false}, {"fe80::5", "2001:db8::1", false},
	} {
		cfg := igmp.QuerierConfig{Address: addr(v.own)}
		cfg.Family = igmp.FamilyOf(cfg.Address)
		q := newQuerier(t, cfg)
		q.Start(began)
		q.HandlePacket(began, recv(t, v.other+" query v3"))
		if (q.Role() == igmp.RoleNonQuerier) != v.yields {
			t.Errorf("%s hears %s: %v", v.own, v.other, q.Role())
		}
	}
}

func TestQuerier_RFC9776_8_3_ResponseIsLessThanInterval(t *testing.T) {
	for _, bad := range []igmp.QuerierConfig{
		{Timing: igmp.Timing{QueryInterval: 10 * time.Second}},
		{Timing: igmp.Timing{QueryInterval: time.Millisecond, QueryResponse: time.Microsecond}},
		{Version: 4}, {Family: 5}, {Family: igmp.IPv6, Version: 1}, {Family: igmp.IPv6, Address: addr("2001:db8::1")}, {Address: addr("fe80::1")},
	} {
		if _, err := igmp.NewQuerier(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// A group lives as long as the querier's own words say: RV*QI + QRI.
func TestQuerier_RFC9776_8_4_GroupMembershipInterval(t *testing.T) {
	for _, v := range []struct {
		query string
		want  time.Duration
	}{
		{"", 260 * time.Second},
		{"10.0.0.1 query v3 robustness 3 interval 12s within 6s", 42 * time.Second},
		{"10.0.0.1 query v3 robustness 0 interval 0s within 5s", 255 * time.Second},
		{"10.0.0.1 query v2 within 20s", 270 * time.Second},
	} {
		q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.5")})
		q.Start(began)
		if v.query != "" {
			q.HandlePacket(began, recv(t, v.query))
		}
		q.HandlePacket(began, recv(t, "10.0.0.7 report v3 to_ex 239.1.1.1"))
		g, ok := q.Group(addr("239.1.1.1"))
		if !ok || g.Expires.Sub(began) != v.want {
			t.Errorf("%q: expires %v, want %v later", v.query, g.Expires, v.want)
		}
		pass(q, began, began.Add(v.want))
		if len(q.Groups()) != 0 {
			t.Errorf("%q: the group outlives its interval", v.query)
		}
	}
}

// A general query leaves a group's timer alone, and a query without time to
// answer does not end a group at once.
func TestQuerier_RFC9776_6_6_1_WhatLowersTimers(t *testing.T) {
	for _, v := range []struct {
		query string
		want  time.Duration
	}{
		{"10.0.0.1 query v3", 260 * time.Second},
		{"10.0.0.1 query v3 239.1.1.1 suppress", 260 * time.Second},
		{"10.0.0.1 query v3 239.1.1.2", 260 * time.Second},
		{"10.0.0.1 query v3 239.1.1.1 robustness 3", 3 * time.Second},
		{"10.0.0.1 query v2 239.1.1.1 within 500ms", time.Second},
		{"10.0.0.1 query v3 239.1.1.1 within 0s", 2 * time.Second},
		{"10.0.0.1 ttl 7 query v3 239.1.1.1", 260 * time.Second},
		{"10.0.0.1 to 224.0.0.9 query v3 239.1.1.1", 260 * time.Second},
	} {
		q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.5")})
		q.Start(began)
		q.HandlePacket(began, recv(t, "10.0.0.7 report v3 to_ex 239.1.1.1"))
		q.HandlePacket(began, recv(t, v.query))
		if g, _ := q.Group(addr("239.1.1.1")); g.Expires.Sub(began) != v.want {
			t.Errorf("%s: expires after %v, want %v", v.query, g.Expires.Sub(began), v.want)
		}
	}
}

func TestQuerier_Strict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.5"), Strict: strict})
		q.HandlePacket(began, recv(t, "10.0.0.7 noalert report v3 to_ex 239.1.1.1"))
		q.HandlePacket(began, recv(t, "10.0.0.7 ttl 64 report v2 239.1.1.2"))
		q.HandlePacket(began, recv(t, "10.0.0.7 noalert report v1 239.1.1.3"))
		want := 3
		if strict {
			want = 1
		}
		if got := len(q.Groups()); got != want {
			t.Errorf("strict %t: %d groups, want %d", strict, got, want)
		}
	}
}

// A flood of groups, sources and hosts meets bounds, and every one is counted.
func TestQuerier_BoundsAreCounted(t *testing.T) {
	q := newQuerier(t, igmp.QuerierConfig{Bounds: igmp.QuerierBounds{Groups: 10, Sources: 20, Hosts: 5, Entries: 40}})
	now := began
	for i := range 1000 {
		p := recv(t, "10.0.0.7 report v3 to_ex 239.1.1.1")
		r := p.Message.(*igmp.Report)
		p.Src = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		r.Records[0].Group = netip.AddrFrom4([4]byte{239, 1, 0, byte(i % 20)})
		for j := range i % 40 {
			r.Records[0].Sources = append(r.Records[0].Sources, netip.AddrFrom4([4]byte{10, 2, byte(i), byte(j)}))
		}
		q.HandlePacket(now, p)
		now = now.Add(time.Millisecond)
	}
	entries := 0
	for _, g := range q.Groups() {
		entries += len(g.Hosts) + len(g.Reception.Requested) + len(g.Reception.Excluded)
		if len(g.Hosts) > 5 {
			t.Errorf("%d hosts", len(g.Hosts))
		}
	}
	s := q.Stats()
	if len(q.Groups()) != 10 || entries > 40 || s.GroupsRefused == 0 || s.SourcesRefused == 0 || s.HostsRefused == 0 {
		t.Errorf("%d groups, %d entries, %+v", len(q.Groups()), entries, s)
	}
	pass(q, now, now.Add(time.Hour))
	if n := len(q.Groups()); n != 0 {
		t.Errorf("%d groups outlive the flood", n)
	}
	q.HandlePacket(now.Add(time.Hour), recv(t, "10.0.0.7 report v3 to_in 239.9.9.9 10.1.1.1,10.1.1.2"))
	if g, ok := q.Group(addr("239.9.9.9")); !ok || len(g.Reception.Requested) != 2 || len(g.Hosts) != 1 {
		t.Errorf("after the flood there is no room: %+v", g)
	}
}

// What cannot all be kept is treated as if all sources were wanted: nobody is cut
// off for want of room.
func TestQuerier_TooManySourcesMeanAll(t *testing.T) {
	q := newQuerier(t, igmp.QuerierConfig{Bounds: igmp.QuerierBounds{Sources: 2}})
	q.HandlePacket(began, recv(t, "10.0.0.7 report v3 allow 232.1.1.1 10.9.0.1,10.9.0.2"))
	q.HandlePacket(began, recv(t, "10.0.0.8 report v3 allow 232.1.1.1 10.9.0.3"))
	if g, _ := q.Group(addr("232.1.1.1")); g.Reception.Mode != igmp.Exclude || g.Reception.Excluded != nil {
		t.Errorf("%+v", g)
	}
}

func TestHost_Refuses(t *testing.T) {
	h := newHost(t, igmp.HostConfig{MaxGroups: 1, MaxSources: 2})
	for _, v := range []struct {
		group   string
		sources string
		want    error
	}{
		{"10.0.0.1", "", igmp.ErrGroup}, {"ff02::5", "", igmp.ErrGroup}, {"239.1.1.1", "224.0.0.5", igmp.ErrSource},
		{"239.1.1.1", "fe80::1", igmp.ErrSource}, {"239.1.1.1", "10.0.0.1 10.0.0.2 10.0.0.3", igmp.ErrFull},
		{"239.1.1.1", "10.0.0.1 10.0.0.2", nil}, {"239.1.1.2", "10.0.0.1", igmp.ErrFull},
	} {
		if err := h.SetFilter(began, 0, addr(v.group), igmp.Include, addrs(v.sources)...); !errors.Is(err, v.want) {
			t.Errorf("%s from %s: %v, want %v", v.group, v.sources, err, v.want)
		}
	}
	if err := h.SetFilter(began, 1, addr("239.1.1.1"), igmp.Include, addr("10.0.0.3")); !errors.Is(err, igmp.ErrFull) {
		t.Errorf("too many sources of all sockets: %v", err)
	}
	if f := h.Filters(); len(f) != 1 || len(f[0].Sources) != 2 {
		t.Errorf("what was refused had an effect: %v", f)
	}
}
