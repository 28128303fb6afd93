package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// mcastLine is what scripts rely on in the lines of the mcast commands.
type mcastLine struct {
	Event       string
	Time        time.Time
	From        string
	Group       string
	Path        string
	Format      string
	Verdict     string
	Seq         uint64
	RTT         json.RawMessage `json:"rtt_ms"`
	Hops        *int
	Sent        uint64
	Received    uint64
	Lost        uint64
	Duplicate   uint64
	Reordered   uint64
	KernelDrops uint64 `json:"kernel_drops"`
	Restarted   bool
}

func mcastLines(t testing.TB, out []byte) (all []mcastLine) {
	t.Helper()
	for _, b := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		var l mcastLine
		if err := json.Unmarshal(b, &l); err != nil || l.Event == "" || l.Time.IsZero() {
			t.Fatalf("line %q: %v", b, err)
		}
		all = append(all, l)
	}
	return all
}

// ofEvent returns the lines of one event.
func ofEvent(all []mcastLine, event string) (found []mcastLine) {
	for _, l := range all {
		if l.Event == event {
			found = append(found, l)
		}
	}
	return found
}

// noMulticast is a switch that holds multicast of a user's groups back from the ports
// for which it is told to, as one without a querier does.
type noMulticast struct{ from, to atomic.Pointer[netlab.Port] }

func (n *noMulticast) Forward(_ time.Time, in *netlab.Port, frame []byte, all, out []*netlab.Port) []*netlab.Port {
	if frame[0] != 0x01 || frame[3] != 0x7f { // 01:00:5e:7f is 239.255.0.0/16
		return append(out, all...)
	}
	if in == n.from.Load() {
		return out
	}
	for _, p := range all {
		if p != n.to.Load() {
			out = append(out, p)
		}
	}
	return out
}

// mcastLab is three hosts on a switch, with addresses 192.0.2.1 to 3.
type mcastLab struct {
	bin   string
	lab   *netlab.Lab
	fw    *noMulticast
	hosts [3]*netlab.Host
	ports [3]*netlab.Port
}

func newMcastLab(t *testing.T) *mcastLab {
	t.Helper()
	m := &mcastLab{bin: buildAether(t), lab: netlab.New(t), fw: &noMulticast{}}
	sw := m.lab.Switch(netlab.SwitchConfig{Seed: 1, Forwarder: m.fw})
	for i, name := range []string{"a", "b", "c"} {
		m.hosts[i] = m.lab.Host(name)
		m.ports[i] = m.hosts[i].Attach(sw, "eth0")
		m.hosts[i].AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
	}
	return m
}

func (m *mcastLab) command(host int, args ...string) *netlab.Cmd {
	return m.hosts[host].Command(m.bin, append([]string{"mcast"}, args...)...)
}

// background is a command that runs beside the test.
type background struct {
	*netlab.Cmd
	lines *bufio.Scanner
	errs  bytes.Buffer
	heard []mcastLine // so far
}

// start starts a command and waits until it has printed its first line.
func (m *mcastLab) start(t *testing.T, host int, args ...string) *background {
	t.Helper()
	b := &background{Cmd: m.command(host, append(args, "--json")...)}
	b.Stderr = &b.errs
	out, err := b.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	b.lines = bufio.NewScanner(out)
	b.await(t, func(mcastLine) bool { return true })
	return b
}

// await reads lines until one is what is waited for.
func (b *background) await(t *testing.T, want func(mcastLine) bool) {
	t.Helper()
	for b.lines.Scan() {
		l := mcastLines(t, b.lines.Bytes())[0]
		if b.heard = append(b.heard, l); want(l) {
			return
		}
	}
	t.Fatalf("%v ended too soon: %v %s", b.Args, b.Wait(), b.errs.String())
}

// wait waits for the command to end and returns its lines and exit status.
func (b *background) wait(t *testing.T) ([]mcastLine, int) {
	t.Helper()
	for b.lines.Scan() {
		b.heard = append(b.heard, mcastLines(t, b.lines.Bytes())[0])
	}
	return b.heard, exitStatus(t, b.Wait())
}

// stop interrupts the command and waits for it.
func (b *background) stop(t *testing.T) ([]mcastLine, int) {
	t.Helper()
	if err := b.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	return b.wait(t)
}

