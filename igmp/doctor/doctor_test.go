package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
)

var (
	start   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	querier = netip.MustParseAddr("192.0.2.1")
	hostA   = netip.MustParseAddr("192.0.2.10")
	hostB   = netip.MustParseAddr("192.0.2.11")
	groupG  = netip.MustParseAddr("239.1.2.3")
)

// link is what a Monitor hears, on a clock.
type link struct {
	t   *testing.T
	m   *igmp.Monitor
	now time.Time
}

func newLink(t *testing.T) *link {
	return &link{t: t, m: igmp.NewMonitor(start, igmp.MonitorConfig{}), now: start}
}

func (l *link) hear(p igmp.Packet) *link {
	l.t.Helper()
	ip, err := p.Append(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.m.HandleFrame(l.now, igmp.EthernetFrame(igmp.HardwareAddr{2, 0, 0, 0, 0, 7}, ip))
	return l
}

func (l *link) after(d time.Duration) *link {
	l.now = l.now.Add(d)
	l.m.HandleTimeout(l.now)
	return l
}

var (
	all      = netip.MustParseAddr("224.0.0.1")
	routers  = netip.MustParseAddr("224.0.0.2")
	reports3 = netip.MustParseAddr("224.0.0.22")
)

func general(from netip.Addr, v igmp.Version) igmp.Packet {
	q := &igmp.Query{Version: v, MaxResponse: 10 * time.Second}
	if v == igmp.V3 {
		q.Robustness, q.Interval = 2, 125*time.Second
	}
	if v == igmp.V1 {
		q.MaxResponse = 0
	}
	return igmp.NewPacket(from, all, q)
}

func report2(from, group netip.Addr) igmp.Packet {
	return igmp.NewPacket(from, group, &igmp.Report{Version: igmp.V2, Group: group})
}

func report3(from, group netip.Addr, typ igmp.RecordType, sources ...netip.Addr) igmp.Packet {
	return igmp.NewPacket(from, reports3, &igmp.Report{Version: igmp.V3, Records: []igmp.Record{{Type: typ, Group: group, Sources: sources}}})
}

func leave(from, group netip.Addr) igmp.Packet {
	return igmp.NewPacket(from, routers, &igmp.Leave{Group: group})
}

func groupQuery(from, group netip.Addr) igmp.Packet {
	return igmp.NewPacket(from, group, &igmp.Query{Version: igmp.V3, Group: group, MaxResponse: time.Second, Robustness: 2, Interval: 125 * time.Second})
}

// rules returns what was found that is at least so severe.
func rules(d Diagnosis, least Severity) (list []Rule) {
	for _, f := range d.Findings {
		if f.Severity >= least {
			list = append(list, f.Rule)
		}
	}
	slices.Sort(list)
	return list
}

func TestExamine_Verdicts(t *testing.T) {
	udp := func(l *link, group netip.Addr) *link {
		ip := append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0, 192, 0, 2, 10}, group.AsSlice()...)
		l.m.HandleFrame(l.now, igmp.EthernetFrame(igmp.HardwareAddr{2}, append(ip, 0, 9, 0, 9, 0, 8, 0, 0)))
		return l
	}
	wrongTTL := general(querier, igmp.V3)
	wrongTTL.TTL = 64
	noAlert := report2(hostA, groupG)
	noAlert.RouterAlert = false
	linkLocal := netip.MustParseAddr("169.254.7.7")
	badTimers := igmp.NewPacket(querier, all, &igmp.Query{Version: igmp.V3, MaxResponse: 10 * time.Second, Robustness: 1, Interval: 10 * time.Second})
	for _, c := range []struct {
		name    string
		hear    func(l *link)
		verdict Verdict
		rules   string // warnings and worse
		says    string
	}{
		{"nothing heard for a while", func(l *link) { l.after(20 * time.Second) }, Unknown, "", "no querier heard yet"},
		{"nothing heard for long", func(l *link) { l.after(132 * time.Second) }, Unhealthy, "no-querier", "no querier"},
		{"two leaves unanswered", func(l *link) {
			l.hear(report2(hostA, groupG)).hear(leave(hostA, groupG)).after(2 * time.Second).hear(leave(hostA, groupG)).after(2 * time.Second)
		}, Unhealthy, "no-querier", "no querier"},
		{"members without a querier", func(l *link) { l.hear(report2(hostA, groupG)).after(132 * time.Second) }, Unhealthy, "no-querier", "cut off at 12:04:20, in 2m8s"},
		{"a querier", func(l *link) { l.hear(general(querier, igmp.V3)) }, Healthy, "", "192.0.2.1 asks by IGMPv3, every 2m5s, to be answered within 10s, robustness 2; memberships last 4m20s"},
		{"a leave answered", func(l *link) {
			l.hear(leave(hostA, groupG)).after(10 * time.Millisecond).hear(groupQuery(querier, groupG)).after(2 * time.Second)
		}, Healthy, "", "192.0.2.1 asks by IGMPv3, every 2m5s"},
		{"a leave unanswered", func(l *link) {
			l.hear(general(querier, igmp.V3)).hear(leave(hostA, groupG)).after(2 * time.Second)
		}, Healthy, "unanswered-leave", "1 of 1 leaves were not followed"},
		{"a version 1 querier and a channel", func(l *link) {
			l.hear(general(querier, igmp.V1)).hear(report3(hostA, groupG, igmp.AllowNewSources, hostB)).hear(leave(hostA, groupG)).after(5 * time.Second)
		}, Healthy, "old-querier", "nobody can leave"},
		{"a version 2 querier", func(l *link) { l.hear(general(querier, igmp.V2)) }, Healthy, "", "holds all hosts to IGMPv2"},
		{"an old host", func(l *link) { l.hear(general(querier, igmp.V3)).hear(report2(hostA, groupG)) }, Healthy, "old-host", "192.0.2.10 reports 239.1.2.3 by IGMPv2"},
		{"an old host under an old querier", func(l *link) {
			l.hear(general(querier, igmp.V3)).hear(general(hostB, igmp.V2)).hear(report2(hostA, groupG))
		}, Healthy, "", "asked too"},
		{"a proxy", func(l *link) { l.hear(general(netip.IPv4Unspecified(), igmp.V2)) }, Healthy, "proxy-querier", "only a switch asks"},
		{"a link-local querier", func(l *link) { l.hear(general(linkLocal, igmp.V3)) }, Healthy, "link-local", "nobody's for long"},
		{"wrong TTL", func(l *link) { l.hear(wrongTTL) }, Healthy, "wrong-ttl", "TTL other than 1"},
		{"no router alert", func(l *link) { l.hear(general(querier, igmp.V2)).hear(noAlert) }, Healthy, "no-router-alert", "router alert"},
		{"two queriers", func(l *link) {
			l.hear(general(querier, igmp.V3)).after(60 * time.Second).hear(general(hostB, igmp.V3))
		}, Healthy, "two-queriers", "192.0.2.1 and 192.0.2.11 both ask"},
		{"an election", func(l *link) {
			l.hear(general(hostB, igmp.V3)).after(time.Second).hear(general(querier, igmp.V3)).after(60 * time.Second)
		}, Healthy, "", "192.0.2.11 asked too, and is silent"},
		{"odd timers", func(l *link) { l.hear(badTimers) }, Healthy, "timers timers", "cut off when one of its reports is lost"},
		{"the querier has gone", func(l *link) { l.hear(general(querier, igmp.V3)).after(200 * time.Second) }, Healthy, "timers", "no general query for 3m20s"},
		{"a silent member", func(l *link) {
			l.hear(general(querier, igmp.V3)).hear(report3(hostA, groupG, igmp.ModeIsExclude)).after(125 * time.Second).hear(general(querier, igmp.V3)).after(12 * time.Second)
		}, Healthy, "silent-member", "cut off at 12:04:20"},
		{"a flooded group", func(l *link) {
			l.hear(general(querier, igmp.V3)).hear(report3(hostA, netip.MustParseAddr("239.128.0.5"), igmp.ModeIsExclude))
		}, Healthy, "flooded-group", "every port"},
		{"aliases", func(l *link) {
			l.hear(general(querier, igmp.V3)).hear(report3(hostA, groupG, igmp.ModeIsExclude)).hear(report3(hostA, netip.MustParseAddr("238.129.2.3"), igmp.ModeIsExclude))
		}, Healthy, "", "have the Ethernet address 01:00:5e:01:02:03 in common"},
		{"an unwanted flow", func(l *link) { udp(l.hear(general(querier, igmp.V3)), groupG) }, Healthy, "", "239.1.2.3 comes here"},
		{"a flow that is missing", func(l *link) { l.hear(general(querier, igmp.V3)).hear(report3(hostA, groupG, igmp.ModeIsExclude)) }, Healthy, "", "nothing for it came by"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLink(t)
			c.hear(l)
			d := Examine(l.m, false)
			var got, text []string
			for _, r := range rules(d, Warning) {
				got = append(got, string(r))
			}
			for _, f := range d.Findings {
				text = append(text, f.String()+" ["+f.Evidence+"]")
				if f.Severity >= Warning && f.Cure == "" || f.Evidence == "" {
					t.Errorf("without evidence or cure: %+v", f)
				}
			}
			if d.Verdict != c.verdict || strings.Join(got, " ") != c.rules || !strings.Contains(strings.Join(text, "\n"), c.says) {
				t.Errorf("%v, %v\n%s\nwant %v, %s, %q", d.Verdict, got, strings.Join(text, "\n"), c.verdict, c.rules, c.says)
			}
		})
	}
}

