package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

const shopZone = `$ORIGIN local.
_ipp._tcp               PTR Front\032Office._ipp._tcp
Front\032Office._ipp._tcp SRV 0 0 631 printer
Front\032Office._ipp._tcp TXT "pdl=pdf,text"
printer                 A   192.0.2.9
`

const officeService = `<?xml version="1.0" standalone='no'?>
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group>
  <name replace-wildcards="yes">Back Office on %h</name>
  <service><type>_ipp._tcp</type><port>631</port><txt-record>pdl=text</txt-record></service>
  <service><type>_printer._tcp</type><port>515</port></service>
</service-group>
`

// zeroconfHosts are alice and bob with addresses 192.0.2.1 and 192.0.2.2 on a switch.
func zeroconfHosts(t *testing.T, seed uint64) map[string]*netlab.Host {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: seed})
	hosts := map[string]*netlab.Host{}
	for i, name := range []string{"alice", "bob"} {
		h := lab.Host(name)
		h.Attach(sw, "eth0")
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
		hosts[name] = h
	}
	return hosts
}

// TestZeroconf_Session types what testdata/zeroconf.md shows on two machines.
func TestZeroconf_Session(t *testing.T) {
	t.Parallel()
	hosts := zeroconfHosts(t, 5)
	dir := t.TempDir()
	for name, text := range map[string]string{"shop.zone": shopZone, "office.service": officeService} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/zeroconf.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlocks(string(text))
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	s := session{bin: buildAether(t), start: onHosts(hosts), dir: dir}
	if err := s.run(t, blocks[0].text); err != nil {
		t.Error(err)
	}
}

// TestMdnsConform_OurResponderPasses tests aether dnssd register from another machine,
// restarts included, and looks at what a person, a program and a build server get.
func TestMdnsConform_OurResponderPasses(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes two minutes; run without -short")
	}
	bin := buildAether(t)
	list, err := exec.Command(bin, "mdns", "conform", "--list", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	const links = 3 // they wait most of the time
	var checks [links][]string
	for n, line := range bytes.Split(bytes.TrimSpace(list), []byte("\n")) {
		var e struct{ Check string }
		if err := json.Unmarshal(line, &e); err != nil || e.Check == "" {
			t.Fatalf("%v: %s", err, line)
		}
		checks[n%links] = append(checks[n%links], e.Check)
	}
	if n := len(slices.Concat(checks[:]...)); n < 20 {
		t.Errorf("%d checks", n)
	}
	for n, names := range checks {
		t.Run(fmt.Sprint("link ", n), func(t *testing.T) {
			t.Parallel()
			ourResponderPasses(t, bin, names)
		})
	}
}

// ourResponderPasses has conform try these checks on a link of their own.
func ourResponderPasses(t *testing.T, bin string, names []string) {
	hosts, dir := zeroconfHosts(t, 6), t.TempDir()
	var out output
	start := func() *netlab.Cmd {
		c := hosts["alice"].Command(bin, "dnssd", "register", "Wiki", "_http._tcp", "8080", "path=/", "-4")
		c.Stdout = &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	responder := start()
	defer func() { responder.Process.Kill(); responder.Wait() }()
	if !out.waitFor(regexp.MustCompile(`(?m)^registered`), 10*time.Second) {
		t.Fatal(out.String())
	}
	args := []string{"mdns", "conform", "Wiki._http._tcp.local", "-4", "--ask", "--json", "--junit", filepath.Join(dir, "report.xml"), "--pcap", dir}
	for _, name := range names {
		args = append(args, "--only", name)
	}
	c := hosts["bob"].Command(bin, args...)
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs output
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	results := 0
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
			responder.Process.Signal(os.Interrupt)
			responder.Wait()
			responder = start()
		case "result":
			results++
			if e.Verdict != "pass" {
				t.Logf("%s: %s: %q", e.Check, e.Verdict, e.Notes)
			}
			// A warning may be the machine's: times are real here.
			if e.Verdict == "fail" || e.Verdict == "skip" {
				t.Errorf("%s: %s: %q", e.Check, e.Verdict, e.Notes)
			}
		}
	}
	if status := exitStatus(t, c.Wait()); status != 0 || results != len(names) {
		t.Errorf("status %d, %d results of %q: %s", status, results, names, errs.String())
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.xml"))
	for _, name := range names {
		if err != nil || !bytes.Contains(report, []byte(`name="`+name+`"`)) {
			t.Errorf("%s is not in the report: %v: %s", name, err, report)
		}
	}
}
