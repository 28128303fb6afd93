package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/aether-lan/aether/internal/netlab"
)

// buildAether builds the command as a user would and returns its path.
func buildAether(t testing.TB) string {
	t.Helper()
	bin, err := builtOnce()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// builtOnce builds it for the first that asks, in the directory that TestMain removes.
var builtOnce = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(builtIn, "aether")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// builtIn is the directory of what tests build.
var builtIn string

// twoMachinesAndACable is the lab of the story: two hosts whose only interface
// has no IPv4 address, on a switch that loses one frame in a hundred.
func twoMachinesAndACable(t *testing.T) (*netlab.Switch, map[string]*netlab.Host) {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 1})
	hosts := map[string]*netlab.Host{}
	for _, name := range []string{"alice", "bob"} {
		h := lab.Host(name)
		h.Attach(sw, "eth0").SetFaultsFromHost(netlab.Faults{Loss: 0.01})
		hosts[name] = h
	}
	return sw, hosts
}

// pattern turns the expected lines into an expression for the whole output, or
// with prefix for the beginning of it.
func pattern(want []string, prefix bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, l := range want {
		if l == "..." {
			b.WriteString(`.*`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(l), `\.\.\.`, `[^\n]*`) + `\n`)
	}
	if !prefix {
		b.WriteString(`\z`)
	}
	return regexp.MustCompile(b.String())
}

// output collects what a running program prints.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) waitFor(re *regexp.Regexp, limit time.Duration) bool {
	end := time.After(limit)
	for {
		o.mu.Lock()
		if re.Match(o.b.Bytes()) {
			o.mu.Unlock()
			return true
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-end:
			return false
		}
	}
}

// TestTwoMachinesWithoutIPv6 is the story where the addresses that the machines give
// themselves are the only ones there are.
func TestTwoMachinesWithoutIPv6(t *testing.T) {
	t.Parallel()
	_, hosts := twoMachinesAndACable(t)
	bin, dir := buildAether(t), t.TempDir()
	for _, h := range hosts {
		h.Sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
	}
	c := hosts["alice"].Command(bin, "store", "init", "--dir", "alice")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := time.Now()
	for _, name := range []string{"alice", "bob"} {
		c := hosts[name].Command(bin, "store", "serve", "--dir", name, "--name", name, "--secret-file", "alice/pool.secret", "--zeroconf", "-i", "eth0", "--webdav", "off", "--json")
		c.Dir = dir
		var out, errs output
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		connected := regexp.MustCompile(`"event":"connected"[^\n]*"address":"169\.254\.`)
		defer func() {
			if !out.waitFor(connected, 30*time.Second) {
				t.Errorf("%s found nobody: %s%s", name, out.String(), errs.String())
			}
			t.Logf("%s connected within %.1f s", name, time.Since(start).Seconds())
			checkServe(t, name, start, &out)
		}()
	}
}

