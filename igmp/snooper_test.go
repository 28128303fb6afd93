package igmp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The switch of these tests has five ports. The querier is behind port 1.
var (
	snoopStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fivePorts  = []int{1, 2, 3, 4, 5}
	routerAddr = netip.MustParseAddr("192.0.2.1")
	router6    = netip.MustParseAddr("fe80::1")
	group1     = netip.MustParseAddr("239.1.2.3")
	alias1     = netip.MustParseAddr("238.129.2.3") // the same Ethernet address
	group6     = netip.MustParseAddr("ff05::1234")
	sourceA    = netip.MustParseAddr("192.0.2.10")
	sourceB    = netip.MustParseAddr("192.0.2.11")
)

// snoopRig is a switch with a clock.
type snoopRig struct {
	t *testing.T
	s *Snooper
	// now is the switch's time.
	now  time.Time
	vlan uint16
}

func newSnoopRig(t *testing.T, cfg SnooperConfig) *snoopRig {
	return &snoopRig{t: t, s: NewSnooper(snoopStart, cfg), now: snoopStart}
}

// ethernet wraps an IP packet into a frame, in a VLAN unless it is 0.
func ethernet(src HardwareAddr, dst netip.Addr, vlan uint16, ip []byte) []byte {
	hw := groupHardwareAddr(dst)
	b := append(append([]byte(nil), hw[:]...), src[:]...)
	if vlan != 0 {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, etherVLAN), vlan)
	}
	typ := uint16(etherIPv4)
	if dst.Is6() {
		typ = etherIPv6
	}
	return append(binary.BigEndian.AppendUint16(b, typ), ip...)
}

// messageFrame is a frame with a message as its sender would send it.
func messageFrame(t testing.TB, src netip.Addr, vlan uint16, m Message) []byte {
	t.Helper()
	dst := messageDestination(src.Is6(), m)
	ip, err := NewPacket(src, dst, m).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return ethernet(HardwareAddr{2, 0, 0, 0, 0, 9}, dst, vlan, ip)
}

func messageDestination(six bool, m Message) netip.Addr {
	pick := func(four, v6 netip.Addr) netip.Addr {
		if six {
			return v6
		}
		return four
	}
	switch m := m.(type) {
	case *Query:
		if !m.IsGeneral() {
			return m.Group
		}
	case *Report:
		if m.Version == V3 {
			return pick(allReports4, allReports6)
		}
		return m.Group
	case *Leave:
		return pick(allRouters4, allRouters6)
	case *Unknown:
		return pick(netip.MustParseAddr("224.0.0.106"), netip.MustParseAddr("ff02::6a"))
	}
	return pick(allSystems4, allNodes6)
}

// udpFrame is a frame with a UDP datagram (without its checksum) to group.
func udpFrame(src, group netip.Addr, vlan uint16) []byte {
	udp := []byte{0x23, 0x28, 0x23, 0x28, 0, 8, 0, 0}
	if group.Is6() {
		ip := append([]byte{0x60, 0, 0, 0, 0, 8, 17, 1}, src.AsSlice()...)
		return ethernet(HardwareAddr{2, 0, 0, 0, 0, 9}, group, vlan, append(append(ip, group.AsSlice()...), udp...))
	}
	ip := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0}
	ip = append(append(append(ip, src.AsSlice()...), group.AsSlice()...), udp...)
	return ethernet(HardwareAddr{2, 0, 0, 0, 0, 9}, group, vlan, ip)
}

func (r *snoopRig) hear(port int, src netip.Addr, m Message) []int {
	r.t.Helper()
	f := messageFrame(r.t, src, r.vlan, m)
	r.s.HandleFrame(r.now, port, f)
	return r.s.Forward(port, f, fivePorts)
}

func (r *snoopRig) query(m Query) []int { r.t.Helper(); return r.hear(1, routerAddr, &m) }

