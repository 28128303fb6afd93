package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netlab"
)

// igmpLine is what scripts rely on in the lines of the igmp commands.
type igmpLine struct {
	Event, Group, Source, Host, Interface, Record, Querier, Verdict, Switch, Rule, Severity, Text, State, Method string
	Version, Robustness                                                                                          int
	ExitStatus                                                                                                   int `json:"exit_status"`
	Time                                                                                                         time.Time
	Members                                                                                                      int
}

// igmpLab is three machines on a switch.
type igmpLab struct {
	t     *testing.T
	bin   string
	sw    *netlab.Switch
	hosts []*netlab.Host
}

func newIgmpLab(t *testing.T, f netlab.Forwarder) *igmpLab {
	t.Helper()
	lab := netlab.New(t)
	l := &igmpLab{t: t, bin: thisAether(t), sw: lab.Switch(netlab.SwitchConfig{Forwarder: f})}
	for i, name := range []string{"a", "b", "c"} {
		h := lab.Host(name)
		h.Attach(l.sw, "eth0")
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
		l.hosts = append(l.hosts, h)
	}
	return l
}

// igmpRun is a command that runs in a host.
type igmpRun struct {
	t     *testing.T
	cmd   *netlab.Cmd
	lines chan igmpLine
	errs  *bytes.Buffer
}

func (l *igmpLab) start(host int, args ...string) *igmpRun {
	l.t.Helper()
	r := &igmpRun{t: l.t, cmd: l.hosts[host].Command(l.bin, append([]string{"igmp"}, args...)...), lines: make(chan igmpLine, 1000), errs: new(bytes.Buffer)}
	r.cmd.Stderr = r.errs
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go r.read(out)
	return r
}

func (r *igmpRun) read(out io.Reader) {
	defer close(r.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		var l igmpLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil || l.Event == "" || l.Time.IsZero() {
			r.t.Errorf("line %q: %v", s.Text(), err)
		}
		r.lines <- l
	}
}

// await returns the first line that want accepts.
func (r *igmpRun) await(what string, want func(igmpLine) bool) igmpLine {
	r.t.Helper()
	patience := time.After(20 * time.Second)
	for {
		select {
		case l, ok := <-r.lines:
			if !ok {
				r.t.Fatalf("it ended without %s: %s", what, r.errs)
			}
			if want(l) {
				return l
			}
		case <-patience:
			r.t.Fatalf("no %s in 20 s: %s", what, r.errs)
		}
	}
}

func (r *igmpRun) event(event, group string) igmpLine {
	r.t.Helper()
	return r.await(event+" "+group, func(l igmpLine) bool { return l.Event == event && (group == "" || l.Group == group) })
}

// end interrupts the command and returns its exit status.
func (r *igmpRun) end() int {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	return r.wait()
}

func (r *igmpRun) wait() int {
	r.t.Helper()
	for range r.lines {
	}
	return exitStatus(r.t, r.cmd.Wait())
}

// run runs a command to its end.
func (l *igmpLab) run(host int, args ...string) (lines []igmpLine, status int) {
	l.t.Helper()
	r := l.start(host, args...)
	for x := range r.lines {
		lines = append(lines, x)
	}
	status = r.wait()
	if r.errs.Len() > 0 {
		l.t.Logf("%s: %s", strings.Join(args, " "), r.errs)
	}
	return lines, status
}

// join has a kernel join a group until the test ends, or leave is called.
func (l *igmpLab) join(host int, group string) (leave func()) {
	l.t.Helper()
	var c *net.UDPConn
	err := l.hosts[host].Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err = net.ListenMulticastUDP("udp", ifi, &net.UDPAddr{IP: net.ParseIP(group), Port: 9})
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return func() { c.Close() }
}

// askingSwitch is one that snoops and asks, at short intervals.
func askingSwitch() *netlab.Snooping {
	return netlab.NewSnooping(igmp.SnooperConfig{
		Querier: true, HardwareAddr: igmp.HardwareAddr{2, 0xae, 0, 0, 0xff, 1},
		Timers: igmp.SnooperTimers{QueryInterval: 2 * time.Second, QueryResponse: 200 * time.Millisecond},
	})
}

