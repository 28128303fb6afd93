package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// needPeer skips the test where a program of another implementation is missing,
// or fails it where AETHER_REQUIRE_PEERS=1 says that it must be there.
func needPeer(t testing.TB, pkgs string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			complain := t.Skipf
			if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
				complain = t.Fatalf
			}
			complain("%s is missing: apt-get install %s", p, pkgs)
		}
	}
}

const busConfig = `<busconfig><type>session</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`

const avahiConfig = `[server]
host-name=%s
use-ipv4=yes
use-ipv6=no
allow-interfaces=eth0
enable-dbus=yes
disallow-other-stacks=no
ratelimit-interval-usec=0
[publish]
publish-workstation=no
publish-hinfo=no
`

// avahi is an Avahi daemon with a message bus of its own in a host.
type avahi struct {
	t    testing.TB
	host *netlab.Host
	bus  string
	log  *output
	pid  int // of the daemon
	runs []*running
}

// startAvahi makes a daemon that offers what is in a directory of .service files, and
// returns when the daemon has claimed its host name.
func startAvahi(t testing.TB, h *netlab.Host, hostname string, services ...string) *avahi {
	t.Helper()
	needPeer(t, "avahi-daemon avahi-utils dbus-daemon", "avahi-daemon", "avahi-browse", "avahi-publish", "avahi-resolve", "dbus-daemon")
	dir, err := os.MkdirTemp("", "avahi") // a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &avahi{t: t, host: h, bus: filepath.Join(dir, "bus")}
	busConf, conf := filepath.Join(dir, "bus.conf"), filepath.Join(dir, "avahi.conf")
	err = errors.Join(
		os.WriteFile(busConf, fmt.Appendf(nil, busConfig, a.bus), 0o644),
		os.WriteFile(conf, fmt.Appendf(nil, avahiConfig, hostname), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	bus := launch(t, h.Command("dbus-daemon", "--config-file="+busConf, "--nofork", "--nopidfile", "--nosyslog", "--print-address=1"))
	bus.want(t, `unix:`, 5*time.Second)
	copies := "true"
	if len(services) > 0 {
		copies = "cp " + services[0] + "/*.service /etc/avahi/services/"
	}
	daemon := a.command("sh", "-c", copies+" && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "+conf)
	run := launch(t, daemon.PrivateDirs("/run", "/etc/avahi/services"))
	run.want(t, `Server startup complete`, 10*time.Second)
	a.log, a.pid, a.runs = run.errs, run.Process.Pid, []*running{run, bus}
	return a
}

// stop ends the daemon and its bus.
func (a *avahi) stop() {
	for _, r := range a.runs {
		_ = r.Process.Kill()
		_ = r.Wait()
	}
}

func (a *avahi) command(name string, args ...string) *netlab.Cmd {
	c := a.host.Command(name, args...)
	c.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+a.bus, "LC_ALL=C")
	return c
}

// running is a program in a host and what it has written so far.
type running struct {
	*netlab.Cmd
	out, errs *output
}

// launch runs c and shows its output if the test fails.
func launch(t testing.TB, c *netlab.Cmd) *running {
	t.Helper()
	r := &running{c, &output{}, &output{}}
	c.Stdout, c.Stderr = r.out, r.errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v\n%s%s", c.Args, r.out, r.errs)
		}
	})
	return r
}

// want waits until the program has written what matches re to either stream.
func (r *running) want(t testing.TB, re string, limit time.Duration) {
	t.Helper()
	both := regexp.MustCompile(re)
	done := make(chan bool, 2)
	for _, o := range []*output{r.out, r.errs} {
		go func() { done <- o.waitFor(both, limit) }()
	}
	for range cap(done) {
		if <-done {
			return
		}
	}
	t.Fatalf("%v did not write %s within %v", r.Args[1:], re, limit)
}

// interrupt presses Ctrl-C and wants the program to end with status 0.
func (r *running) interrupt(t *testing.T) {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); err != nil {
		t.Errorf("%v after an interrupt: %v\n%s", r.Args[1:], err, r.errs)
	}
}

// event is what the tests read in a line of a zeroconf command.
type event struct {
	Event, Name, Instance, Host, Address string
	Time                                 time.Time
	Port                                 int
	Addresses                            []string
	TXT                                  map[string]*string
}

func eventsOf(t *testing.T, s string) (list []event) {
	t.Helper()
	for line := range strings.Lines(s) {
		var e event
		if !strings.HasSuffix(line, "\n") {
			break // it is still being written
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, e)
	}
	return list
}

