package netlab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scenarioEnv names what a test binary that a test has started shall do.
const scenarioEnv = "AETHER_NETLAB_SCENARIO"

// TestScenario is not a test of its own: other tests run it in a process that
// ends badly. It prints the namespace of a host and the process IDs of programs
// in it, ends the line, and then does what the scenario says.
func TestScenario(t *testing.T) {
	scenario := os.Getenv(scenarioEnv)
	if scenario == "" {
		return // an ordinary run of all tests
	}
	p := newPair(t, 1)
	p.sockets(t)
	fmt.Print("namespace ", p.a.ns.id)
	for _, c := range []*Cmd{p.a.Command("sleep", "1000"), p.a.Command("sleep", "1000").PrivateDirs("/tmp")} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Print(" ", c.Process.Pid)
	}
	fmt.Println()
	switch scenario {
	case "panic":
		panic("as told")
	case "hang":
		select {}
	}
}

// child runs TestScenario in a new process and returns it with what it printed.
func child(t *testing.T, scenario string) (c *exec.Cmd, namespace string, pids []int) {
	t.Helper()
	c = exec.Command("/proc/self/exe", "-test.run=^TestScenario$", "-test.v")
	c.Env = append(os.Environ(), scenarioEnv+"="+scenario)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 || f[0] != "namespace" {
			continue
		}
		for _, s := range f[2:] {
			pid, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		go io.Copy(io.Discard, out)
		return c, f[1], pids
	}
	t.Fatal("the scenario did not start")
	return nil, "", nil
}

// users returns who holds a network namespace: threads in it and descriptors of
// it, system-wide. No mount can: none is ever made.
func users(namespace string) []string {
	var found []string
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, _ := filepath.Glob(pattern)
		for _, l := range links {
			if to, err := os.Readlink(l); err == nil && to == namespace {
				found = append(found, l)
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if bytes.Contains(mounts, []byte(namespace)) {
		found = append(found, "a mount")
	}
	return found
}

// awaitUnused fails unless namespace is soon used by nobody.
func awaitUnused(t *testing.T, namespace string) {
	t.Helper()
	var left []string
	for range 100 {
		if left = users(namespace); len(left) == 0 {
			return
		}
		pause(20 * time.Millisecond)
	}
	t.Errorf("%s is still held by %v", namespace, left)
}

func pause(d time.Duration) { <-time.After(d) }

// running reports whether a process runs, zombies not counted.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 0 && !bytes.Equal(fields[0], []byte("Z"))
}

func awaitEnded(t *testing.T, pids []int) {
	t.Helper()
	for range 100 {
		if !slices.ContainsFunc(pids, running) {
			return
		}
		pause(20 * time.Millisecond)
	}
	t.Errorf("one of %v still runs", pids)
}

func TestLab_LeavesNothingBehind(t *testing.T) {
	var namespaces []string
	var pids []int
	t.Run("lab", func(t *testing.T) {
		p := newPair(t, 1)
		a, _ := p.sockets(t)
		defer a.Close()
		for _, h := range []*Host{p.a, p.b} {
			namespaces = append(namespaces, h.ns.id)
			if len(users(h.ns.id)) == 0 {
				t.Fatal("the search for users of a namespace finds none while there are some")
			}
		}
		namespaces = append(namespaces, p.lab.ns.id)
		// A program with a child of its own, which no death signal reaches.
		c := p.a.Command("sh", "-c", "sleep 1000 & echo $!; wait").PrivateDirs("/tmp")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		grandchild, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if pids = []int{c.Process.Pid, grandchild}; !running(grandchild) {
			t.Fatal("the grandchild does not run")
		}
	})
	awaitEnded(t, pids)
	for _, ns := range namespaces {
		awaitUnused(t, ns)
	}
}

func TestLab_LeavesNothingBehindAfterAPanic(t *testing.T) {
	c, namespace, pids := child(t, "panic")
	var exit *exec.ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("the child ended with %v", err)
	}
	awaitEnded(t, pids)
	awaitUnused(t, namespace)
}

