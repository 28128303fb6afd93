package igmp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// monitorRig is a Monitor with a clock and the text of what it said.
type monitorRig struct {
	t    *testing.T
	m    *Monitor
	now  time.Time
	text []string
}

func newMonitorRig(t *testing.T, cfg MonitorConfig) *monitorRig {
	return &monitorRig{t: t, m: NewMonitor(snoopStart, cfg), now: snoopStart}
}

func (r *monitorRig) hear(src netip.Addr, m Message) {
	r.t.Helper()
	r.m.HandleFrame(r.now, messageFrame(r.t, src, 0, m))
	r.fetch()
}

func (r *monitorRig) fetch() {
	for _, e := range r.m.Events() {
		r.text = append(r.text, e.String())
	}
}

func (r *monitorRig) wait(d time.Duration) {
	end := r.now.Add(d)
	for {
		t, ok := r.m.NextTimeout()
		if !ok || t.After(end) {
			break
		}
		r.now = t
		r.m.HandleTimeout(t)
	}
	r.now = end
	r.m.HandleTimeout(end)
	r.fetch()
}

// said checks what the events since the last call were.
func (r *monitorRig) said(want ...string) {
	r.t.Helper()
	if got := strings.Join(r.text, "\n"); got != strings.Join(want, "\n") {
		r.t.Errorf("at %v it said\n%s\nwant\n%s", r.now.Sub(snoopStart), got, strings.Join(want, "\n"))
	}
	r.text = nil
}

var general3 = &Query{Version: V3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second}

func TestMonitor_TellsWhoJoinsLeavesAndExpires(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	r.hear(routerAddr, general3)
	r.hear(sourceA, &Report{Version: V2, Group: group1})
	r.said("query general v3 from 192.0.2.1", "report 239.1.2.3 v2 from 192.0.2.10", "join 239.1.2.3 v2 from 192.0.2.10")
	r.wait(100 * time.Second)
	r.hear(sourceA, &Report{Version: V2, Group: group1})
	r.hear(sourceA, &Leave{Group: group1})
	r.said("report 239.1.2.3 v2 from 192.0.2.10", "leave 239.1.2.3 v2 from 192.0.2.10")
	r.hear(sourceB, &Report{Version: V3, Records: []Record{
		{Type: ChangeToInclude, Group: group1, Sources: []netip.Addr{sourceA, routerAddr}},
		{Type: 9, Group: alias1}, {Type: ModeIsExclude, Group: alias1, Sources: []netip.Addr{sourceA}},
	}})
	r.said(
		"report (192.0.2.10,239.1.2.3) to_in v3 from 192.0.2.11", "join (192.0.2.10,239.1.2.3) to_in v3 from 192.0.2.11",
		"report (192.0.2.1,239.1.2.3) to_in v3 from 192.0.2.11", "join (192.0.2.1,239.1.2.3) to_in v3 from 192.0.2.11",
		"report 238.129.2.3 type9 v3 from 192.0.2.11",
		"report 238.129.2.3 is_ex [192.0.2.10] v3 from 192.0.2.11", "join 238.129.2.3 is_ex [192.0.2.10] v3 from 192.0.2.11")
	r.hear(sourceB, &Report{Version: V3, Records: []Record{{Type: BlockOldSources, Group: group1, Sources: []netip.Addr{routerAddr}}}})
	r.said("leave (192.0.2.1,239.1.2.3) block v3 from 192.0.2.11")
	if all := r.m.Members(); len(all) != 2 || all[0].Group != alias1 || len(all[0].Excluded) != 1 || all[1].Source != sourceA {
		t.Errorf("members %+v", all)
	}
	r.wait(259 * time.Second)
	r.said()
	r.wait(time.Second)
	r.said("expire 238.129.2.3 v3 from 192.0.2.11", "expire (192.0.2.10,239.1.2.3) v3 from 192.0.2.11")
	if len(r.m.Members()) != 0 || len(r.m.groups) != 0 {
		t.Error("something is left")
	}
}

func TestMonitor_SuppressedHostsStayMembers(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	r.hear(sourceA, &Report{Version: V2, Group: group1})
	r.wait(200 * time.Second)
	r.hear(sourceB, &Report{Version: V2, Group: group1})
	r.text = nil
	r.wait(259 * time.Second)
	r.said() // A was silent for 459 s, but B's report may have silenced it
	if all := r.m.Members(); len(all) != 2 || !all[0].Suppressed || all[1].Suppressed {
		t.Errorf("%+v", all)
	}
	r.wait(time.Second)
	r.said("expire 239.1.2.3 v2 from 192.0.2.10", "expire 239.1.2.3 v2 from 192.0.2.11")
}

func TestMonitor_ReadsTheTimersFromTheWire(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	r.hear(routerAddr, &Query{Version: V3, MaxResponse: 2 * time.Second, Robustness: 3, Interval: 10 * time.Second})
	r.hear(sourceA, &Report{Version: V2, Group: group1})
	r.text = nil
	q, ok := r.m.Querier(false)
	if !ok || q.Addr != routerAddr || q.Querier.Membership() != 32*time.Second || q.Querier.Present() != 31*time.Second {
		t.Errorf("%+v, %t", q, ok)
	}
	r.wait(32 * time.Second)
	r.said("expire 239.1.2.3 v2 from 192.0.2.10")
	if _, ok := r.m.Querier(false); ok {
		t.Error("a querier that is silent for 31 s is still there")
	}
}

