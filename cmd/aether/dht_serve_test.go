package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ringProcesses are processes of aether dht serve on loopback.
type ringProcesses struct {
	t    *testing.T
	bin  string
	home string
	at   []string // where they listen
	run  []*exec.Cmd
}

func newRingProcesses(t *testing.T) *ringProcesses {
	p := &ringProcesses{t: t, bin: thisAether(t), home: t.TempDir()}
	t.Cleanup(func() {
		for i := range p.run {
			p.kill(i)
		}
	})
	return p
}

func (p *ringProcesses) command(args ...string) *exec.Cmd {
	c := exec.Command(p.bin, append([]string{"dht"}, args...)...)
	c.Env = append(os.Environ(), "XDG_DATA_HOME="+p.home, "AETHER_DHT_NODE=", "AETHER_DHT_DIR=")
	return c
}

func (p *ringProcesses) dir(i int) string { return filepath.Join(p.home, fmt.Sprint(i)) }

// start starts node i, which joins node 0, and waits until it serves.
func (p *ringProcesses) start(i int, flags ...string) {
	p.t.Helper()
	listen := "127.0.0.1:0"
	if i < len(p.at) {
		listen = p.at[i]
	}
	args := append([]string{"serve", "--json", "--dir", p.dir(i), "--listen", listen}, flags...)
	if i > 0 && i >= len(p.at) {
		args = append(args, "--join", p.at[0])
	}
	c := p.command(args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	var serving struct{ Event, Address string }
	lines := bufio.NewScanner(out)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &serving) != nil || serving.Event != "serving" {
		p.t.Fatalf("node %d says %q", i, lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // so that the pipe does not fill
	if i < len(p.at) {
		p.run[i] = c
		return
	}
	p.at, p.run = append(p.at, serving.Address), append(p.run, c)
}

// kill ends a node as a power cut does.
func (p *ringProcesses) kill(i int) {
	if p.run[i] != nil {
		_ = p.run[i].Process.Kill()
		_ = p.run[i].Wait()
		p.run[i] = nil
	}
}

// do runs a command with input and returns what it printed and its status.
func (p *ringProcesses) do(input string, args ...string) (string, int) {
	p.t.Helper()
	c := p.command(args...)
	c.Stdin = strings.NewReader(input)
	b, err := c.CombinedOutput()
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

func (p *ringProcesses) want(text string, status int, args ...string) {
	p.t.Helper()
	if got, s := p.do("", args...); s != status || !strings.Contains(got, text) {
		p.t.Errorf("aether dht %s: %q, status %d; want %q, %d", strings.Join(args, " "), got, s, text, status)
	}
}

// awaitSize waits until node i knows a ring of n.
func (p *ringProcesses) awaitSize(i, n int) {
	p.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(40 * time.Second); ; <-tick.C {
		out, _ := p.do("", "status", "--json", "--dir", p.dir(i))
		if strings.Contains(out, fmt.Sprintf(`"ring_size":%d,`, n)) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("node %d does not know a ring of %d: %s", i, n, out)
		}
	}
}

func TestDHT_ThreeProcesses(t *testing.T) {
	t.Parallel()
	p := newRingProcesses(t)
	p.want("no node is known on this machine", 1, "get", "k")
	p.start(0)
	p.start(1)
	p.start(2)
	p.awaitSize(0, 3)
	a, b := p.at[0], p.at[1]
	p.want("3 nodes, all of them known", 0, "status", "--node", a)
	p.want("3 nodes", 0, "ring", "--node", b)
	p.want(`"event":"owner"`, 0, "lookup", "--json", "--trace", "colour", "--node", a)
	p.want(`"version":1`, 0, "put", "colour", "blue", "--json", "--node", a, "--timeout", "30s")
	p.want("blue", 0, "get", "colour", "--node", b)
	p.want(`"value":"blue"`, 0, "get", "--json", "--dir", p.dir(2), "colour")
	p.want("no such record", 1, "get", "nosuch", "--node", b)
	p.want("2", 0, "cas", "colour", "1", "green", "--node", b)
	p.want("has version 2", 1, "cas", "colour", "1", "red", "--node", a)
	p.want(`"event":"conflict"`, 1, "cas", "colour", "1", "red", "--json", "--node", a)
	p.want("1", 0, "cas", "shape", "0", "round", "--node", a)
	p.want("colour\tgreen\nshape\tround", 0, "get", "--prefix", "", "--node", a)
	if _, s := p.do("from a pipe\n", "put", "piped", "--node", a); s != 0 {
		t.Error("put of standard input failed")
	}
	p.want("from a pipe", 0, "get", "piped", "--node", b)
	p.want("", 0, "delete", "shape", "--node", a)
	p.want("no such record", 1, "delete", "shape", "--node", b)
	p.want("hello", 0, "send", "colour", "echo", "hello", "--node", a)
	p.want("no such service", 1, "send", "colour", "nosuch", "hello", "--node", a)
	p.want("no subscribers", 1, "anycast", "nobody", "hello", "--node", a)

	// A node dies as in a power cut; the records answer, and it comes back.
	p.kill(2)
	p.want("green", 0, "get", "colour", "--node", a, "--timeout", "30s")
	p.want("", 0, "put", "colour", "red", "--node", b, "--timeout", "30s")
	p.start(2)
	p.awaitSize(2, 3)
	p.want("red", 0, "get", "colour", "--dir", p.dir(2), "--timeout", "30s")

	// Of three, one alone is no majority, and says so.
	p.kill(1)
	p.kill(2)
	p.want("gave up", 1, "put", "colour", "black", "--node", a, "--timeout", "4s")
}

// lines starts a command and returns what it prints, line by line.
func (p *ringProcesses) lines(args ...string) (<-chan string, *exec.Cmd) {
	p.t.Helper()
	c := p.command(args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Process.Kill() })
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return lines, c
}

// next waits for a line that has text in it.
func next(t *testing.T, lines <-chan string, text string) string {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatalf("the command ended without %q", text)
			}
			if strings.Contains(l, text) {
				return l
			}
		case <-limit:
			t.Fatalf("waited in vain for %q", text)
		}
	}
}