// Two senders on one group and on several, one receiver behind a cable that loses one
// frame in ten: each receiver tells for each sender what it lost.
func TestMcast_SendAndReceive(t *testing.T) {
	t.Parallel()
	m := newMcastLab(t)
	m.ports[2].SetFaultsToHost(netlab.Faults{Loss: 0.1})
	good := m.start(t, 1, "recv", "-i", "eth0", "239.255.1.1+3")
	lossy := m.start(t, 2, "recv", "239.255.1.1+3")
	first := m.start(t, 0, "send", "-f", "2", "-c", "300", "239.255.1.1+3")
	if out, err := m.command(1, "send", "-f", "2", "-c", "300", "-q", "--json", "239.255.1.2", "-i", "eth0").Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sentLines, status := first.wait(t)
	if l := ofEvent(sentLines, "summary"); status != 0 || len(l) != 3 || l[0].Sent != 300 {
		t.Errorf("the sender's summaries: %+v, status %d", l, status)
	}
	for name, b := range map[string]*background{"good": good, "lossy": lossy} {
		ends := 0
		b.await(t, func(l mcastLine) bool {
			if l.Event == "ended" {
				ends++
			}
			return ends == 4
		})
		all, status := b.stop(t)
		sums := ofEvent(all, "summary")
		if status != 0 || len(sums) != 4 {
			t.Fatalf("%s: status %d, summaries %+v, %s", name, status, sums, b.errs.String())
		}
		var sent, lost uint64
		for _, s := range sums {
			if s.From != "192.0.2.1" && s.From != "192.0.2.2" || s.Sent != 300 || s.Received+s.Lost != s.Sent || s.Hops == nil || *s.Hops != 0 {
				t.Errorf("%s: %+v", name, s)
			}
			sent, lost = sent+s.Sent, lost+s.Lost
		}
		if got := len(ofEvent(all, "received")); got != int(sent-lost) {
			t.Errorf("%s: %d lines of received, want %d", name, got, sent-lost)
		}
		// 1,200 draws of one in ten: 120, give or take 10.
		if name == "good" && lost != 0 || name == "lossy" && (lost < 70 || lost > 170) {
			t.Errorf("%s: lost %d of %d", name, lost, sent)
		}
		if total := ofEvent(all, "total"); len(total) != 1 || total[0].KernelDrops != 0 || total[0].Received != sent-lost {
			t.Errorf("%s: total %+v", name, total)
		}
	}
}

// A sender that is started again is told apart from the one before and from loss.
func TestMcast_Restart(t *testing.T) {
	t.Parallel()
	m := newMcastLab(t)
	r := m.start(t, 1, "recv", "239.255.1.9")
	for range 2 {
		s := m.start(t, 0, "send", "-f", "5", "239.255.1.9")
		r.await(t, func(l mcastLine) bool { return l.Event == "received" && l.Seq == 40 })
		if err := s.Process.Kill(); err != nil { // no end is told
			t.Fatal(err)
		}
		_ = s.Wait() // killed
	}
	all, status := r.stop(t)
	sums := ofEvent(all, "summary")
	if status != 0 || len(sums) != 2 || sums[0].Restarted == sums[1].Restarted || len(ofEvent(all, "restarted")) != 1 {
		t.Fatalf("status %d, %+v", status, sums)
	}
	for _, s := range sums {
		if s.Lost != 0 || s.Duplicate != 0 || s.Reordered != 0 || s.Received == 0 {
			t.Errorf("%+v", s)
		}
	}
}

// ping's exit status is the verdict.
func TestMcast_PingVerdicts(t *testing.T) {
	t.Parallel()
	m := newMcastLab(t)
	run := func(args ...string) (all []mcastLine, status int) {
		t.Helper()
		out, err := m.command(0, append([]string{"ping", "--json", "-c", "20", "-f", "20", "-w", "1"}, args...)...).Output()
		return mcastLines(t, out), exitStatus(t, err)
	}
	ask := func(want int, verdict string, args ...string) []mcastLine {
		t.Helper()
		all, got := run(args...)
		v := ofEvent(all, "verdict")
		if got != want || len(v) != 1 || v[0].Verdict != verdict {
			t.Errorf("ping %v: status %d, want %d (%s): %+v", args, got, want, verdict, ofEvent(all, "summary"))
		}
		return all
	}
	ask(4, "silent")
	ask(4, "silent", "192.0.2.2")
	b := m.start(t, 1, "ping", "--serve")
	c := m.start(t, 2, "ping", "--serve")

	all := ask(0, "good")
	sums := ofEvent(all, "summary")
	if len(sums) != 6 || sums[0].From != "192.0.2.2" || sums[5].From != "192.0.2.3" {
		t.Fatalf("summaries %+v", sums)
	}
	for _, s := range sums {
		if s.Received != s.Sent || s.Sent < 10 || s.Duplicate != 0 || s.Hops == nil || *s.Hops != 0 {
			t.Errorf("%+v", s)
		}
	}
	for _, r := range ofEvent(all, "reply") {
		if r.Seq == 0 || r.Path == "" || r.RTT == nil || r.Hops == nil {
			t.Fatalf("reply %+v", r)
		}
	}
	ask(4, "silent", "192.0.2.99", "192.0.2.2") // one of those named does not answer

	m.ports[2].SetFaults(netlab.Faults{Loss: 0.1}) // the network's fault, not multicast's
	// One verdict in a thousand is wrong by chance, as three standard errors want it.
	args := []string{"--max-loss", "5", "-c", "100", "-f", "10"}
	var status int
	if all, status = run(args...); status != 0 {
		all = ask(0, "good", args...)
	}
	var lost uint64
	for _, s := range ofEvent(all, "summary") {
		if s.From == "192.0.2.2" && s.Lost > 0 {
			t.Errorf("lost on a good cable: %+v", s)
		}
		lost += s.Lost
	}
	if lost == 0 {
		t.Error("nothing lost by a cable that loses one in ten")
	}
	m.ports[2].SetFaults(netlab.Faults{})

	m.fw.to.Store(m.ports[0]) // theirs does not reach us
	ask(1, "broken")
	m.fw.to.Store(nil)
	m.fw.from.Store(m.ports[0]) // ours does not reach them
	ask(4, "silent")
	ask(1, "broken", "192.0.2.2", "192.0.2.3")
	m.fw.from.Store(nil)

	if _, status := b.stop(t); status != 0 {
		t.Errorf("--serve ended with %d", status)
	}
	if _, status := c.stop(t); status != 0 {
		t.Errorf("--serve ended with %d", status)
	}
}

