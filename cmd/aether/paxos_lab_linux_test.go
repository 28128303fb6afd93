package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// parliament are nodes of a replicated map, real processes on hosts of their own, and
// clients on another host that reaches all of them always.
type parliament struct {
	*testing.T
	bin, dir string
	sw       *netlab.Switch
	hosts    []*netlab.Host // the clients' last
	ports    []*netlab.Port
	nodes    []*running
	serve    []string // flags of nodes
	clients  *mapRun
}

// mapRun is a running mapClients and what it has done.
type mapRun struct {
	cmd  *netlab.Cmd
	in   io.Closer
	mu   sync.Mutex
	ops  []mapOp
	over chan struct{}
}

func newParliament(t *testing.T, n int, serve ...string) *parliament {
	l := netlab.New(t)
	p := &parliament{T: t, bin: thisAether(t), dir: t.TempDir(), sw: l.Switch(netlab.SwitchConfig{Seed: 1}), nodes: make([]*running, n), serve: serve}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprint("node", i+1))
	}
	p.hosts, p.ports = addressed(t, p.sw, l, append(names, "clients")...)
	for i := range n {
		p.start(i)
	}
	return p
}

// addrOf is where node i, counted from 0, listens.
func addrOf(i int) string { return fmt.Sprintf("192.0.2.%d:7001", i+1) }

func (p *parliament) endpoints() string {
	var list []string
	for i := range p.nodes {
		list = append(list, addrOf(i))
	}
	return strings.Join(list, ",")
}

// start starts node i, and does not wait.
func (p *parliament) start(i int) {
	p.Helper()
	var peers []string
	for k := range p.nodes {
		peers = append(peers, fmt.Sprintf("%d=%s", k+1, addrOf(k)))
	}
	args := []string{"paxos", "serve", "--json", "--id", fmt.Sprint(i + 1), "--dir", filepath.Join(p.dir, fmt.Sprint(i+1)), "--peers", strings.Join(peers, ",")}
	p.nodes[i] = launch(p.T, p.hosts[i].Command(p.bin, append(args, p.serve...)...))
}

// signal sends a signal to node i.
func (p *parliament) signal(i int, s syscall.Signal) {
	p.Helper()
	if err := p.nodes[i].Process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

// do runs a command of the group paxos on the clients' host.
func (p *parliament) do(args ...string) (string, error) {
	b, err := p.hosts[len(p.nodes)].Command(p.bin, append([]string{"paxos"}, append(args, "--endpoints", p.endpoints())...)...).CombinedOutput()
	return strings.TrimSpace(string(b)), err
}

// leader returns the node that leads by the highest ballot that any told of.
func (p *parliament) leader() int {
	p.Helper()
	leader, highest := -1, [2]uint64{}
	p.await("a leader", func() bool {
		for i, n := range p.nodes {
			for line := range strings.Lines(n.out.String()) {
				var e struct {
					Event, Role, Ballot string
				}
				var b [2]uint64
				if json.Unmarshal([]byte(line), &e) != nil || e.Event != "role" || e.Role != "leading" {
					continue
				}
				if _, err := fmt.Sscanf(e.Ballot, "%d.%d", &b[0], &b[1]); err != nil {
					p.Fatalf("ballot %q: %v", e.Ballot, err)
				}
				if slices.Compare(b[:], highest[:]) > 0 {
					leader, highest = i, b
				}
			}
		}
		return leader >= 0
	})
	return leader
}

// await waits until ok.
func (p *parliament) await(what string, ok func() bool) {
	p.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > 40*time.Second {
			st, _ := p.do("status")
			p.Fatalf("waited in vain: %s\n%s", what, st)
		}
		<-tick.C
	}
}

// begin starts the clients.
func (p *parliament) begin() {
	p.Helper()
	self, err := os.Executable()
	if err != nil {
		p.Fatal(err)
	}
	var args []string
	for i := range p.nodes {
		args = append(args, "-endpoint", addrOf(i))
	}
	r := &mapRun{cmd: p.hosts[len(p.nodes)].Command(self, args...), over: make(chan struct{})}
	r.cmd.Args[0] = "paxos-clients" // by which TestMain knows what to be
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		p.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	go func() {
		defer close(r.over)
		for s := bufio.NewScanner(out); s.Scan(); {
			list := parseMapOps(p.T, s.Text()+"\n")
			r.mu.Lock()
			r.ops = append(r.ops, list...)
			r.mu.Unlock()
		}
	}()
	p.clients = r
}

// answered counts what was begun after an instant and was answered, reads and others.
func (r *mapRun) answered(after time.Time) (reads, others int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.ops {
		switch {
		case !op.Answered || op.Call <= after.UnixNano():
		case op.Kind == "get":
			reads++
		default:
			others++
		}
	}
	return reads, others
}