func TestDHT_CommandsThatRun(t *testing.T) {
	t.Parallel()
	p := newRingProcesses(t)
	p.start(0)
	p.start(1)
	p.awaitSize(1, 2)
	a, b := p.at[0], p.at[1]

	sub, _ := p.lines("subscribe", "--json", "--anycast", "news", "--count", "2", "--node", a)
	next(t, sub, `"event":"subscribed"`)
	p.want(`"event":"published"`, 0, "publish", "--json", "news", "the printer is back", "--node", b)
	next(t, sub, `"payload":"the printer is back"`)
	p.want("ok", 0, "anycast", "news", "who is there", "--node", b)
	next(t, sub, `"anycast":true`)

	watch, _ := p.lines("watch", "w", "--count", "2", "--node", b)
	p.want("", 0, "put", "w", "1", "--node", a)
	next(t, watch, "w\t1")
	p.want("", 0, "put", "w", "2", "--node", a)
	next(t, watch, "w\t2")

	held, holder := p.lines("lease", "--json", "printer", "--holder", "alice", "--ttl", "2s", "--node", a)
	next(t, held, `"event":"held"`)
	p.want("is held by alice", 1, "lease", "printer", "--node", b)
	p.want("is held by alice", 0, "lease", "--show", "printer", "--node", b)
	_ = holder.Process.Signal(os.Interrupt)
	next(t, held, `"event":"released"`)
	p.want("is free", 1, "lease", "--show", "printer", "--node", b)
	if sh, err := exec.LookPath("sh"); err == nil {
		p.want("fence 3", 3, "lease", "printer", "--node", b, "--", sh, "-c", "echo fence $AETHER_LEASE_FENCE; exit 3")
	}

	p.want("page-1", 0, "tasks", "add", "print", "one", "--id", "page-1", "--node", a)
	p.want(`"event":"present"`, 0, "tasks", "add", "print", "one", "--id", "page-1", "--json", "--node", b)
	work, _ := p.lines("tasks", "work", "print", "--count", "1", "--json", "--node", b)
	next(t, work, `"id":"page-1","attempt":1,"payload":"one"`)
	next(t, work, `"event":"done"`)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		if out, _ := p.do("", "tasks", "list", "print", "--node", a); strings.Contains(out, "done") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the task is not done")
		}
	}
	p.want("", 0, "tasks", "drop", "print", "page-1", "--node", a)
	p.want("no such record", 1, "tasks", "drop", "print", "page-1", "--node", b)

	// Two rings that meet become one.
	p.at = append(p.at, "127.0.0.1:0")
	p.run = append(p.run, nil)
	p.start(2)
	p.want("", 0, "join", b, "--dir", p.dir(2))
	p.awaitSize(0, 3)
	p.want("does not answer", 1, "join", "127.0.0.1:1", "--node", a)
}

func TestDHT_Usage(t *testing.T) {
	t.Parallel()
	p := newRingProcesses(t)
	for _, c := range []struct {
		text string
		args []string
	}{
		{"want no arguments", []string{"serve", "x"}},
		{"--copies", []string{"serve", "--copies", "0"}},
		{"is not HOST:PORT", []string{"serve", "--join", "nowhere"}},
		{"is not HOST:PORT", []string{"serve", "--listen", "nowhere"}},
		{"is no address", []string{"serve", "--advertise", "nowhere"}},
		{"goes with --discover", []string{"serve", "-i", "lo"}},
		{"want ID|KEY", []string{"lookup"}},
		{"VERSION is a number", []string{"cas", "a", "b", "c"}},
		{"--ttl is at least", []string{"lease", "a", "--ttl", "1ms"}},
		{"--exec", []string{"tasks", "work", "q", "--exec", "/no/such/program"}},
		{"want QUEUE ID", []string{"tasks", "drop", "q"}},
		{"is not HOST:PORT", []string{"get", "a", "--node", "nowhere"}},
	} {
		p.want(c.text, 2, c.args...)
	}
	p.want(`no such interface: "nosuch0"`, 1, "serve", "--discover", "-i", "nosuch0")
	p.want("127.0.0.1:1: connect: connection refused", 1, "get", "a", "--node", "127.0.0.1:1", "--timeout", "200ms")
	secret := filepath.Join(p.home, "secret")
	if err := os.WriteFile(secret, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start(0, "--secret-file", secret)
	p.want("1 nodes", 0, "status", "--secret-file", secret, "--node", p.at[0])
	p.want("not admitted", 1, "status", "--node", p.at[0])
}
