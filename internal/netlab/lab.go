package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
)

// missing says how to get what New lacks.
const missing = `; a network namespace cannot be made here. Run the tests as root on Linux, or call netlab.Main from
TestMain and allow user namespaces: sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1
kernel.apparmor_restrict_unprivileged_userns=0 (as far as they exist)`

// Lab is the network of one test: its hosts and switches. All are gone when the
// test and its subtests have ended.
type Lab struct {
	t  testing.TB
	ns *namespace // the switches' ends of all cables

	mu       sync.Mutex
	hosts    []*Host
	switches []*Switch
	cables   int
}

// New returns an empty lab that is taken down when t ends. It skips t, saying
// what is missing, where the process may not make network namespaces.
func New(t testing.TB) *Lab {
	t.Helper()
	ns, err := newNamespace("switch")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("netlab: %v%s", err, missing)
	}
	if err != nil {
		t.Fatalf("netlab: %v", err)
	}
	l := &Lab{t: t, ns: ns}
	t.TempDir() // asked for before, directories of the test go after the programs that write there
	t.Cleanup(l.close)
	if err := ns.do(quiet); err != nil {
		t.Fatalf("netlab: %v", err)
	}
	return l
}

// Host adds a machine with only a loopback interface. Its name is its hostname
// and serves messages; two hosts may share one.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	ns, err := newNamespace(name)
	if err != nil {
		l.t.Fatalf("netlab: host %s: %v", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &Host{lab: l, name: name, number: len(l.hosts) + 1, ns: ns}
	l.hosts = append(l.hosts, h)
	return h
}

// Switch adds a switch without ports. See [Host.Attach].
func (l *Lab) Switch(cfg SwitchConfig) *Switch {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := newSwitch(l, cfg)
	l.switches = append(l.switches, s)
	return s
}

// close kills the programs first, so that nobody misses the network.
func (l *Lab) close() {
	for _, h := range l.hosts {
		h.killAll()
	}
	for _, s := range l.switches {
		if err := s.close(); err != nil {
			l.t.Errorf("netlab: switch: %v", err)
		}
	}
	for _, h := range l.hosts {
		h.ns.close()
	}
	l.ns.close()
}

// cable returns a number for a new cable, from 1.
func (l *Lab) cable() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cables++
	return l.cables
}

// fail ends the test: no test can go on in a lab that is not as it asked for.
func (l *Lab) fail(format string, args ...any) {
	l.t.Helper()
	l.t.Fatal(fmt.Errorf("netlab: "+format, args...))
}