// asked makes the switch know a querier whose first answers have come in.
func (r *snoopRig) asked() *snoopRig {
	r.t.Helper()
	r.query(Query{Version: V3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second})
	r.wait(10 * time.Second)
	return r
}

func (r *snoopRig) report(port int, g netip.Addr) []int {
	r.t.Helper()
	return r.hear(port, hostAddr(port, g.Is6()), &Report{Version: V2, Group: g})
}

func (r *snoopRig) record(port int, typ RecordType, g netip.Addr, sources ...netip.Addr) []int {
	r.t.Helper()
	return r.hear(port, hostAddr(port, g.Is6()), &Report{Version: V3, Records: []Record{{Type: typ, Group: g, Sources: sources}}})
}

func hostAddr(port int, six bool) netip.Addr {
	if six {
		return netip.MustParseAddr(fmt.Sprintf("fe80::1%d", port))
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + port)})
}

// wait lets time pass, in steps as a driver would.
func (r *snoopRig) wait(d time.Duration) {
	end := r.now.Add(d)
	for {
		t, ok := r.s.NextTimeout()
		if !ok || t.After(end) {
			break
		}
		if t.Before(r.now) {
			r.t.Fatalf("timeout %v lies %v back", t, r.now.Sub(t))
		}
		r.now = t
		r.s.HandleTimeout(t)
	}
	r.now = end
	r.s.HandleTimeout(end)
}

// gets checks where a datagram to g goes that comes from port 5.
func (r *snoopRig) gets(g netip.Addr, want ...int) {
	r.t.Helper()
	src := sourceA
	if g.Is6() {
		src = hostAddr(5, true)
	}
	r.getsFrom(src, g, want...)
}

func (r *snoopRig) getsFrom(src, g netip.Addr, want ...int) {
	r.t.Helper()
	f := udpFrame(src, g, r.vlan)
	r.s.HandleFrame(r.now, 5, f)
	if got := r.s.Forward(5, f, fivePorts); !slices.Equal(got, want) {
		r.t.Errorf("at %v: %v > %v goes to ports %v, want %v", r.now.Sub(snoopStart), src, g, got, want)
	}
}

func TestSnooper_RFC4541_2_1_1_ReportsGoToRouterPortsOnly(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{})
	if got := r.report(3, group1); !slices.Equal(got, []int{1, 2, 4, 5}) {
		t.Errorf("without a querier a report goes to %v", got)
	}
	r.asked()
	for _, m := range []Message{
		&Report{Version: V1, Group: group1}, &Report{Version: V2, Group: group1}, &Leave{Group: group1},
		&Report{Version: V3, Records: []Record{{Type: ModeIsExclude, Group: group1}}},
	} {
		if got := r.hear(3, hostAddr(3, false), m); !slices.Equal(got, []int{1}) {
			t.Errorf("%v goes to %v", m, got)
		}
	}
	// A report from a host that has no address yet counts (rule 2).
	r.hear(4, netip.IPv4Unspecified(), &Report{Version: V2, Group: group1})
	r.gets(group1, 1, 3, 4)
}

func TestSnooper_ReportsDuringTheFirstAnswersAreHiddenFromOtherHosts(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{})
	r.query(Query{Version: V2, MaxResponse: 10 * time.Second})
	r.wait(time.Second)
	if got := r.report(3, group1); !slices.Equal(got, []int{1}) {
		t.Errorf("goes to %v: hosts at the other ports would keep their reports back", got)
	}
	r.gets(group1, 1, 2, 3, 4) // not all have answered
	r.wait(9 * time.Second)
	r.gets(group1, 1, 3)
}

