package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/aether-lan/aether/internal/netlab"
)

// TestMdnsConform_KnowsAvahisFaults: the checks are honest enough to find what is known
// of Avahi (reference implementations elsewhere: avahi#546, #117).
func TestMdnsConform_KnowsAvahisFaults(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute; run without -short")
	}
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 1}), l, "a", "b")
	bin := buildAether(t)
	av := startAvahi(t, hosts[0], "box")
	c := hosts[1].Command(bin, "mdns", "conform", "Wiki._http._tcp.local", "-4", "--ask", "--json",
		"--only", "unique-reply", "--only", "negative", "--only", "additional", "--only", "legacy", "--only", "probing", "--only", "tie-break-lost")
	publish := func() *running {
		pub := launch(t, av.command("avahi-publish", "-s", "Wiki", "_http._tcp", "8080", "path=/"))
		pub.want(t, "Established|picking new name", 10*time.Second)
		return pub
	}
	pub := publish()
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs output
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	verdicts := map[string]string{}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var e struct {
			Event, Check, Verdict string
			Notes                 []string
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		switch e.Event {
		case "restart":
			pub.Process.Kill()
			pub.Wait()
			pub = launch(t, av.command("avahi-publish", "-s", "Wiki", "_http._tcp", "8080", "path=/"))
		case "result":
			verdicts[e.Check] = e.Verdict + " " + strings.Join(e.Notes, "; ")
			t.Logf("%s: %s: %q", e.Check, e.Verdict, e.Notes)
		}
	}
	_ = c.Wait()
	for check, want := range map[string]string{
		"unique-reply": "^pass|^warning", "negative": "^fail.*no NSEC", "additional": "^warning.*among the answers", "legacy": "^pass|^warning",
		"probing": "not a QU question", "tie-break-lost": "^fail.*(takes the name|probes again|announces)",
	} {
		if !regexp.MustCompile(want).MatchString(verdicts[check]) {
			t.Errorf("%s: %s, want %s\n%s", check, verdicts[check], want, errs.String())
		}
	}
}

// Subtypes, types and names with everything in them, both ways.
func TestDnssd_SubtypesTypesAndNamesWithAvahi(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 2}), l, "a", "b")
	bin := buildAether(t)
	av := startAvahi(t, hosts[0], "box")
	odd := `Dr. No's Büro (3);\2`
	reg := launch(t, hosts[1].Command(bin, "dnssd", "register", odd, "_http._tcp", "80", "bin=@hex:3b41", "--subtype", "_docs", "-4"))
	reg.want(t, `registered`, 8*time.Second)
	pub := launch(t, av.command("avahi-publish", "-s", odd, "_ftp._tcp", "21", "--subtype=_mirror._sub._ftp._tcp"))
	pub.want(t, `Established`, 8*time.Second)

	escaped := `Dr\.\032No\039s\032B\195\188ro\032\0403\041\059\\2`
	if got := outputOf(t, av.command("avahi-browse", "-pt", "_docs._sub._http._tcp")); !strings.Contains(got, "+;eth0;IPv4;"+escaped+";") {
		t.Errorf("Avahi finds by subtype\n%s", got)
	}
	if got := outputOf(t, hosts[1].Command(bin, "dnssd", "browse", "_mirror._sub._ftp._tcp", "-pt", "-4")); !strings.Contains(got, "+;eth0;IPv4;"+escaped+";") {
		t.Errorf("aether finds by subtype\n%s", got)
	}
	for _, c := range []*netlab.Cmd{av.command("avahi-browse", "-patk"), hosts[1].Command(bin, "dnssd", "types", "-t", "-4")} {
		if got := outputOf(t, c); !strings.Contains(got, "_http._tcp") || !strings.Contains(got, "_ftp._tcp") {
			t.Errorf("%v lists\n%s", c.Args, got)
		}
	}
	// The lines that programs read are the same, but for what is escaped in texts.
	ours := outputOf(t, hosts[1].Command(bin, "dnssd", "browse", "_ftp._tcp", "-rpt", "-4"))
	theirs := outputOf(t, av.command("avahi-browse", "-rpt", "_http._tcp"))
	for _, line := range []string{"=;eth0;IPv4;" + escaped + ";_ftp._tcp;local;box.local;192.0.2.1;21;"} {
		if !strings.Contains(ours, line) {
			t.Errorf("aether prints\n%swant %s", ours, line)
		}
	}
	if !regexp.MustCompile(`=;eth0;IPv4;` + regexp.QuoteMeta(escaped) + `;[^;]*;local;[^;]*\.local;192\.0\.2\.2;80;`).MatchString(theirs) {
		t.Errorf("Avahi prints\n%s", theirs)
	}
}

