package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

const bulkLabGroup = "239.255.20.1:9000"

// bulkLab is a sender and receivers on a switch: real processes on real hosts.
type bulkLab struct {
	testing.TB
	bin, dir string
	sw       *netlab.Switch
	hosts    []*netlab.Host
	ports    []*netlab.Port
	content  []byte
}

// newBulkLab makes a lab of n receivers and a sender, which is host 0, with a file
// of size random bytes.
func newBulkLab(t testing.TB, bin string, n, size int) *bulkLab {
	t.Helper()
	l := &bulkLab{TB: t, bin: bin, dir: t.TempDir(), content: make([]byte, size)}
	lab := netlab.New(t)
	l.sw = lab.Switch(netlab.SwitchConfig{Seed: 1})
	names := []string{"sender"}
	for i := range n {
		names = append(names, fmt.Sprintf("r%d", i+1))
	}
	l.hosts, l.ports = addressed(t, l.sw, lab, names...)
	_, _ = rand.Read(l.content)
	if err := os.WriteFile(l.file(), l.content, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range l.hosts {
		if err := os.Mkdir(l.at(i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *bulkLab) file() string    { return filepath.Join(l.dir, "object.bin") }
func (l *bulkLab) at(i int) string { return filepath.Join(l.dir, fmt.Sprint("dir", i)) }

func (l *bulkLab) put(flags ...string) *running {
	l.Helper()
	args := []string{"mcast", "put", l.file(), "-i", "eth0", "--group", bulkLabGroup, "--json"}
	return launch(l, l.hosts[0].Command(l.bin, append(args, flags...)...))
}

func (l *bulkLab) get(i int, flags ...string) *running {
	l.Helper()
	args := []string{"mcast", "get", "-i", "eth0", "--group", bulkLabGroup, "--json", "--dir", l.at(i), "--name", fmt.Sprint("r", i)}
	r := launch(l, l.hosts[i].Command(l.bin, append(args, flags...)...))
	r.want(l, `"listening"`, 10*time.Second)
	return r
}

// same fails the test unless receiver i has the file, and nothing else.
func (l *bulkLab) same(i int) {
	l.Helper()
	b, err := os.ReadFile(filepath.Join(l.at(i), "object.bin"))
	if err != nil || !bytes.Equal(b, l.content) {
		l.Errorf("receiver %d: %d bytes, %v; want the %d that were sent", i, len(b), err, len(l.content))
	}
	l.only(i, "object.bin")
}

// only fails the test if there are other files than those.
func (l *bulkLab) only(i int, names ...string) {
	l.Helper()
	entries, err := os.ReadDir(l.at(i))
	if err != nil {
		l.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if strings.Join(found, " ") != strings.Join(names, " ") {
		l.Errorf("receiver %d has %q, want %q", i, found, names)
	}
}

// bulkSummary is what scripts rely on in the last line of put.
type bulkSummary struct {
	Event             string
	OK, Multicast     bool
	Receivers, Failed int
	Seconds, Ratio    float64
	Sent, Pulled      uint64
	Rate              int64
}

func summaryOf(t testing.TB, r *running) (s bulkSummary) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Event != "summary" {
		t.Fatalf("last line %q: %v", lines[len(lines)-1], err)
	}
	return s
}

// status waits for r and returns its exit status.
func (r *running) status(t testing.TB) int {
	t.Helper()
	late := time.AfterFunc(50*time.Second, func() { _ = r.Process.Kill() })
	defer late.Stop()
	err := r.Wait()
	if err == nil {
		return 0
	}
	if !late.Stop() {
		t.Errorf("%v did not end", r.Args[1:])
		return -1
	}
	var status int
	if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &status); scanErr != nil {
		t.Fatalf("%v: %v\n%s", r.Args[1:], err, r.errs)
	}
	return status
}

// Five machines whose cables lose one frame in twenty; one is cut off in the middle
// and comes back. All have the file, sealed on its way, and the sender says so.
func TestMcastPut_FiveMachinesWithLossAndAPartition(t *testing.T) {
	if testing.Short() {
		t.Skip("a partition takes its time: run without -short")
	}
	t.Parallel()
	l := newBulkLab(t, buildAether(t), 4, 12<<20)
	key := filepath.Join(l.dir, "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("5a", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.ports {
		p.SetFaultsToHost(netlab.Faults{Loss: 0.05})
		p.SetRate(4 << 20)
	}
	var gets []*running
	for i := 1; i <= 4; i++ {
		gets = append(gets, l.get(i, "--key-file", key))
	}
	put := l.put("--receivers", "4", "--key-file", key)
	put.want(t, `"progress"`, 30*time.Second)
	l.sw.Partition(l.ports[:4], l.ports[4:])
	put.want(t, `"evicted".*"r4"`, 60*time.Second)
	l.sw.Heal()
	if s := put.status(t); s != 0 {
		t.Errorf("put ended with %d", s)
	}
	for i, g := range gets {
		if s := g.status(t); s != 0 {
			t.Errorf("receiver %d ended with %d", i+1, s)
		}
		l.same(i + 1)
	}
	s := summaryOf(t, put)
	t.Logf("%+v", s)
	if !s.OK || s.Receivers != 4 || s.Failed != 0 || !s.Multicast {
		t.Errorf("summary %+v", s)
	}
}

// The receiver and then the sender are killed; both are started again and only
// what lacks is sent.
func TestMcastPut_GoesOnAfterCrashes(t *testing.T) {
	if testing.Short() {
		t.Skip("it sends for a while before it crashes: run without -short")
	}
	t.Parallel()
	l := newBulkLab(t, buildAether(t), 2, 16<<20)
	for _, p := range l.ports {
		p.SetRate(4 << 20)
	}
	first, second := l.get(1), l.get(2)
	put := l.put("--receivers", "2")
	first.want(t, `"progress".*"bytes":[3-9]\d{6}`, 30*time.Second)
	_ = first.Process.Kill()
	_ = first.Wait()
	_ = put.Process.Kill()
	_ = put.Wait()
	l.only(1, "object.bin.aether-part", "object.bin.aether-state")
	first = l.get(1)
	put = l.put("--receivers", "2")
	if s := put.status(t); s != 0 {
		t.Errorf("put ended with %d", s)
	}
	for i, g := range []*running{first, second} {
		if s := g.status(t); s != 0 {
			t.Errorf("receiver %d ended with %d", i+1, s)
		}
		l.same(i + 1)
	}
	if s := summaryOf(t, put); s.Ratio > 0.9 {
		t.Errorf("%.2f bytes sent for each of the file, want less: both had some", s.Ratio)
	}
	if !regexp.MustCompile(`"received".*"resumed":[1-9]`).MatchString(first.out.String()) {
		t.Error("the receiver does not say that it went on")
	}
}

// One receiver has no room. It says so and keeps nothing; the other has the file.
func TestMcastPut_AFullDiskEndsOneReceiver(t *testing.T) {
	t.Parallel()
	l := newBulkLab(t, buildAether(t), 2, 6<<20)
	small := filepath.Join(l.dir, "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=4m"); err != nil {
		complain := t.Skipf
		if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
			complain = t.Fatalf
		}
		complain("no tmpfs can be mounted here (%v); run as root", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	l.get(1)
	full := l.get(2, "--dir", small)
	put := l.put("--receivers", "2")
	if s := put.status(t); s != 1 {
		t.Errorf("put ended with %d, want 1", s)
	}
	if s := full.status(t); s != 1 || !strings.Contains(full.out.String(), "not enough space") {
		t.Errorf("the full receiver ended with %d: %s", s, full.out)
	}
	if left, _ := os.ReadDir(small); len(left) != 0 {
		t.Errorf("%d files are left on the full disk", len(left))
	}
	l.same(1)
}