func TestSnooper_RFC4541_2_1_1_RouterPorts(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	if got := r.s.RouterPorts(0, false); !slices.Equal(got, []int{1}) {
		t.Errorf("router ports %v", got)
	}
	// A query from 0.0.0.0 is another switch's, not a router's.
	r.hear(2, netip.IPv4Unspecified(), &Query{Version: V2, MaxResponse: time.Second})
	// Multicast router discovery; the interval is in the code.
	r.hear(4, sourceB, &Unknown{Type: discoveryAdvertisement, Code: 20, Body: make([]byte, 4)})
	if got := r.s.RouterPorts(0, false); !slices.Equal(got, []int{1, 4}) {
		t.Errorf("router ports %v", got)
	}
	r.wait(61 * time.Second)
	if got := r.s.RouterPorts(0, false); !slices.Equal(got, []int{1}) {
		t.Errorf("a router that is silent for three intervals is still at %v", got)
	}
	r.hear(4, sourceB, &Unknown{Type: discoveryAdvertisement, Code: 20, Body: make([]byte, 4)})
	r.hear(4, sourceB, &Unknown{Type: discoveryTermination})
	if got := r.s.RouterPorts(0, false); !slices.Equal(got, []int{1}) {
		t.Errorf("a router that has said goodbye is still at %v", got)
	}
	r.wait(255 * time.Second)
	if got := r.s.RouterPorts(0, false); len(got) != 0 {
		t.Errorf("a querier that is silent for 255 s is still at %v", got)
	}
	static := newSnoopRig(t, SnooperConfig{RouterPorts: []int{4}})
	if got := static.report(3, group1); !slices.Equal(got, []int{4}) {
		t.Errorf("with a configured router port a report goes to %v", got)
	}
}

func TestSnooper_RFC4541_2_1_1_UnknownAndQueriesAreFlooded(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	for _, m := range []Message{
		&Query{Version: V3, MaxResponse: time.Second, Robustness: 2, Interval: time.Minute}, &Unknown{Type: 0x42, Body: []byte{1, 2, 3, 4}},
		&Query{Version: V2, Group: group1, MaxResponse: time.Second}, &Unknown{Type: 0x31},
	} {
		if got := r.hear(1, routerAddr, m); !slices.Equal(got, []int{2, 3, 4, 5}) {
			t.Errorf("%v goes to %v", m, got)
		}
	}
}

func TestSnooper_RFC4541_2_1_1_BadChecksumsTeachNothing(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	f := messageFrame(t, hostAddr(3, false), 0, &Report{Version: V2, Group: group1})
	for _, at := range []int{14 + 10, len(f) - 1} { // the header's, the message's
		bad := slices.Clone(f)
		bad[at] ^= 0x55
		r.s.HandleFrame(r.now, 3, bad)
		if got := r.s.Forward(3, bad, fivePorts); len(got) != 0 {
			t.Errorf("it goes to %v", got)
		}
	}
	if r.s.Stats().Bad != 2 || len(r.s.Table()) != 0 {
		t.Errorf("%+v, table %v", r.s.Stats(), r.s.Table())
	}
}

func TestSnooper_RFC4541_2_1_1_TopologyChangeFloodsUntilHostsHaveAnswered(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.report(3, group1)
	r.gets(group1, 1, 3)
	r.s.TopologyChanged(r.now)
	r.gets(group1, 1, 2, 3, 4)
	r.wait(10 * time.Second)
	r.gets(group1, 1, 3)

	own := newSnoopRig(t, SnooperConfig{Querier: true})
	own.wait(60 * time.Second)
	own.s.Outgoing()
	own.s.TopologyChanged(own.now)
	if out := own.s.Outgoing(); len(out) != 1 || out[0].Port != AllPorts {
		t.Errorf("a switch that asks sends %v", out)
	}
}

func TestSnooper_RFC4541_2_1_2_DataForwarding(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.report(2, group1)
	r.gets(group1, 1, 2)                                   // rule 1
	r.gets(netip.MustParseAddr("224.0.0.251"), 1, 2, 3, 4) // rule 2
	r.gets(netip.MustParseAddr("239.9.9.9"), 1)            // rule 3: router ports
	r.gets(alias1, 1)                                      // rule 5: by address
	for _, f := range [][]byte{                            // rule 4 and what is not understood
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1},
		{0x01, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 4, 0, 1},
		{1}, udpFrame(sourceA, group1, 0)[:20],
	} {
		if got := r.s.Forward(5, f, fivePorts); len(got) != 4 {
			t.Errorf("%x goes to %v", f, got)
		}
	}
	flood := newSnoopRig(t, SnooperConfig{Unregistered: ToAllPorts}).asked()
	flood.report(2, group1)
	flood.gets(group1, 1, 2)
	flood.gets(netip.MustParseAddr("239.9.9.9"), 1, 2, 3, 4)
}

