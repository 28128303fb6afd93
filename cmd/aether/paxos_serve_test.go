package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// paxosNodes are processes of aether paxos serve on loopback.
type paxosNodes struct {
	t     *testing.T
	bin   string
	home  string
	peers string
	ports []int
	run   map[int]*exec.Cmd
}

func newPaxosNodes(t *testing.T, n int) *paxosNodes {
	p := &paxosNodes{t: t, bin: thisAether(t), home: t.TempDir(), run: map[int]*exec.Cmd{}}
	var list []string
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		p.ports = append(p.ports, ln.Addr().(*net.TCPAddr).Port)
		list = append(list, fmt.Sprintf("%d=127.0.0.1:%d", i+1, p.ports[i]))
	}
	p.peers = strings.Join(list, ",")
	t.Cleanup(func() {
		for id := range p.run {
			p.kill(id)
		}
	})
	return p
}

func (p *paxosNodes) command(args ...string) *exec.Cmd {
	c := exec.Command(p.bin, append([]string{"paxos"}, args...)...)
	c.Env = append(os.Environ(), "XDG_DATA_HOME="+p.home)
	return c
}

// start starts a node and waits until it serves.
func (p *paxosNodes) start(id int) {
	p.t.Helper()
	c := p.command("serve", "--id", fmt.Sprint(id), "--peers", p.peers, "--election", "300ms")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.run[id] = c
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "node ") {
			go func() {
				for lines.Scan() { // so that the pipe does not fill
				}
			}()
			return
		}
	}
	p.t.Fatalf("node %d does not serve", id)
}

// kill ends a node as a power cut does.
func (p *paxosNodes) kill(id int) {
	_ = p.run[id].Process.Kill()
	_ = p.run[id].Wait()
	delete(p.run, id)
}

// do runs a command and returns what it printed and its status.
func (p *paxosNodes) do(args ...string) (string, int) {
	p.t.Helper()
	b, err := p.command(args...).CombinedOutput()
	status := 0
	if err != nil {
		x, ok := err.(*exec.ExitError) //nolint:errorlint // CombinedOutput returns it bare
		if !ok {
			p.t.Fatal(err)
		}
		status = x.ExitCode()
	}
	return strings.TrimSpace(string(b)), status
}

func (p *paxosNodes) want(text string, status int, args ...string) {
	p.t.Helper()
	if got, s := p.do(args...); s != status || !strings.Contains(got, text) {
		p.t.Errorf("aether paxos %s: %q, status %d; want %q, %d", strings.Join(args, " "), got, s, text, status)
	}
}

func TestPaxos_ThreeProcesses(t *testing.T) {
	t.Parallel()
	p := newPaxosNodes(t, 3)
	p.want("no node of this cluster is known", 1, "get", "k")
	for id := 1; id <= 3; id++ {
		p.start(id)
	}
	p.want("", 0, "put", "colour", "blue", "--timeout", "30s")
	p.want("blue", 0, "get", "colour")
	p.want(`"event":"value"`, 0, "get", "--json", "colour")
	p.want("not found", 1, "get", "nosuch")
	p.want(`has "blue"`, 1, "cas", "colour", "red", "green")
	p.want("", 0, "cas", "colour", "blue", "green")
	p.want("", 0, "cas", "--absent", "shape", "round")
	p.want(`has "round"`, 1, "cas", "--absent", "shape", "flat")
	p.want("colour\tgreen\nshape\tround", 0, "get", "--prefix", "")
	p.want("3 nodes have the same state", 0, "verify")
	p.want("leads; 3 of 3 members answer it", 0, "status")
	saved := filepath.Join(p.home, "a.snapshot")
	p.want("", 0, "snapshot", "save", saved)

	// The leader dies as in a power cut; two go on, and it comes back.
	var leader int
	st, _ := p.do("status")
	if _, err := fmt.Sscanf(st, "node %d leads", &leader); err != nil {
		t.Fatalf("status %q", st)
	}
	p.kill(leader)
	p.want("", 0, "put", "colour", "red", "--timeout", "30s")
	p.want("unreachable", 0, "status")
	p.start(leader)
	p.want("red", 0, "get", "colour")
	p.want("3 nodes have the same state", 0, "verify", "--timeout", "30s")

	// Without a majority nothing is answered, and status says why.
	others := []int{leader%3 + 1, (leader+1)%3 + 1}
	p.kill(others[0])
	p.kill(others[1])
	p.want("gave up", 1, "put", "colour", "black", "--timeout", "1s")
	p.want("no leader:", 1, "status")
	p.start(others[0])
	p.want("red", 0, "get", "colour", "--timeout", "30s")

	p.want("keys already", 1, "snapshot", "restore", saved)
	p.want("", 0, "del", "shape")
	p.want("", 0, "snapshot", "restore", "--force", saved)
	p.want("colour\tgreen\nshape\tround", 0, "get", "--prefix", "")
}