// TestTwoMachinesShareATree is the outcome in full: two machines with bare
// interfaces give themselves addresses and names, find each other, and the Go
// toolchain's own source tree put on one is read back byte for byte on the other,
// while the switch loses 1 % of all frames. The pcap it writes is checked.
func TestTwoMachinesShareATree(t *testing.T) {
	t.Parallel()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	if testing.Short() {
		src = filepath.Join(src, "net")
	}
	sw, hosts := twoMachinesAndACable(t)
	dir := t.TempDir()
	pcap := filepath.Join(dir, "story.pcap")
	capture := sw.Capture(pcap)
	bin := buildAether(t)
	aether := func(host string, args ...string) *netlab.Cmd {
		c := hosts[host].Command(bin, args...)
		c.Dir = dir
		c.Stderr = io.Discard
		return c
	}
	must := func(c *netlab.Cmd) []byte {
		t.Helper()
		var errs bytes.Buffer
		c.Stderr = &errs
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s%s", c.Args[1:], err, out, errs.String())
		}
		return out
	}
	must(aether("alice", "store", "init", "--dir", "alice", "--name", "alice"))
	start := time.Now()
	var outs []*output
	for _, name := range []string{"alice", "bob"} {
		c := aether(name, "store", "serve", "--dir", name, "--name", name, "--secret-file", "alice/pool.secret", "--zeroconf", "-i", "eth0", "--webdav", "off", "--json")
		var out, errs output
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s: %s\n%s", name, out.String(), errs.String())
			}
		})
		outs = append(outs, &out)
		defer checkServe(t, name, start, &out)
		if !out.waitFor(regexp.MustCompile(`"event":"serving"`), 30*time.Second) {
			t.Fatalf("%s does not serve: %s%s", name, out.String(), errs.String())
		}
	}
	must(aether("bob", "store", "status", "--dir", "bob", "--wait-machines", "2", "--timeout", "60s"))
	t.Logf("two machines in the pool after %.1f s", time.Since(start).Seconds())

	start = time.Now()
	must(aether("alice", "store", "put", "-q", "--dir", "alice", src, "/"))
	put := time.Since(start)
	start = time.Now()
	top := "/" + filepath.Base(src)
	must(aether("alice", "store", "flush", "--dir", "alice", "--timeout", "2m"))
	copied := time.Since(start)
	must(aether("bob", "store", "get", "--dir", "bob", top, "back"))
	n, size := compareTrees(t, src, filepath.Join(dir, "back"))
	t.Logf("%d files, %d bytes: put %.1f s, on the other machine %.1f s after that", n, size, put.Seconds(), copied.Seconds())
	for _, out := range outs {
		out.waitFor(regexp.MustCompile(`"event":"address"`), 20*time.Second)
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	checkCapture(t, pcap)
}

// checkServe reads the JSON events of a serving node.
func checkServe(t *testing.T, name string, start time.Time, out *output) {
	// The machines meet over IPv6 before they have tested their IPv4 addresses.
	out.waitFor(regexp.MustCompile(`"event":"address"`), 20*time.Second)
	seen := map[string]map[string]any{}
	for line := range strings.Lines(out.String()) {
		var ev map[string]any
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Errorf("%s: not JSON: %q", name, line)
			continue
		}
		kind := fmt.Sprint(ev["event"])
		if seen[kind] == nil {
			seen[kind] = ev
		}
		if kind == "address" || kind == "named" || kind == "connected" {
			at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(ev["time"]))
			t.Logf("%s: %s after %.1f s (%v)", name, kind, at.Sub(start).Seconds(), err)
		}
	}
	if a := fmt.Sprint(seen["address"]["address"]); !strings.HasPrefix(a, "169.254.") {
		t.Errorf("%s: address %q", name, a)
	}
	if n := fmt.Sprint(seen["named"]["name"]); n != name+".local." && n != name+".local" {
		t.Errorf("%s: name %q", name, n)
	}
	if seen["connected"] == nil {
		t.Errorf("%s: found nobody", name)
	}
}

// compareTrees fails unless both trees hold the same files with the same bytes.
func compareTrees(t *testing.T, want, got string) (files int, size int64) {
	t.Helper()
	sums := func(root string) map[string][sha256.Size]byte {
		m := map[string][sha256.Size]byte{}
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			m[rel] = sha256.Sum256(b)
			size += int64(len(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	w := sums(want)
	size = 0
	g := sums(got)
	for name, sum := range w {
		if g[name] != sum {
			t.Errorf("%s differs or is missing", name)
		}
	}
	if len(g) != len(w) {
		t.Errorf("%d files, want %d", len(g), len(w))
	}
	return len(g), size
}

// checkCapture reads the pcap with gopacket and wants to find the story in it:
// ARP probes, multicast DNS and TLS, and no packet that was in clear.
func checkCapture(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for {
		b, _, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		switch {
		case p.Layer(layers.LayerTypeARP) != nil:
			count["arp"]++
		case p.Layer(layers.LayerTypeUDP) != nil && p.Layer(layers.LayerTypeUDP).(*layers.UDP).DstPort == 5353:
			count["mdns"]++
		case p.Layer(layers.LayerTypeTCP) != nil:
			count["tcp"]++
			if bytes.Contains(p.Layer(layers.LayerTypeTCP).LayerPayload(), []byte("func main() {")) {
				t.Error("a file crossed the wire in clear")
			}
		}
	}
	t.Logf("captured %v", count)
	if count["arp"] < 6 || count["mdns"] < 10 || count["tcp"] < 100 {
		t.Errorf("captured %v: the story is not in it", count)
	}
}