func TestSnooper_KeyedByHardwareAddr(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{Key: KeyHardwareAddr}).asked()
	r.report(2, group1)
	r.report(3, alias1)
	r.gets(group1, 1, 2, 3)
	r.gets(alias1, 1, 2, 3)
	r.gets(netip.MustParseAddr("239.128.0.5"), 1, 2, 3, 4) // 224.0.0.5 looks the same
	// The querier asks for one alias; the members of the other cannot answer.
	r.query(Query{Version: V2, Group: group1, MaxResponse: time.Second})
	r.wait(3 * time.Second)
	r.gets(group1, 1, 3)
	r.gets(alias1, 1, 3)
}

func TestSnooper_WithoutQuerierItFloods(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{})
	r.report(2, group1)
	r.gets(group1, 1, 2, 3, 4)
	r.asked()
	r.report(2, group1)
	r.gets(group1, 1, 2)
	r.wait(254 * time.Second)
	r.gets(group1, 1, 2, 3, 4)

	hard := newSnoopRig(t, SnooperConfig{PruneWithoutQuerier: true})
	hard.gets(group1)
	hard.report(2, group1)
	hard.gets(group1, 2)
	hard.wait(259 * time.Second)
	hard.gets(group1, 2)
	hard.wait(time.Second) // the cliff
	hard.gets(group1)
}

func TestSnooper_AnsweredLeaveCutsNobodyOff(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.report(2, group1) // two hosts are there
	r.report(3, group1)
	r.hear(2, hostAddr(2, false), &Leave{Group: group1})
	r.wait(time.Second)
	r.gets(group1, 1, 2, 3) // nobody has asked yet
	for range 2 {
		r.query(Query{Version: V2, Group: group1, MaxResponse: time.Second})
		r.wait(900 * time.Millisecond)
		r.report(2, group1) // the other one
		r.report(3, group1)
		r.wait(100 * time.Millisecond)
	}
	r.wait(time.Minute)
	r.gets(group1, 1, 2, 3)
}

func TestSnooper_UnansweredQueryRemovesThePort(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.report(2, group1)
	r.report(3, group1)
	r.hear(2, hostAddr(2, false), &Leave{Group: group1})
	for range 2 {
		r.query(Query{Version: V2, Group: group1, MaxResponse: time.Second})
		r.report(3, group1)
		r.wait(time.Second)
	}
	r.gets(group1, 1, 2, 3) // the last answer may be under way
	r.wait(time.Second)
	r.gets(group1, 1, 3)
	// A query with the S flag lowers nothing (RFC 9776 section 6.6.1).
	r.query(Query{Version: V3, Group: group1, MaxResponse: time.Second, Suppress: true, Robustness: 2, Interval: 125 * time.Second})
	r.wait(10 * time.Second)
	r.gets(group1, 1, 3)
}

func TestSnooper_ForgedLeaveOfAStrangerDoesNothing(t *testing.T) {
	for _, cfg := range []SnooperConfig{{}, {FastLeave: true}, {Querier: true}} {
		r := newSnoopRig(t, cfg)
		if !cfg.Querier {
			r.asked()
		}
		r.wait(10 * time.Second)
		r.report(2, group1)
		r.hear(4, sourceB, &Leave{Group: group1})
		r.record(4, ChangeToInclude, group1)
		r.wait(time.Minute)
		if tab := r.s.Table(); len(tab) != 1 || tab[0].Port != 2 {
			t.Errorf("%+v: %v", cfg, tab)
		}
		if out := r.s.Outgoing(); cfg.Querier && len(out) != 2 { // its startup queries
			t.Errorf("%d frames sent", len(out))
		}
	}
}