// end lets the clients finish and returns all that they did.
func (r *mapRun) end(t *testing.T) []mapOp {
	t.Helper()
	if err := r.in.Close(); err != nil {
		t.Error(err)
	}
	<-r.over
	if err := r.cmd.Wait(); err != nil {
		t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops
}

// progress waits until clients read and write again.
func (p *parliament) progress(what string) {
	p.Helper()
	now := time.Now()
	p.await("progress: "+what, func() bool {
		reads, others := p.clients.answered(now)
		return reads >= 5 && others >= 5
	})
	p.Logf("%-40s %4d ms to five reads and five writes", what, time.Since(now).Milliseconds())
}

// standstill wants nothing to be answered for a while.
func (p *parliament) standstill(what string, after time.Time) {
	p.Helper()
	<-time.After(2 * time.Second)
	if reads, others := p.clients.answered(after); reads+others > 0 {
		p.Errorf("%s: %d reads and %d writes were answered without a quorum", what, reads, others)
	}
}

// join lets the nodes reach each other only where joined says so; clients reach all.
func (p *parliament) join(joined func(from, to int) bool) {
	n := len(p.nodes)
	p.sw.Cut(func(from, to *netlab.Port) bool {
		a, b := slices.Index(p.ports, from), slices.Index(p.ports, to)
		return a < n && b < n && !joined(a, b)
	})
}

// groups joins nodes of one group.
func groups(list ...[]int) func(from, to int) bool {
	return func(from, to int) bool {
		return slices.ContainsFunc(list, func(g []int) bool { return slices.Contains(g, from) && slices.Contains(g, to) })
	}
}

// shape is how a network falls apart around its leader; the others follow it in o.
type shape struct {
	name   string
	quorum bool // somebody reaches one
	joined func(leader int, o []int) func(from, to int) bool
}

// shapes are those of reference works: whole groups, one direction, and the three of
// the Omni-Paxos paper (section 2), in which Raft and its like stand still.
var shapes = []shape{
	{"leader in the minority", true, func(l int, o []int) func(int, int) bool { return groups([]int{l, o[0]}, o[1:]) }},
	{"leader in the majority", true, func(l int, o []int) func(int, int) bool { return groups([]int{l, o[0], o[1]}, o[2:]) }},
	{"split in three", false, func(l int, o []int) func(int, int) bool { return groups([]int{l, o[0]}, o[1:3], o[3:]) }},
	{"leader is not heard", true, func(l int, _ []int) func(int, int) bool { return func(from, _ int) bool { return from != l } }},
	{"leader does not hear", true, func(l int, _ []int) func(int, int) bool { return func(_, to int) bool { return to != l } }},
	{"one direction between followers", true, func(_ int, o []int) func(int, int) bool {
		return func(from, to int) bool { return from != o[0] || to != o[1] }
	}},
	{"quorum loss", true, func(_ int, o []int) func(int, int) bool {
		return func(from, to int) bool { return from == o[0] || to == o[0] }
	}},
	{"constrained election", true, func(l int, o []int) func(int, int) bool {
		return func(from, to int) bool { return from != l && to != l && (from == o[0] || to == o[0]) }
	}},
	{"chain", true, func(l int, o []int) func(int, int) bool {
		line := append([]int{l}, o...)
		return func(from, to int) bool {
			d := slices.Index(line, from) - slices.Index(line, to)
			return d == 1 || d == -1
		}
	}},
}

// Five processes are killed, stopped and cut off from each other in every shape, while
// clients read and write: whoever reaches a quorum goes on, nobody else answers, and
// what the clients saw is what one map would have done.
func TestPaxos_FiveProcessesInEveryPartition(t *testing.T) {
	t.Parallel()
	p := newParliament(t, 5, "--election", "500ms")
	p.begin()
	p.progress("start")

	for range 2 {
		lead := p.leader()
		_ = p.nodes[lead].Process.Kill()
		_ = p.nodes[lead].Wait()
		p.progress("leader killed")
		p.start(lead)

		// It is asked while it is stopped, and goes on believing that it leads.
		lead = p.leader()
		p.signal(lead, syscall.SIGSTOP)
		p.progress("leader stopped")
		p.signal(lead, syscall.SIGCONT)
		p.progress("it goes on")
		if testing.Short() {
			break
		}
	}
	// A voter that does not even read what it is sent holds nobody up.
	slow := (p.leader() + 1) % len(p.nodes)
	p.signal(slow, syscall.SIGSTOP)
	p.progress("follower stopped")
	p.signal(slow, syscall.SIGCONT)
	list := shapes
	if testing.Short() {
		list = shapes[:1]
	}
	for _, s := range list {
		lead := p.leader()
		var others []int
		for i := range p.nodes {
			if i != lead {
				others = append(others, i)
			}
		}
		p.join(s.joined(lead, others))
		cut := time.Now()
		if s.quorum {
			p.progress(s.name)
		} else {
			p.standstill(s.name, cut)
		}
		p.sw.Heal()
		p.progress("healed")
	}
	checkMap(t, p.clients.end(t))
	if out, err := p.do("verify", "--timeout", "40s"); err != nil || !strings.Contains(out, "5 nodes have the same state") {
		t.Errorf("verify: %s, %v", out, err)
	}
	for i, n := range p.nodes {
		n.interrupt(t)
		if strings.Contains(n.errs.String(), "panic") {
			t.Errorf("node %d: %s", i+1, n.errs)
		}
	}
}

// Three machines find each other by DNS-SD and are a cluster; one of another cluster
// is ignored, a fourth comes later, and one that starts again does not wait for who is
// gone.
func TestPaxosServe_Discover(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	sw := l.Switch(netlab.SwitchConfig{Seed: 1})
	hosts, _ := addressed(t, sw, l, "a", "b", "c", "d", "other")
	bin, dir := thisAether(t), t.TempDir()
	serve := func(host, id int, more ...string) *running {
		args := []string{"paxos", "serve", "--discover", "--election", "500ms", "--id", fmt.Sprint(id), "--dir", filepath.Join(dir, hosts[host].Name())}
		return launch(t, hosts[host].Command(bin, append(args, more...)...))
	}
	do := func(args ...string) string {
		c := hosts[3].Command(bin, append([]string{"paxos"}, append(args, "--timeout", "40s")...)...)
		b, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", args, err, b)
		}
		return strings.TrimSpace(string(b))
	}
	var nodes []*running
	for i := range 2 {
		nodes = append(nodes, serve(i, i+1))
	}
	other := serve(4, 3, "--cluster", "another")
	for i, n := range nodes {
		n.want(t, fmt.Sprintf(`found node %d at 192\.0\.2\.%d:`, 2-i, 2-i), 30*time.Second)
	}
	other.want(t, "looking for nodes", 30*time.Second)
	nodes = append(nodes, serve(2, 3))
	ports := make([]string, 3)
	for i, n := range nodes {
		n.want(t, `node \d of cluster aether at`, 30*time.Second)
		at := regexp.MustCompile(`cluster aether at .*:(\d+)`).FindStringSubmatch(n.out.String())
		ports[i] = fmt.Sprintf("192.0.2.%d:%s", i+1, at[1])
	}
	all := strings.Join(ports, ",")
	do("put", "colour", "blue", "--endpoints", all)
	if s := other.out.String(); strings.Contains(s, "found") || strings.Contains(s, "of cluster another at") {
		t.Errorf("a node of another cluster: %s", s)
	}
	other.interrupt(t)

	fourth := serve(3, 4, "--join", "--listen", "192.0.2.4:7004")
	fourth.want(t, `node 4 of cluster aether`, 30*time.Second)
	do("member", "add", "--learner", "4", "192.0.2.4:7004", "--endpoints", all)
	if got := do("get", "colour", "--endpoints", "192.0.2.4:7004"); got != "blue" {
		t.Errorf("by the fourth node: %q", got)
	}
	do("member", "promote", "4", "--endpoints", all)
	if got := do("verify", "--endpoints", all); !strings.Contains(got, "4 nodes have the same state") {
		t.Errorf("verify: %s", got)
	}

	// The first one is gone for good, the second starts again where the others are.
	_ = nodes[0].Process.Kill()
	nodes[1].interrupt(t)
	nodes[1] = serve(1, 2, "--listen", ports[1])
	nodes[1].want(t, `node 2 of cluster aether`, 30*time.Second)
	do("put", "colour", "green", "--endpoints", all)
	if got := do("get", "colour", "--endpoints", ports[1]); got != "green" {
		t.Errorf("by the second node: %q", got)
	}
	do("member", "lead", "3", "--endpoints", all)
	do("member", "remove", "4", "--endpoints", all)
	fourth.want(t, "this node was removed from the cluster", 30*time.Second)
	if err := fourth.Wait(); err == nil {
		t.Error("a node that was removed ends with status 0")
	}
	do("put", "colour", "red", "--endpoints", all)
}