// aether holds the names: Avahi takes others, of the host and of a service.
func TestMdns_AvahiGivesWay(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 3}), l, "a", "b")
	bin := buildAether(t)
	claim := launch(t, hosts[1].Command(bin, "mdns", "claim", "box", "-4"))
	claim.want(t, `claimed box\.local`, 8*time.Second)
	reg := launch(t, hosts[1].Command(bin, "dnssd", "register", "Disk", "_webdav._tcp", "80", "-4"))
	reg.want(t, `registered`, 8*time.Second)
	av := startAvahi(t, hosts[0], "box")
	if !av.log.waitFor(regexp.MustCompile(`box-2\.local`), 10*time.Second) {
		t.Errorf("Avahi keeps the name: %s", av.log)
	}
	pub := launch(t, av.command("avahi-publish", "-s", "Disk", "_webdav._tcp", "81"))
	pub.want(t, `picking new name 'Disk #2'|Disk #2`, 10*time.Second)
	if s := claim.out.String() + reg.out.String(); strings.Contains(s, "renamed") {
		t.Errorf("aether gave way:\n%s", s)
	}
}

// A service name that Avahi holds: aether's instance becomes "Disk (2)".
func TestDnssd_AvahiHoldsTheInstance(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, ports := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 4}), l, "a", "b")
	bin := buildAether(t)
	av := startAvahi(t, hosts[0], "box")
	pub := launch(t, av.command("avahi-publish", "-s", "Disk", "_webdav._tcp", "80"))
	pub.want(t, `Established`, 8*time.Second)
	reg := launch(t, hosts[1].Command(bin, "dnssd", "register", "Disk", "_webdav._tcp", "81", "-4"))
	reg.want(t, `renamed Disk to Disk \(2\)`, 10*time.Second)
	reg.want(t, `registered Disk \(2\)`, 10*time.Second)
	// A browser behind 5 % loss finds both.
	for _, p := range ports {
		p.SetFaults(netlab.Faults{Loss: 0.05})
	}
	if got := outputOf(t, hosts[1].Command(bin, "dnssd", "browse", "_webdav._tcp", "--wait-for", "2", "--timeout", "20s", "-4")); strings.Count(got, "+ eth0") != 2 {
		t.Errorf("behind 5 %% loss:\n%s", got)
	}
}

// dnsCount counts mDNS packets on a switch, by sender.
type dnsCount struct{ responses, queries, answered atomic.Int32 }

func (n *dnsCount) observe(from netip.Addr) func(time.Time, *netlab.Port, []byte) {
	return func(_ time.Time, _ *netlab.Port, frame []byte) {
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Lazy)
		ip, ok := p.NetworkLayer().(*layers.IPv4)
		udp, isUDP := p.TransportLayer().(*layers.UDP)
		if !ok || !isUDP || udp.DstPort != 5353 || len(udp.Payload) < 12 {
			return
		}
		if a, _ := netip.AddrFromSlice(ip.SrcIP); a != from {
			return
		}
		if udp.Payload[2]&0x80 == 0 {
			n.queries.Add(1)
		} else if n.responses.Add(1); udp.Payload[7] > 0 {
			n.answered.Add(1)
		}
	}
}