func TestSnooper_FastLeave(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{FastLeave: true}).asked()
	r.report(2, group1)
	r.report(3, group1)
	r.hear(2, hostAddr(2, false), &Leave{Group: group1})
	r.gets(group1, 1, 3)
	r.record(4, ChangeToInclude, group1, sourceA, sourceB)
	r.gets(group1, 1, 3, 4)
	r.record(4, BlockOldSources, group1, sourceA)
	r.getsFrom(sourceA, group1, 1, 3)
	r.getsFrom(sourceB, group1, 1, 3, 4)
	r.record(4, ChangeToInclude, group1)
	r.getsFrom(sourceB, group1, 1, 3)
	// A version 1 host cannot say that it stays.
	r.hear(3, hostAddr(3, false), &Report{Version: V1, Group: group1})
	r.hear(3, hostAddr(3, false), &Leave{Group: group1})
	r.gets(group1, 1, 3)
	want := "member learnt,member learnt,member left,member learnt,member left"
	if got := changes(r.s.Events(), "member"); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}

// changes joins the events whose text has the prefix.
func changes(events []SnooperEvent, prefix string) (text string) {
	for _, e := range events {
		if c := e.Change.String(); len(c) >= len(prefix) && c[:len(prefix)] == prefix {
			if text != "" {
				text += ","
			}
			text += c
		}
	}
	return text
}

func TestSnooper_VersionOneHostIsNotAskedAway(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.hear(2, hostAddr(2, false), &Report{Version: V1, Group: group1})
	r.query(Query{Version: V2, Group: group1, MaxResponse: time.Second})
	r.wait(5 * time.Second)
	r.gets(group1, 1, 2)
}

func TestSnooper_SourcesAreToldApart(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.record(2, AllowNewSources, group1, sourceA)
	r.record(3, ModeIsInclude, group1, sourceB)
	r.record(4, ChangeToExclude, group1, sourceA) // merged to the group: A is not cut off
	r.getsFrom(sourceA, group1, 1, 2, 4)
	r.getsFrom(sourceB, group1, 1, 3, 4)
	// A group-and-source query that nobody answers takes that source away only.
	r.query(Query{Version: V3, Group: group1, Sources: []netip.Addr{sourceA}, MaxResponse: time.Second, Robustness: 2, Interval: 125 * time.Second})
	r.wait(3 * time.Second)
	r.getsFrom(sourceA, group1, 1, 4)
	r.getsFrom(sourceB, group1, 1, 3, 4)
	// A record of an unknown type between others is passed over.
	r.hear(2, hostAddr(2, false), &Report{Version: V3, Records: []Record{
		{Type: 77, Group: group1}, {Type: ModeIsInclude, Group: group1, Sources: []netip.Addr{sourceA}}}})
	r.getsFrom(sourceA, group1, 1, 2, 4)
}

func TestSnooper_TooManySourcesMeanAll(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{Bounds: SnooperBounds{Sources: 4}}).asked()
	var many []netip.Addr
	for i := range 9 {
		many = append(many, netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}))
	}
	r.record(2, ModeIsInclude, group1, many...)
	for _, a := range append(many, sourceB) {
		r.getsFrom(a, group1, 1, 2)
	}
	if r.s.Stats().SourcesFull == 0 {
		t.Error("not counted")
	}
}

