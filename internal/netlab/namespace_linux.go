package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/internal/netif"
)

// thread runs functions, one at a time, on an OS thread that ends with it.
type thread struct {
	work chan func()
	done chan struct{}
}

// newThread starts a thread and runs enter on it, which changes what the thread
// belongs to. The thread is never unlocked, so that the runtime destroys it
// rather than run other goroutines on it.
func newThread(enter func() error) (*thread, error) {
	t := &thread{work: make(chan func()), done: make(chan struct{})}
	entered := make(chan error, 1)
	go t.run(enter, entered)
	if err := <-entered; err != nil {
		<-t.done
		return nil, err
	}
	return t, nil
}

func (t *thread) run(enter func() error, entered chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot end before the process and would keep the
		// namespace. While it is locked here another thread takes over.
		taken := make(chan struct{})
		go func() {
			close(taken)
			t.run(enter, entered)
		}()
		<-taken
		runtime.UnlockOSThread()
		return
	}
	defer close(t.done)
	err := enter()
	entered <- err
	if err != nil {
		return
	}
	for f := range t.work {
		f()
	}
}

// do runs f on the thread.
func (t *thread) do(f func() error) error {
	err := errors.New("netlab: the function ended its goroutine")
	finished := make(chan struct{})
	t.work <- func() {
		defer close(finished)
		err = f()
	}
	<-finished
	return err
}

// end lets the thread end; it is about to when end returns.
func (t *thread) end() {
	close(t.work)
	<-t.done
}

// namespace is a network and a hostname (UTS) namespace without a name. It lives
// as long as its thread, its descriptors, the programs and the sockets in it.
type namespace struct {
	main     *thread // also the parent of programs, see dieWithParent
	net, uts int
	id       string // as in /proc/PID/ns/net

	mu      sync.Mutex
	threads []*thread // parents of programs with private directories
}

func newNamespace(hostname string) (*namespace, error) {
	n := &namespace{net: -1, uts: -1}
	var err error
	n.main, err = newThread(func() error { return n.create(hostname) })
	if err == nil {
		err = n.do(func() error { return prepare() })
		if err == nil {
			return n, nil
		}
	}
	n.close()
	return nil, err
}

func (n *namespace) create(hostname string) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	if n.id, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	if n.net, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return os.NewSyscallError("open", err)
	}
	n.uts, err = unix.Open("/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return os.NewSyscallError("open", err)
}

// prepare makes a new network namespace ready: loopback on, and IPv6 addresses
// usable at once (no duplicate address detection, RFC 4862 section 5.4) without
// asking for routers that are not there.
func prepare() error {
	for _, name := range []string{"accept_dad", "dad_transmits", "router_solicitations"} {
		err := setSysctl("net.ipv6.conf.default."+name, "0")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return netif.SetUp("lo")
}

// do runs f on the namespace's own thread; calls wait for each other.
func (n *namespace) do(f func() error) error { return n.main.do(f) }

// join puts the calling thread into the namespace.
func (n *namespace) join() error {
	if err := unix.Setns(n.net, unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("setns", err)
	}
	return os.NewSyscallError("setns", unix.Setns(n.uts, unix.CLONE_NEWUTS))
}

// enter runs f on a fresh thread in the namespace, beside other calls.
func (n *namespace) enter(f func() error) error {
	t, err := newThread(n.join)
	if err != nil {
		return err
	}
	defer t.end()
	return t.do(f)
}

// dieWithParent has the kernel kill the program when its parent ends. The parent
// is not the test process but the thread that forked (prctl(2),
// PR_SET_PDEATHSIG), so programs start only from threads that live as long as
// the lab.
func dieWithParent(c *exec.Cmd) {
	if c.SysProcAttr == nil {
		c.SysProcAttr = new(syscall.SysProcAttr)
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// start starts a program in the namespace.
func (n *namespace) start(c *exec.Cmd, private []string) error {
	if len(private) == 0 {
		return n.do(c.Start)
	}
	t, err := newThread(func() error {
		if err := n.join(); err != nil {
			return err
		}
		return hide(private)
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.threads = append(n.threads, t)
	n.mu.Unlock()
	return t.do(c.Start)
}

// hide gives the calling thread a view of the file system of its own with fresh
// directories over dirs.
func hide(dirs []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Without this mounts would spread to everybody.
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount /", err)
	}
	for _, dir := range dirs {
		kind := "tmpfs"
		if filepath.Clean(dir) == "/sys" {
			kind = "sysfs"
		}
		if err := unix.Mount("netlab", dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", kind, dir, err)
		}
	}
	return nil
}

// killRest kills whatever still runs in the namespace: what the test's programs
// have started. It tries for a second.
func (n *namespace) killRest() {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for range 200 {
		if n.killOnce() == 0 {
			return
		}
		<-pause.C
	}
}

func (n *namespace) killOnce() (found int) {
	proc, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range proc {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id, _ := os.Readlink("/proc/" + e.Name() + "/ns/net"); id != n.id {
			continue
		}
		found++
		n.kill(pid)
	}
	return found
}

// kill looks once more, now that the descriptor keeps the number from passing to
// another process.
func (n *namespace) kill(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	if id, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net"); id == n.id {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // gone already is fine
	}
}

// close gives up all that holds the namespace.
func (n *namespace) close() {
	for _, t := range n.threads {
		t.end()
	}
	if n.main != nil {
		n.main.end()
	}
	for _, fd := range []int{n.net, n.uts} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