// Leaders that read by their lease are stopped for shorter and longer than it lasts,
// and cut off from everybody but the clients: what they believe to be true still is.
func TestPaxos_LeasesOfStoppedLeaders(t *testing.T) {
	t.Parallel()
	p := newParliament(t, 3, "--election", "500ms", "--lease", "400ms")
	p.begin()
	p.progress("start")
	p.await("a lease", func() bool {
		st, _ := p.do("status", "--json")
		return regexp.MustCompile(`"lease_ms":[1-9]`).MatchString(st)
	})
	for _, ms := range []int{50, 200, 350, 450, 700, 1200} {
		pause := time.Duration(ms) * time.Millisecond
		lead := p.leader()
		p.signal(lead, syscall.SIGSTOP)
		<-time.After(pause)
		p.signal(lead, syscall.SIGCONT)
		if testing.Short() {
			continue
		}
		p.progress(fmt.Sprintf("leader stopped for %v", pause))
		lead = p.leader()
		p.join(func(from, to int) bool { return from != lead && to != lead })
		p.progress("leader alone")
		p.sw.Heal()
	}
	p.progress("healed")
	checkMap(t, p.clients.end(t))
	if out, err := p.do("verify", "--timeout", "40s"); err != nil || !strings.Contains(out, "3 nodes have the same state") {
		t.Errorf("verify: %s, %v", out, err)
	}
}