// Run on all hosts at once, every one finds every other, also by IPv6.
func TestMcast_PingEverywhere(t *testing.T) {
	t.Parallel()
	m := newMcastLab(t)
	var all [3]*background
	for i := range all {
		all[i] = m.start(t, i, "ping", "-6", "-c", "15", "-f", "50", "-i", "eth0")
	}
	for i, b := range all {
		lines, status := b.wait(t)
		sums := ofEvent(lines, "summary")
		if status != 0 || len(sums) != 6 || !strings.HasPrefix(sums[0].From, "fe80::") {
			t.Errorf("host %d: status %d, %+v\n%s", i, status, ofEvent(lines, "verdict"), b.errs.String())
		}
	}
}

// Groups of both families, more of them than a socket has room for, and channels that
// hear one source: each datagram is counted where it belongs and nowhere else.
func TestMcast_FamiliesAndSources(t *testing.T) {
	t.Parallel()
	m := newMcastLab(t)
	r := m.start(t, 2, "recv", "239.255.7.1+50", "ff15::8000:1+50", "192.0.2.1,232.1.1.1", "192.0.2.9,232.1.1.2")
	var senders []*background
	for host := range 2 {
		senders = append(senders, m.start(t, host, "send", "-c", "20", "-f", "10", "239.255.7.1+60", "ff15::8000:1+60", "232.1.1.1+2"))
	}
	for _, s := range senders {
		if _, status := s.wait(t); status != 0 {
			t.Errorf("status %d: %s", status, s.errs.String())
		}
	}
	ends := 0
	r.await(t, func(l mcastLine) bool {
		if l.Event == "ended" {
			ends++
		}
		return ends == 2*100+1
	})
	all, status := r.stop(t)
	streams := map[string]int{}
	for _, s := range ofEvent(all, "summary") {
		if s.Sent != 20 || s.Received != 20 || s.Hops == nil || *s.Hops != 0 {
			t.Errorf("%+v", s)
		}
		family, _, _ := strings.Cut(s.Group, ":")
		if !strings.Contains(s.Group, ":") {
			family, _, _ = strings.Cut(s.Group, ".")
		}
		streams[family]++
	}
	if status != 0 || streams["239"] != 100 || streams["ff15"] != 100 || streams["232"] != 1 || len(streams) != 3 {
		t.Errorf("status %d, streams %v, %s", status, streams, r.errs.String())
	}
}

// -c and -W end recv, with the status that says whether anything came.
func TestMcast_RecvEnds(t *testing.T) {
	t.Parallel()
	m := newMcastLab(t)
	r := m.start(t, 1, "recv", "-c", "5", "239.255.1.1", "239.255.1.2")
	if out, err := m.command(0, "send", "-c", "6", "-f", "5", "239.255.1.1+2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if all, status := r.wait(t); status != 0 || len(ofEvent(all, "received")) != 10 {
		t.Errorf("status %d, %d datagrams, want 10", status, len(ofEvent(all, "received")))
	}
	out, err := m.command(1, "recv", "-W", "0.2", "-q", "--json", "239.255.1.1").Output()
	if all := mcastLines(t, out); exitStatus(t, err) != 1 || len(all) != 1 || all[0].Event != "total" {
		t.Errorf("%v: %s", err, out)
	}
}