func TestExamine_FamiliesAreApart(t *testing.T) {
	l := newLink(t).hear(general(querier, igmp.V3))
	l.hear(igmp.NewPacket(netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1"), &igmp.Query{Version: igmp.V2, MaxResponse: 10 * time.Second}))
	four, six := Examine(l.m, false), Examine(l.m, true)
	if four.Querier.Addr != querier || six.Querier.Addr.String() != "fe80::1" || !strings.Contains(six.Findings[0].Text+six.Findings[1].Text, "MLDv1") {
		t.Errorf("%+v\n%+v", four, six)
	}
	if !four.Settled || four.Verdict != Healthy || six.Verdict != Healthy {
		t.Errorf("%v %v", four.Verdict, six.Verdict)
	}
}

func TestProof_Kinds(t *testing.T) {
	for _, c := range []struct {
		open, alias, group int
		kind               Kind
		severity           Severity
	}{
		{12, 12, 12, Floods, Note}, {0, 12, 12, ByHardwareAddr, Note}, {0, 0, 12, ByAddr, Note}, {0, 0, 0, DropsGroups, Broken},
		{12, 12, 0, DropsGroups, Broken}, {4, 0, 12, Unclear, Warning}, {1, 1, 11, ByAddr, Note}, {0, 5, 12, Unclear, Warning},
	} {
		p := Proof{Counts: []Count{{CardOpen, 12, c.open}, {AliasJoined, 12, c.alias}, {GroupJoined, 12, c.group}}}
		if f := p.Finding(); p.Kind() != c.kind || f.Severity != c.severity || f.Text == "" || f.Evidence == "" {
			t.Errorf("%+v: %v, %+v", c, p.Kind(), f)
		}
	}
	if (Proof{}).Kind() != Unclear {
		t.Error("nothing proves something")
	}
}