func TestIgmpMonitor_TellsWhoJoinsAndLeaves(t *testing.T) {
	t.Parallel()
	l := newIgmpLab(t, askingSwitch())
	m := l.start(0, "monitor", "-i", "eth0", "--json")
	if q := m.event("query", ""); q.Host != "0.0.0.0" && !strings.HasPrefix(q.Host, "fe80") || q.Version != 3 || q.Robustness != 2 || q.Interface != "eth0" {
		t.Errorf("%+v", q)
	}
	leave := l.join(0, "239.1.2.3")
	if j := m.event("join", "239.1.2.3"); j.Host != "192.0.2.1" || j.Source != "" {
		t.Errorf("%+v", j)
	}
	leave()
	if e := m.event("leave", "239.1.2.3"); e.Host != "192.0.2.1" {
		t.Errorf("%+v", e)
	}
	if status := m.end(); status != 0 {
		t.Errorf("status %d: %s", status, m.errs)
	}
	lines, status := l.run(0, "monitor", "-i", "eth0", "--json", "-c", "3", "-4")
	if len(lines) != 3 || status != 0 {
		t.Errorf("%d lines, status %d", len(lines), status)
	}
	if _, status := l.run(0, "monitor", "-i", "eth0", "--json", "-c", "1", "-g", "239.9.9.9", "--timeout", "10ms"); status != 1 {
		t.Errorf("status %d for a count that was not reached", status)
	}
}

func TestIgmpDoctor_Verdicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		fwd    netlab.Forwarder
		status int
		rule   string
		args   []string
	}{
		{"a switch that asks", askingSwitch(), 0, "proxy-querier", nil},
		{"nobody asks", nil, 1, "no-querier", []string{"--timeout", "5s"}},
		{"too short to tell", nil, 4, "no-querier", []string{"--passive", "--timeout", "1s"}},
		{"MLD", askingSwitch(), 0, "querier", []string{"-6"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newIgmpLab(t, c.fwd)
			lines, status := l.run(0, append([]string{"doctor", "-i", "eth0", "--json"}, c.args...)...)
			found := false
			for _, x := range lines {
				found = found || x.Event == "finding" && x.Rule == c.rule
			}
			if status != c.status || !found || lines[0].Event != "verdict" || lines[0].ExitStatus != status {
				t.Errorf("status %d, %+v", status, lines)
			}
		})
	}
}

func TestIgmpDoctor_Peer(t *testing.T) {
	if testing.Short() {
		t.Skip("three steps on each kind of switch take their time: run without -short")
	}
	for _, c := range []struct {
		name string
		key  igmp.SnoopKey
		want string
	}{{"IP", igmp.KeyAddr, "snooping by IP address"}, {"Ethernet", igmp.KeyHardwareAddr, "snooping by hardware address"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newIgmpLab(t, netlab.NewSnooping(igmp.SnooperConfig{Key: c.key, Querier: true, Timers: igmp.SnooperTimers{QueryInterval: 2 * time.Second, QueryResponse: 200 * time.Millisecond}}))
			s := l.start(1, "doctor", "--serve", "-i", "eth0", "--json")
			s.event("serving", "")
			lines, status := l.run(0, "doctor", "--peer", "192.0.2.2", "--json")
			verdict := igmpLine{}
			for _, x := range lines {
				if x.Event == "verdict" {
					verdict = x
				}
			}
			if status != 0 || verdict.Switch != c.want {
				t.Errorf("status %d, %+v", status, lines)
			}
			if status := s.end(); status != 0 {
				t.Errorf("serve ends with %d: %s", status, s.errs)
			}
			lines, status = l.run(0, "doctor", "--peer", "192.0.2.3", "--json", "--timeout", "6s")
			if status != 4 {
				t.Errorf("status %d without a peer, %+v", status, lines)
			}
		})
	}
}

// about accepts lines of an event about a group.
func about(event, group string) func(igmpLine) bool {
	return func(l igmpLine) bool { return l.Event == event && l.Group == group }
}

func TestIgmpJoin_KernelAndRaw(t *testing.T) {
	t.Parallel()
	l := newIgmpLab(t, nil)
	m := l.start(1, "monitor", "-i", "eth0", "--json", "-4")
	<-time.After(500 * time.Millisecond) // it listens
	for _, c := range []struct {
		args    string
		group   string
		source  string
		version int
		method  string
	}{
		{"join 239.1.2.3 -i eth0 --json", "239.1.2.3", "", 3, "kernel"},
		{"join --json 232.1.2.3 --source 192.0.2.9", "232.1.2.3", "192.0.2.9", 3, "kernel"},
		{"join 239.1.2.4 --version 2 --json", "239.1.2.4", "", 2, "raw"},
		{"join 239.1.2.5 --raw --source 192.0.2.9 --json", "239.1.2.5", "192.0.2.9", 3, "raw"},
	} {
		j := l.start(0, strings.Fields(c.args)...)
		if x := j.event("joined", c.group); x.Method != c.method || x.Interface != "eth0" || x.Source != c.source {
			t.Errorf("%s: %+v", c.args, x)
		}
		if x := m.event("join", c.group); x.Version != c.version || x.Host != "192.0.2.1" || x.Source != c.source {
			t.Errorf("%s: %+v", c.args, x)
		}
		if status := j.end(); status != 0 {
			t.Errorf("%s ends with %d: %s", c.args, status, j.errs)
		}
		m.event("leave", c.group)
	}
	m.end()
}