// Who asks what it knows already gets no answer: Avahi is silent to a second browser of
// ours that lists the answer, and ours to Avahi's.
func TestDnssd_KnownAnswersKeepAvahiSilent(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	sw := l.Switch(netlab.SwitchConfig{Seed: 5})
	hosts, _ := addressed(t, sw, l, "a", "b")
	bin := buildAether(t)
	av := startAvahi(t, hosts[0], "box")
	pub := launch(t, av.command("avahi-publish", "-s", "Disk", "_webdav._tcp", "80"))
	pub.want(t, `Established`, 8*time.Second)
	outputOf(t, hosts[1].Command(bin, "mdns", "monitor", "--timeout", "5s", "-4")) // Avahi announces three times
	browse := launch(t, hosts[1].Command(bin, "dnssd", "browse", "_webdav._tcp", "-4", "--explain"))
	browse.want(t, `\+ eth0 .*Disk`, 8*time.Second)
	browse.want(t, `_webdav[^\n]* sent`, 4*time.Second)
	var theirs, ours dnsCount
	sw.Observe(theirs.observe(netip.MustParseAddr("192.0.2.1")))
	sw.Observe(ours.observe(netip.MustParseAddr("192.0.2.2")))
	// The second question of the series comes a second after the first, the third two
	// seconds later, each with the known answer.
	browse.want(t, `(?s)(_webdav[^\n]* sent.*){3}`, 10*time.Second)
	if ours.queries.Load() == 0 || theirs.answered.Load() > 0 {
		t.Errorf("%d questions of ours, %d answers of Avahi's to what is known", ours.queries.Load(), theirs.answered.Load())
	}
}

// A plain resolver gets an answer that it takes for one, with a short life.
func TestMdns_LegacyQueryFromDig(t *testing.T) {
	t.Parallel()
	needPeer(t, "bind9-dnsutils", "dig")
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 6}), l, "a", "b")
	claim := launch(t, hosts[0].Command(buildAether(t), "mdns", "claim", "box", "-4"))
	claim.want(t, `claimed box\.local`, 8*time.Second)
	// To the group itself this dig would ask from a connected socket, which hears nobody
	// but the group; the check "legacy" of mdns conform asks as other resolvers do.
	got := outputOf(t, hosts[1].Command("dig", "@192.0.2.1", "-p", "5353", "box.local", "A", "+tries=1", "+time=3"))
	m := regexp.MustCompile(`box\.local\.\s+(\d+)\s+IN\s+A\s+192\.0\.2\.1`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("no answer:\n%s", got)
	}
	if ttl, err := strconv.Atoi(m[1]); err != nil || ttl > 10 {
		t.Errorf("TTL %s, RFC 6762 section 6.7 allows 10", m[1])
	}
}

// Two interfaces of one machine on one switch: its names stay, and it does not talk to
// itself.
func TestMdns_TwoInterfacesOnOneLink(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	sw := l.Switch(netlab.SwitchConfig{Seed: 7})
	two, other := l.Host("two"), l.Host("other")
	for i := range 2 {
		ifi := fmt.Sprint("eth", i)
		two.Attach(sw, ifi)
		two.AddAddr(ifi, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
	}
	other.Attach(sw, "eth0")
	other.AddAddr("eth0", netip.MustParsePrefix("192.0.2.9/24"))
	bin := buildAether(t)
	claim := launch(t, two.Command(bin, "mdns", "claim", "box", "-4"))
	claim.want(t, `claimed box\.local`, 8*time.Second)
	reg := launch(t, two.Command(bin, "dnssd", "register", "Disk", "_webdav._tcp", "80", "-4"))
	reg.want(t, `registered Disk`, 10*time.Second)
	var n [2]dnsCount
	for i := range n {
		sw.Observe(n[i].observe(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})))
	}
	got := outputOf(t, other.Command(bin, "mdns", "resolve", "box", "-4"))
	if !strings.Contains(got, "192.0.2.1") || !strings.Contains(got, "192.0.2.2") {
		t.Errorf("resolved to\n%s", got)
	}
	// Silence after the announcements: a monitor hears nothing for five seconds.
	before := n[0].responses.Load() + n[1].responses.Load()
	outputOf(t, other.Command(bin, "mdns", "monitor", "--timeout", "5s", "-4"))
	if more := n[0].responses.Load() + n[1].responses.Load() - before; more > 8 {
		t.Errorf("%d responses in five quiet seconds", more)
	}
	if s := claim.out.String() + reg.out.String(); strings.Contains(s, "renamed") || strings.Contains(s, "conflict") {
		t.Errorf("it fights itself:\n%s", s)
	}
}