// addressed makes hosts with 192.0.2.1 and so on, on one switch.
func addressed(t testing.TB, sw *netlab.Switch, l *netlab.Lab, names ...string) (hosts []*netlab.Host, ports []*netlab.Port) {
	t.Helper()
	for i, name := range names {
		h := l.Host(name)
		ports = append(ports, h.Attach(sw, "eth0"))
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
		hosts = append(hosts, h)
	}
	return hosts, ports
}

// outputOf runs a command that must end with status 0.
func outputOf(t testing.TB, c *netlab.Cmd) string {
	t.Helper()
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", c.Args, err, out, errs.String())
	}
	return string(out)
}

// Avahi holds box.local: aether takes box-2, and each resolves both names.
func TestMdnsClaim_AvahiHoldsTheName(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 1}), l, "a", "b")
	bin := buildAether(t)
	av := startAvahi(t, hosts[0], "box")
	claim := launch(t, hosts[1].Command(bin, "mdns", "claim", "box", "-i", "eth0", "-4", "--json"))
	claim.want(t, `"claimed".*"box-2\.local"`, 8*time.Second)
	var kinds []string
	for _, e := range eventsOf(t, claim.out.String()) {
		kinds = append(kinds, e.Event)
	}
	if s := strings.Join(kinds, " "); !regexp.MustCompile(`^probe( probe)* conflict renamed probe probe probe claimed$`).MatchString(s) {
		t.Errorf("events %s", s)
	}
	for name, want := range map[string]string{"box.local": "192.0.2.1", "box-2.local": "192.0.2.2"} {
		if got := outputOf(t, av.command("avahi-resolve", "-4", "-n", name)); got != name+"\t"+want+"\n" {
			t.Errorf("Avahi resolves %s to %q", name, got)
		}
		if got := outputOf(t, hosts[1].Command(bin, "mdns", "resolve", name, "-4")); got != name+"\t"+want+"\n" {
			t.Errorf("aether resolves %s to %q", name, got)
		}
	}
	claim.interrupt(t)
	if !strings.Contains(claim.out.String(), `"goodbye"`) {
		t.Error("no goodbye")
	}
}

// Each side browses what the other registers; a goodbye is seen at once.
func TestDnssd_WithAvahi(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 1}), l, "a", "b")
	bin := buildAether(t)
	av := startAvahi(t, hosts[0], "box")
	reg := launch(t, hosts[1].Command(bin, "dnssd", "register", "My Printer", "_ipp._tcp", "631", "path=/a b", "flag", "-i", "eth0", "-4", "--json"))
	reg.want(t, `"registered"`, 8*time.Second)
	got := outputOf(t, av.command("avahi-browse", "-rpt", "_ipp._tcp"))
	for _, want := range []string{`=;eth0;IPv4;My\032Printer;`, `;192.0.2.2;631;`, `"path=/a b"`, `"flag"`} {
		if !strings.Contains(got, want) {
			t.Errorf("avahi-browse does not show %s:\n%s", want, got)
		}
	}

	watch := launch(t, av.command("avahi-browse", "-p", "_ipp._tcp"))
	watch.want(t, `\+;eth0;IPv4;My\\032Printer`, 4*time.Second)
	stop := time.Now()
	reg.interrupt(t)
	watch.want(t, `-;eth0;IPv4;My\\032Printer`, 4*time.Second)
	t.Logf("gone from Avahi %v after Ctrl-C", time.Since(stop))

	pub := launch(t, av.command("avahi-publish", "-s", "Disk", "_webdav._tcp", "80", "path=/x"))
	pub.want(t, `Established`, 8*time.Second)
	var found *event
	for _, e := range eventsOf(t, outputOf(t, hosts[1].Command(bin, "dnssd", "browse", "_webdav._tcp", "-r", "-t", "-4", "--json"))) {
		found = &e
	}
	if found == nil || found.Instance != "Disk" || found.Port != 80 || fmt.Sprint(found.Addresses) != "[192.0.2.1]" || found.TXT["path"] == nil || *found.TXT["path"] != "/x" {
		t.Errorf("aether browses %+v", found)
	}
}

// Both implementations on one machine share port 5353; a third machine hears both.
func TestMdns_BesideAvahiOnOneHost(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, _ := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 1}), l, "a", "b")
	bin := buildAether(t)
	startAvahi(t, hosts[0], "box")
	claim := launch(t, hosts[0].Command(bin, "mdns", "claim", "other", "-i", "eth0", "-4", "--json"))
	claim.want(t, `"claimed".*"other\.local"`, 8*time.Second)
	for _, name := range []string{"box.local", "other.local"} {
		if got := outputOf(t, hosts[1].Command(bin, "mdns", "resolve", name, "-4")); got != name+"\t192.0.2.1\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
	claim.interrupt(t)
}