func TestIgmpQuery_ListsWhoAnswers(t *testing.T) {
	t.Parallel()
	l := newIgmpLab(t, nil)
	l.join(1, "239.1.2.3")
	l.join(2, "239.1.2.3")
	l.join(2, "239.1.2.4")
	lines, status := l.run(0, "query", "-i", "eth0", "--json", "--max-response", "300ms")
	heard := map[string]bool{}
	for _, x := range lines {
		if x.Event == "report" {
			heard[x.Host+" "+x.Group] = true
		}
	}
	if status != 0 || !heard["192.0.2.2 239.1.2.3"] || !heard["192.0.2.3 239.1.2.3"] || !heard["192.0.2.3 239.1.2.4"] {
		t.Errorf("status %d, %v", status, heard)
	}
	if lines, status := l.run(0, "query", "239.1.2.4", "-i", "eth0", "--json", "--version", "2", "--max-response", "300ms"); status != 0 || len(lines) != 2 || lines[1].Host != "192.0.2.3" || lines[1].Version != 2 {
		t.Errorf("status %d, %+v", status, lines)
	}
	if lines, status := l.run(0, "query", "239.9.9.9", "-i", "eth0", "--json", "--max-response", "200ms"); status != 1 || len(lines) != 1 {
		t.Errorf("status %d, %+v", status, lines)
	}
	l.join(1, "ff05::77")
	if lines, status := l.run(0, "query", "ff05::77", "-i", "eth0", "--json", "--max-response", "300ms"); status != 0 || !strings.HasPrefix(lines[1].Host, "fe80::") {
		t.Errorf("status %d, %+v", status, lines)
	}
}

// The querier knows the kernel's memberships, and one of a lower address takes over.
func TestIgmpQuerier_ElectionAndLeave(t *testing.T) {
	t.Parallel()
	l := newIgmpLab(t, nil)
	b := l.start(1, "querier", "-i", "eth0", "--json", "--interval", "4s", "--max-response", "500ms", "--last-member-interval", "300ms")
	b.await("that b asks", func(x igmpLine) bool { return x.Event == "querier" && x.Querier == "192.0.2.2" })
	leave := l.join(2, "239.1.2.3")
	b.event("group_joined", "239.1.2.3")

	// Leaving by hand makes the querier ask; the kernel's member says that it stays.
	lines, status := l.run(0, "leave", "239.1.2.3", "-i", "eth0", "--json")
	asked, stays := false, false
	for _, x := range lines {
		asked = asked || about("query", "239.1.2.3")(x) && x.Host == "192.0.2.2"
		stays = stays || about("report", "239.1.2.3")(x) && x.Host == "192.0.2.3"
	}
	if status != 0 || !asked || !stays {
		t.Errorf("status %d, asked %t, stays %t: %+v", status, asked, stays, lines)
	}
	leave()
	b.event("group_expired", "239.1.2.3")

	a := l.start(0, "querier", "-i", "eth0", "--json", "--interval", "4s", "--max-response", "500ms")
	b.await("that a asks", func(x igmpLine) bool { return x.Event == "querier" && x.Querier == "192.0.2.1" })
	if status := a.end(); status != 0 {
		t.Errorf("status %d: %s", status, a.errs)
	}
	if lines, status := l.run(2, "doctor", "-i", "eth0", "--json"); status != 0 || lines[0].Querier == "" {
		t.Errorf("status %d: %+v", status, lines)
	}
	if status := b.end(); status != 0 {
		t.Errorf("status %d: %s", status, b.errs)
	}
}

// The kernel as host, our querier and our switch: the group goes where it was joined.
func TestIgmpQuerier_TeachesASwitchThatSnoops(t *testing.T) {
	t.Parallel()
	snoop := netlab.NewSnooping(igmp.SnooperConfig{})
	l := newIgmpLab(t, snoop)
	group := netip.MustParseAddr("239.1.2.3")
	leave := l.join(1, group.String())
	q := l.start(0, "querier", "-i", "eth0", "--json", "--interval", "2s", "--max-response", "300ms", "--last-member-interval", "300ms")
	q.event("group_joined", group.String())
	soon := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not in 20 s: %s; the table is %v", what, snoop.Table())
			}
		}
	}
	soon("the switch knows the querier's port and the member's", func() bool {
		return slices.Equal(snoop.RouterPorts(false), []int{1}) && slices.Equal(snoop.Ports(group), []int{2})
	})
	leave()
	q.event("group_expired", group.String())
	soon("the switch forgets the member", func() bool { return len(snoop.Ports(group)) == 0 })
	if status := q.end(); status != 0 {
		t.Errorf("status %d: %s", status, q.errs)
	}
}