func TestSnooper_FullTableFloodsWhatIsNotInIt(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{Bounds: SnooperBounds{Groups: 10, Routers: 3, VLANs: 2}}).asked()
	r.report(2, group1)
	for i := range 100 {
		r.report(3, netip.AddrFrom4([4]byte{239, 7, 7, byte(i)}))
	}
	r.gets(group1, 1, 2)
	r.gets(netip.MustParseAddr("239.7.7.99"), 1, 2, 3, 4) // its member is not known
	if st := r.s.Stats(); st.GroupsFull != 91 || len(r.s.Table()) != 10 {
		t.Errorf("%+v, %d entries", st, len(r.s.Table()))
	}
	for i := range 100 {
		r.hear(4, netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), &Query{Version: V2, MaxResponse: time.Second})
	}
	if st := r.s.Stats(); st.RoutersFull == 0 || len(r.s.RouterPorts(0, false)) != 2 {
		t.Errorf("%+v, %v", st, r.s.RouterPorts(0, false))
	}
	for r.vlan = 1; r.vlan < 100; r.vlan++ {
		r.report(3, group1)
	}
	r.gets(group1, 1, 2, 3, 4)
	if r.s.Stats().VLANsFull == 0 {
		t.Error("not counted")
	}
	for range 2 * maxSnooperEvents {
		r.vlan = 0
		r.hear(1, routerAddr, &Query{Version: V2, MaxResponse: time.Second})
		r.hear(2, sourceB, &Query{Version: V2, MaxResponse: time.Second})
	}
	if n := len(r.s.Events()); n != maxSnooperEvents || r.s.Stats().EventsLost == 0 {
		t.Errorf("%d events, %d lost", n, r.s.Stats().EventsLost)
	}
}

func TestSnooper_VLANsAreKeptApart(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{})
	r.vlan = 7
	r.asked()
	r.report(2, group1)
	r.gets(group1, 1, 2)
	r.vlan = 8
	r.gets(group1, 1, 2, 3, 4)
}

func TestSnooper_AsksWhileNobodyElseDoes(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{Querier: true, HardwareAddr: HardwareAddr{2, 0, 0, 0, 0, 0xfe}})
	r.wait(0)
	out := r.s.Outgoing()
	if len(out) != 2 {
		t.Fatalf("%d frames at the start, want one a family", len(out))
	}
	for i, want := range []string{"0.0.0.0", "fe80::ff:fe00:fe"} {
		src, p, err := ParseFrame(out[i].Frame)
		q, ok := p.Message.(*Query)
		if err != nil || !ok || !q.IsGeneral() || p.Src.String() != want || p.TTL != 1 || !p.RouterAlert || src[5] != 0xfe {
			t.Errorf("%v from %v, %v", p, src, err)
		}
	}
	r.wait(32 * time.Second) // the second one comes after a quarter of the interval
	if out := r.s.Outgoing(); len(out) != 2 {
		t.Errorf("%d frames", len(out))
	}
	r.report(2, group1)
	r.gets(group1, 2)
	r.hear(2, hostAddr(2, false), &Leave{Group: group1})
	r.wait(1500 * time.Millisecond)
	out = r.s.Outgoing()
	if len(out) != 2 {
		t.Fatalf("%d queries after a leave, want 2", len(out))
	}
	if _, p, err := ParseFrame(out[0].Frame); err != nil || p.Dst != group1 || p.Message.(*Query).MaxResponse != time.Second {
		t.Errorf("%v, %v", p, err)
	}
	r.wait(2 * time.Second)
	r.gets(group1) // registered nowhere, no router
	// A querier appears, and is left alone with it.
	r.query(Query{Version: V2, MaxResponse: 10 * time.Second})
	r.wait(200 * time.Second)
	for _, f := range r.s.Outgoing() {
		if _, p, _ := ParseFrame(f.Frame); p.Dst.Is4() {
			t.Errorf("asks beside the querier: %v", p)
		}
	}
	r.wait(56 * time.Second)
	if len(r.s.Outgoing()) == 0 {
		t.Error("does not ask after the querier is lost")
	}
}