func TestMonitor_WhoWouldWin(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	for _, a := range []string{"0.0.0.0", "169.254.0.1", "192.0.2.9", "192.0.2.4", "192.0.2.7", "fe80::9", "fe80::2"} {
		r.hear(netip.MustParseAddr(a), general3)
	}
	four, _ := r.m.Querier(false)
	six, _ := r.m.Querier(true)
	if four.Addr != netip.MustParseAddr("192.0.2.4") || six.Addr != netip.MustParseAddr("fe80::2") {
		t.Errorf("%v, %v", four.Addr, six.Addr)
	}
	if st := r.m.Stats(); st.ZeroSourceQueries != 1 || st.LinkLocalSource != 1 {
		t.Errorf("%+v", st)
	}
	proxy := newMonitorRig(t, MonitorConfig{})
	proxy.hear(netip.IPv4Unspecified(), general3)
	if q, ok := proxy.m.Querier(false); !ok || !q.Addr.IsUnspecified() {
		t.Errorf("a switch that asks alone: %+v, %t", q, ok)
	}
}

func TestMonitor_LeavesAreAnsweredOrNot(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	r.hear(routerAddr, general3)
	r.hear(sourceA, &Leave{Group: group1})
	r.wait(time.Second)
	r.hear(routerAddr, &Query{Version: V3, Group: group1, MaxResponse: time.Second, Robustness: 2, Interval: 125 * time.Second})
	r.hear(sourceB, &Report{Version: V3, Records: []Record{{Type: ChangeToInclude, Group: alias1}}})
	r.wait(LeaveAnswer)
	st, leaves := r.m.Stats(), r.m.Leaves()
	if st.LeavesAnswered != 1 || st.LeavesUnanswered != 1 || len(leaves) != 2 || leaves[0].Answered.Sub(leaves[0].At) != time.Second || !leaves[1].Answered.IsZero() {
		t.Errorf("%+v\n%+v", st, leaves)
	}
}

func TestMonitor_CountsMistakesByHost(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	ip, err := Packet{Src: sourceA, Dst: group1, TTL: 64, Message: &Report{Version: V2, Group: group1}}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := ethernet(HardwareAddr{2, 0, 0, 0, 0, 7}, group1, 0, ip)
	r.m.HandleFrame(r.now, f)
	f[len(f)-1] ^= 1
	r.m.HandleFrame(r.now, f)
	ip, _ = NewPacket(sourceA, allSystems4, &Query{Version: V2, Group: group1, MaxResponse: time.Second}).Append(nil)
	r.m.HandleFrame(r.now, ethernet(HardwareAddr{2, 0, 0, 0, 0, 7}, allSystems4, 0, ip))
	hosts := r.m.Hosts()
	if want := (HostMistakes{TTL: 1, RouterAlert: 1, Destination: 1, Malformed: 1}); len(hosts) != 1 || hosts[0].Wrong != want || hosts[0].HardwareAddr[5] != 7 {
		t.Errorf("%+v", hosts)
	}
}

func TestMonitor_FlowsBesideMembers(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{})
	for range 3 {
		r.m.HandleFrame(r.now, udpFrame(sourceA, group1, 0))
	}
	r.m.HandleFrame(r.now, udpFrame(sourceB, group1, 7))
	r.m.HandleFrame(r.now, udpFrame(hostAddr(1, true), group6, 0))
	fl := r.m.Flows()
	if len(fl) != 2 || fl[0].Packets != 4 || len(fl[0].Sources) != 2 || fl[1].Group != group6 {
		t.Errorf("%+v", fl)
	}
}

func TestMonitor_Bounds(t *testing.T) {
	r := newMonitorRig(t, MonitorConfig{Members: 10, Hosts: 5, Flows: 3})
	for i := range 2 * maxLeaves {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		g := netip.AddrFrom4([4]byte{239, 1, byte(i >> 8), byte(i)})
		r.m.HandleFrame(r.now, messageFrame(t, a, 0, &Report{Version: V2, Group: g}))
		r.m.HandleFrame(r.now, messageFrame(t, a, 0, &Leave{Group: group1}))
		r.m.HandleFrame(r.now, udpFrame(a, g, 0))
	}
	for range maxMonitorEvents {
		r.m.HandleFrame(r.now, messageFrame(t, sourceA, 0, general3))
	}
	st := r.m.Stats()
	if len(r.m.Members()) != 10 || len(r.m.Hosts()) != 5 || len(r.m.Flows()) != 3 || len(r.m.Leaves()) != maxLeaves || len(r.m.Events()) != maxMonitorEvents ||
		st.MembersFull == 0 || st.HostsFull == 0 || st.FlowsFull == 0 || st.EventsLost == 0 {
		t.Errorf("%+v", st)
	}
}

func FuzzMonitor(f *testing.F) {
	f.Add(messageFrame(f, routerAddr, 0, general3), messageFrame(f, sourceA, 0, &Report{Version: V2, Group: group1}))
	f.Add(messageFrame(f, sourceA, 0, &Leave{Group: group1}), udpFrame(sourceA, group1, 0))
	f.Add(messageFrame(f, router6, 0, general3), messageFrame(f, sourceA, 0, &Report{Version: V3, Records: []Record{{Type: BlockOldSources, Group: group1, Sources: []netip.Addr{sourceB}}}}))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m, now := NewMonitor(snoopStart, MonitorConfig{Members: 4, Hosts: 2, Flows: 2}), snoopStart
		for i := range 8 {
			now = now.Add(time.Duration(i) * 20 * time.Second)
			m.HandleFrame(now, [][]byte{a, b}[i&1])
			for _, e := range m.Events() {
				_ = e.String()
			}
			m.Querier(i&2 != 0)
			if len(m.Members()) > 4 || len(m.Hosts()) > 2 || len(m.groups) > 4 {
				t.Fatal("bounds do not hold")
			}
		}
	})
}