// Values of no bytes, of a MiB and of one byte more, and keys that are too long.
func TestPaxos_ValuesOfEverySize(t *testing.T) {
	t.Parallel()
	p := newPaxosNodes(t, 3)
	for id := 1; id <= 3; id++ {
		p.start(id)
	}
	p.want("", 0, "put", "empty", "", "--timeout", "30s")
	p.want(`"value":""`, 0, "get", "--json", "empty")
	p.want("", 0, "cas", "empty", "", "full")
	p.want("full", 0, "get", "empty")
	value := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	put := func(value []byte) (string, error) {
		c := p.command("put", "large", "--timeout", "30s")
		c.Stdin = bytes.NewReader(value)
		b, err := c.CombinedOutput()
		return string(b), err
	}
	if out, err := put(value); err != nil {
		t.Errorf("a MiB: %v, %s", err, out)
	}
	if out, err := put(append(value, 'x')); err == nil || !strings.Contains(out, "larger than 1048576 bytes") {
		t.Errorf("a byte more: %v, %s", err, out)
	}
	c := p.command("get", "large", "--timeout", "30s")
	if got, err := c.Output(); err != nil || !bytes.Equal(bytes.TrimSuffix(got, []byte("\n")), value) {
		t.Errorf("a MiB comes back as %d bytes, %v", len(got), err)
	}
	p.want("an empty key", 1, "put", "", "x")
	p.want("a key of 1025 bytes", 1, "put", strings.Repeat("k", 1025), "x")
	p.want("", 0, "put", strings.Repeat("k", 1024), "x")
}

func TestPaxos_WatchAndTTL(t *testing.T) {
	t.Parallel()
	p := newPaxosNodes(t, 1)
	p.start(1)
	p.want("", 0, "put", "ready", "1", "--timeout", "30s")
	w := p.command("watch", "--count", "2", "lock/")
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	// A watch that began late would miss the first one: put until it is seen.
	seen := make(chan string)
	go func() {
		defer close(seen)
		for s := bufio.NewScanner(out); s.Scan(); {
			seen <- s.Text()
		}
	}()
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	var got []string
	for more := true; more; {
		select {
		case line, ok := <-seen:
			if more = ok; ok {
				got = append(got, line)
			}
		case <-again.C:
			if len(got) == 0 {
				p.want("", 0, "put", "--ttl", "200ms", "lock/a", "me")
			}
		}
	}
	if err := w.Wait(); err != nil || len(got) != 2 || got[0] != "lock/a\tme" || got[1] != "lock/a" {
		t.Errorf("watch printed %q, %v", got, err)
	}
}

func TestPaxosServe_Usage(t *testing.T) {
	t.Parallel()
	p := newPaxosNodes(t, 1)
	for _, c := range []struct {
		text string
		args []string
	}{
		{"--id N", []string{"serve", "--peers", "1=127.0.0.1:1"}},
		{"either --peers or --discover", []string{"serve", "--id", "1"}},
		{"twice", []string{"serve", "--id", "1", "--peers", "1=127.0.0.1:1,1=127.0.0.1:2"}},
		{"is not HOST:PORT", []string{"serve", "--id", "1", "--peers", "1=nowhere"}},
		{"--lease is at most", []string{"serve", "--id", "1", "--peers", "1=127.0.0.1:1", "--lease", "2s"}},
		{"not among --peers", []string{"serve", "--id", "2", "--peers", "1=127.0.0.1:1"}},
		{"goes with --discover", []string{"serve", "--id", "1", "--peers", "1=127.0.0.1:1", "-i", "lo"}},
		{"want KEY OLD NEW", []string{"cas", "a", "b"}},
		{"is not the ID", []string{"member", "remove", "x"}},
		{"--clients", []string{"bench", "--clients", "0"}},
	} {
		p.want(c.text, 2, c.args...)
	}
	p.want(`no such interface: "nosuch0"`, 1, "serve", "--id", "1", "--discover", "--size", "3", "-i", "nosuch0")
}