// Two switches that begin at once must not silence each other.
func TestSnooper_OfTwoSwitchesThatAskOneRemains(t *testing.T) {
	a := newSnoopRig(t, SnooperConfig{Querier: true, HardwareAddr: HardwareAddr{2, 0, 0, 0, 0, 1}})
	b := newSnoopRig(t, SnooperConfig{Querier: true, HardwareAddr: HardwareAddr{2, 0, 0, 0, 0, 2}})
	asked := [2][2]int{}
	for range 40 {
		for i, r := range []*snoopRig{a, b} {
			r.wait(10 * time.Second)
			other := []*snoopRig{b, a}[i]
			for _, f := range r.s.Outgoing() {
				asked[i][map[bool]int{true: 1}[DissectFrame(f.Frame)[2].Value == "86dd"]]++
				other.s.HandleFrame(other.now, 1, f.Frame)
			}
		}
	}
	if asked[0][0] < 4 || asked[0][1] < 4 || asked[1][0] > 1 || asked[1][1] > 1 {
		t.Errorf("queries of a and b by IGMP and MLD: %v", asked)
	}
}

func TestSnooper_QuerierTellsTheTimers(t *testing.T) {
	short := Query{Version: V3, MaxResponse: time.Second, Robustness: 2, Interval: 10 * time.Second}
	r := newSnoopRig(t, SnooperConfig{}).asked()
	r.query(short)
	r.report(2, group1)
	r.wait(100 * time.Second)
	r.gets(group1, 1, 2) // one short query, which may be forged, cuts nobody off
	r.query(short)
	r.query(short)
	r.report(3, group1)
	r.wait(20 * time.Second)
	r.gets(group1, 1, 2, 3)
	r.query(short)
	r.wait(2 * time.Second)
	r.gets(group1, 1, 2)
	long := short
	long.Interval = 576 * time.Second // one that the wire can carry
	r.query(long)
	r.report(4, group1)
	r.wait(1152 * time.Second)
	r.gets(group1, 1, 4)
}

func TestSnooper_MLD(t *testing.T) {
	r := newSnoopRig(t, SnooperConfig{})
	r.hear(1, router6, &Query{Version: V3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second})
	r.wait(10 * time.Second)
	if got := r.record(2, ChangeToExclude, group6); !slices.Equal(got, []int{1}) {
		t.Errorf("a report goes to %v", got)
	}
	r.report(3, group6)
	r.gets(group6, 1, 2, 3)
	r.gets(netip.MustParseAddr("ff02::1"), 1, 2, 3, 4)
	r.gets(netip.MustParseAddr("ff02::1:ff00:1"), 1, 2, 3, 4) // neighbour discovery before any report
	r.report(4, netip.MustParseAddr("ff02::1:ff00:1"))
	r.gets(netip.MustParseAddr("ff02::1:ff00:1"), 1, 4)
	r.gets(netip.MustParseAddr("ff05::9"), 1)
	r.gets(group1, 1, 2, 3, 4) // there is no querier of IGMP
	r.hear(3, hostAddr(3, true), &Leave{Group: group6})
	r.hear(1, router6, &Query{Version: V2, Group: group6, MaxResponse: time.Second})
	r.report(2, group6)
	r.wait(3 * time.Second)
	r.gets(group6, 1, 2)
	// From beyond the link (RFC 9777 section 5.1.14), and from a host without address.
	r.hear(4, netip.MustParseAddr("2001:db8::1"), &Report{Version: V2, Group: group6})
	r.gets(group6, 1, 2)
	r.hear(4, netip.IPv6Unspecified(), &Report{Version: V2, Group: group6})
	r.gets(group6, 1, 2, 4)
	r.s.PortDown(r.now, 1)
	r.s.PortDown(r.now, 2)
	r.gets(group6, 4)
}

// An obvious and slow switch: it keeps every report, and looks for one that counts.
type slowSwitch struct {
	reports []slowReport
	timers  heardTimers
}

type slowReport struct {
	until  time.Time
	port   int
	group  netip.Addr
	source netip.Addr // the zero Addr: all
}

func (s *slowSwitch) wants(now time.Time, port int, group, source netip.Addr) bool {
	return slices.ContainsFunc(s.reports, func(r slowReport) bool {
		return r.port == port && r.group == group && r.until.After(now) && (!r.source.IsValid() || r.source == source)
	})
}

