//go:build linux

package mount_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/mount"
	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

// A process that uses its own mount waits for itself. The tests therefore run this
// test binary again, as another process that does what roleVariable says.
const roleVariable = "AETHER_MOUNT_TEST_ROLE"

// roles are what a child can be.
var roles = map[string]func(args []string) error{
	"mount": mountRole,
	"lock":  lockRole,
}

func TestMain(m *testing.M) {
	name := os.Getenv(roleVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	role, ok := roles[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such role:", name)
		os.Exit(2)
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// role returns the command that runs this binary as a child.
func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the tests
	return cmd
}

// mountRole mounts the drive of the machine in the directory args[0], which it makes
// when it is not there, on args[1], until its standard input ends.
func mountRole(args []string) error {
	cfg := node.Config{Dir: args[0], Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if _, err := os.Stat(cfg.Dir); os.IsNotExist(err) {
		if _, err := node.Init(cfg, pool.Secret{}); err != nil {
			return err
		}
	}
	m, err := node.Open(cfg)
	if err != nil {
		return err
	}
	s, err := mount.Mount(context.Background(), m.Drive(), args[1], mount.Config{AllowOther: os.Getuid() == 0, Logger: cfg.Logger})
	if err != nil {
		_ = m.Close()
		return err
	}
	fmt.Println("mounted")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return m.Close()
}

// process is a child that mounts a drive.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *lockedBuffer
}

// startMount runs a child that mounts the drive of the machine on dir.
func startMount(machine, dir string) (*process, error) {
	p := &process{cmd: role("mount", machine, dir), stderr: &lockedBuffer{}}
	p.cmd.Stderr = p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		_ = p.cmd.Wait()
		return nil, fmt.Errorf("the child did not mount: %s", p.stderr)
	}
	return p, nil
}

// stop unmounts and waits for the end of the child.
func (p *process) stop() error {
	_ = p.stdin.Close()
	late := time.AfterFunc(2*time.Minute, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the mounting process: %w\n%s", err, p.stderr)
	}
	return nil
}

// kill ends the child without letting it do anything, and takes off what it left.
func (p *process) kill(dir string) {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
	detach(dir)
}

// detach takes off what is mounted on dir, if anything is.
func detach(dir string) {
	if syscall.Unmount(dir, syscall.MNT_FORCE|mntDetach) != nil {
		_ = exec.Command("fusermount3", "-u", "-z", dir).Run()
	}
}

const mntDetach = 2 // MNT_DETACH of umount2(2)

// mounted returns an empty directory of a drive of its own. With AETHER_LOCAL=1 it is
// one of the local file system, which shows that a test asks for nothing more than
// others give.
func mounted(t *testing.T) string {
	t.Helper()
	dir, _ := remountable(t)
	return dir
}

// remountable is mounted, with a function that ends the mounting process and starts
// another for the same machine and directory. It is to be called when nothing is open.
func remountable(t *testing.T) (dir string, again func()) {
	t.Helper()
	if local() {
		return t.TempDir(), func() {}
	}
	canMount(t)
	root := t.TempDir()
	dir = filepath.Join(root, "drive")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var p *process
	start := func() {
		t.Helper()
		var err error
		if p, err = startMount(filepath.Join(root, "machine"), dir); err != nil {
			t.Fatal(err)
		}
	}
	stop := func() {
		t.Helper()
		if err := p.stop(); err != nil {
			t.Error(err)
			p.kill(dir)
		}
		if s := p.stderr.String(); strings.Contains(s, "level=ERROR") {
			t.Errorf("the mount had errors of its own:\n%s", s)
		}
	}
	start()
	t.Cleanup(func() { stop() })
	return dir, func() { t.Helper(); stop(); start() }
}

// local reports whether the tests run on the local file system.
func local() bool { return os.Getenv("AETHER_LOCAL") == "1" }

// hasLinks reports whether files in dir can have a second name.
func hasLinks(t *testing.T, dir string) bool {
	t.Helper()
	one, two := filepath.Join(dir, "one name"), filepath.Join(dir, "two names")
	if err := os.WriteFile(one, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := os.Link(one, two)
	if err == nil {
		err = os.Remove(two)
	}
	if err != nil && !errors.Is(err, syscall.EPERM) {
		t.Fatal(err)
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	return err == nil
}

// canMount skips a test where nothing can be mounted. Where only a program is missing it
// fails, if AETHER_REQUIRE_PEERS=1 says so.
func canMount(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil { // that is the kernel's, no package brings it
		t.Skipf("FUSE cannot be used: %v (modprobe fuse)", err)
	}
	f.Close()
	if _, err := exec.LookPath("fusermount3"); err != nil && os.Geteuid() != 0 {
		missing(t, "only root mounts without the program fusermount3 (apt install fuse3)")
	}
}

// program skips or fails a test, as canMount does, where a program is not installed.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, fmt.Sprintf("the program %s is not installed", name))
	}
	return path
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// lockedBuffer is what a child said so far.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