func TestLab_LeavesNothingBehindAfterKill9(t *testing.T) {
	c, namespace, pids := child(t, "hang")
	if !running(pids[0]) || !running(pids[1]) || len(users(namespace)) == 0 {
		t.Fatal("the programs do not run")
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	awaitEnded(t, pids)
	awaitUnused(t, namespace)
}

// nobody is the user and group with the least rights.
const nobody = 65534

func TestMain_WorksWithoutRights(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		return // this very run is the proof
	}
	if os.Geteuid() != 0 {
		t.Skip("the tests already run in a namespace of another kind; as root they would become nobody here")
	}
	out, err := asNobody(t, "^(TestLab_HostsTalk.*|TestPort_SetDown.*|TestHost_.*|TestLab_LeavesNothingBehind(AfterKill9)?)$")
	if err != nil || bytes.Contains(out, []byte("--- FAIL")) {
		t.Errorf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		if userNamespaces() {
			t.Errorf("skipped although the kernel has user namespaces for all:\n%s", out)
		} else {
			t.Skipf("this kernel gives user namespaces to nobody:\n%s", out)
		}
	}
	if !bytes.Contains(out, []byte("--- PASS: TestLab_HostsTalk")) && !t.Failed() {
		t.Errorf("the tests did not run:\n%s", out)
	}
}

// Who may not make namespaces is told what to do; Main must not have helped.
func TestNew_SkipsAndSaysWhatIsMissing(t *testing.T) {
	if os.Geteuid() != 0 || os.Getenv(insideEnv) != "" {
		t.Skip("needs to be started as root, to become somebody with fewer rights")
	}
	out, err := asNobody(t, "^TestLab_HostsTalk.*$", insideEnv+"=1")
	if err != nil || !bytes.Contains(out, []byte("--- SKIP")) ||
		!bytes.Contains(out, []byte("unshare: operation not permitted")) ||
		!bytes.Contains(out, []byte("user.max_user_namespaces")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// asNobody runs the tests that match pattern as the user nobody.
func asNobody(t *testing.T, pattern string, env ...string) ([]byte, error) {
	t.Helper()
	// The directory of the test binary is closed to others.
	dir, err := os.MkdirTemp("", "netlab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), copyFile("/proc/self/exe", filepath.Join(dir, "netlab.test"))); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(filepath.Join(dir, "netlab.test"), "-test.v", "-test.run", pattern)
	c.Dir = "/"
	c.Env = append(append(os.Environ(), "HOME=/", "TMPDIR=/tmp"), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return c.CombinedOutput()
}

// userNamespaces reports whether a process without rights may make one.
func userNamespaces() bool {
	c := exec.Command("/bin/true")
	c.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
		Cloneflags: unix.CLONE_NEWUSER,
	}
	return c.Run() == nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// TCP runs at the speed tests of bulk transfer need.
func TestSwitch_CarriesTCP(t *testing.T) {
	p := newPair(t, 1)
	rate := tcpRate(t, p, 32<<20)
	t.Logf("%.0f Mbit/s, %+v", rate/1e6, p.sw.Counters())
	if rate < 50e6 { // several hundred on an idle machine; tests share theirs
		t.Errorf("only %.0f Mbit/s", rate/1e6)
	}
}

// tcpRate sends n bytes from a to b and returns bits per second.
func tcpRate(t *testing.T, p pair, n int64) float64 {
	t.Helper()
	var l net.Listener
	err := p.b.Do(func() (err error) {
		l, err = net.Listen("tcp4", addrB+":80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c net.Conn
	if err := p.a.Do(func() (err error) {
		c, err = net.Dial("tcp4", l.Addr().String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		chunk := make([]byte, 256<<10)
		for left := n; left > 0; left -= int64(len(chunk)) {
			if _, err := c.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
				sent <- err
				return
			}
		}
		sent <- c.Close()
	}()
	got, err := io.Copy(io.Discard, peer)
	if err := errors.Join(err, <-sent); err != nil || got != n {
		t.Fatalf("%d of %d bytes, %v", got, n, err)
	}
	return float64(8*n) / time.Since(start).Seconds()
}