func TestSnooper_AgreesWithASlowOne(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newSnoopRig(t, SnooperConfig{}).asked()
		slow := slowSwitch{timers: heardTimers{2, 125 * time.Second, 10 * time.Second}}
		groups, sources := []netip.Addr{group1, alias1}, []netip.Addr{sourceA, sourceB}
		for range 300 {
			port, g, a := 2+rnd.IntN(3), groups[rnd.IntN(2)], sources[rnd.IntN(2)]
			until := r.now.Add(slow.timers.membership())
			switch rnd.IntN(6) {
			case 0:
				r.report(port, g)
				slow.reports = append(slow.reports, slowReport{until, port, g, netip.Addr{}})
			case 1:
				r.record(port, AllowNewSources, g, a)
				slow.reports = append(slow.reports, slowReport{until, port, g, a})
			case 2:
				r.record(port, BlockOldSources, g, a)
			case 3:
				r.hear(port, hostAddr(port, false), &Leave{Group: g})
			case 4:
				r.query(Query{Version: V3, Group: g, MaxResponse: time.Second, Robustness: 2, Interval: 125 * time.Second})
				for i := range slow.reports {
					if x := &slow.reports[i]; x.group == g && !x.source.IsValid() && x.until.After(r.now.Add(2500*time.Millisecond)) {
						x.until = r.now.Add(2500 * time.Millisecond)
					}
				}
			case 5:
				r.wait(time.Duration(rnd.IntN(100)) * time.Second)
				r.query(Query{Version: V3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second})
			}
			for _, g := range groups {
				for _, a := range sources {
					f := udpFrame(a, g, 0)
					got := r.s.Forward(5, f, fivePorts)
					for _, p := range []int{2, 3, 4} {
						registered := slices.ContainsFunc(slow.reports, func(x slowReport) bool { return x.group == g && x.until.After(r.now) })
						if want := registered && slow.wants(r.now, p, g, a); want != slices.Contains(got, p) {
							t.Fatalf("seed %d: port %d wants %v from %v: %t; frames go to %v\n%v", seed, p, g, a, want, got, r.s.Table())
						}
					}
				}
			}
		}
	}
}

func FuzzSnooper(f *testing.F) {
	f.Add(uint8(0), messageFrame(f, routerAddr, 0, &Query{Version: V3, MaxResponse: time.Second}), messageFrame(f, sourceA, 0, &Report{Version: V2, Group: group1}))
	f.Add(uint8(7), messageFrame(f, router6, 5, &Query{Version: V3, MaxResponse: time.Second}), udpFrame(sourceA, group1, 5))
	f.Add(uint8(9), messageFrame(f, sourceA, 0, &Leave{Group: group1}), messageFrame(f, sourceA, 0, &Unknown{Type: discoveryAdvertisement}))
	f.Fuzz(func(t *testing.T, kind uint8, a, b []byte) {
		s := NewSnooper(snoopStart, SnooperConfig{
			Key: SnoopKey(kind & 1), FastLeave: kind&2 != 0, Querier: kind&4 != 0, PruneWithoutQuerier: kind&8 != 0,
			HardwareAddr: HardwareAddr{2}, Bounds: SnooperBounds{Groups: 4, Sources: 2, Routers: 2, VLANs: 2},
		})
		now := snoopStart
		for i := range 8 {
			now = now.Add(time.Duration(i) * 7 * time.Second)
			frame := [][]byte{a, b}[i&1]
			s.HandleFrame(now, 1+i%3, frame)
			if got := s.Forward(1+i%3, frame, fivePorts); slices.Contains(got, 1+i%3) {
				t.Fatalf("goes back to where it came from: %v", got)
			}
			for _, p := range s.Outgoing() {
				if _, _, err := ParseFrame(p.Frame); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(s.vlans) > 6 || len(s.Table()) > 6*4*3 {
			t.Fatalf("%d VLANs, %d entries", len(s.vlans), len(s.Table()))
		}
	})
}
