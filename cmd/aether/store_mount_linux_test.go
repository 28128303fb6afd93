package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// aether runs the command in a process of its own and returns what it prints.
func (m *mountedMachine) aether(args ...string) (string, error) {
	cmd := exec.Command(m.program, args...)
	cmd.Env = append(os.Environ(), "AETHER_DIR="+m.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mountedMachine is a machine whose drive is mounted by a process of its own.
type mountedMachine struct {
	program, dir, mnt string
	cmd               *exec.Cmd
	out               *bufio.Reader
}

func (m *mountedMachine) start(t *testing.T, args ...string) string {
	t.Helper()
	m.cmd = exec.Command(m.program, args...)
	m.cmd.Env = append(os.Environ(), "AETHER_DIR="+m.dir)
	var errs bytes.Buffer
	m.cmd.Stderr = &errs
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		_ = unix.Unmount(m.mnt, unix.MNT_DETACH)
	})
	m.out = bufio.NewReader(out)
	line, err := m.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	return line
}

func newMountedMachine(t *testing.T) *mountedMachine {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("the drive cannot be mounted here: %v (modprobe fuse)", err)
	}
	f.Close()
	if os.Geteuid() != 0 {
		t.Skip("this test mounts as root: run it as root")
	}
	program := filepath.Join(t.TempDir(), "aether")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	base := t.TempDir()
	m := &mountedMachine{program: program, dir: filepath.Join(base, "machine"), mnt: filepath.Join(base, "drive")}
	if err := os.Mkdir(m.mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := m.aether("store", "init"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return m
}

// A drive that is mounted and the commands see the same files, and an interrupt leaves
// nothing mounted.
func TestStoreMount(t *testing.T) {
	t.Parallel()
	m := newMountedMachine(t)
	line := m.start(t, "store", "mount", m.mnt)
	if !strings.HasPrefix(line, "mounted on "+m.mnt) {
		t.Fatalf("%q", line)
	}
	file := filepath.Join(m.mnt, "letter")
	if err := os.WriteFile(file, []byte("dear all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := m.aether("store", "cat", "/letter"); err != nil || out != "dear all" {
		t.Errorf("cat: %q, %v", out, err)
	}
	if out, err := m.aether("store", "put", "-q", "main_test.go", "/"); err != nil {
		t.Fatalf("put: %s, %v", out, err)
	}
	want, err := os.ReadFile("main_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(m.mnt, "main_test.go")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of what was put, %v", len(got), err)
	}
	// What a command changes is seen at once, though the kernel knew it otherwise.
	if out, err := m.aether("store", "mv", "/letter", "/note"); err != nil {
		t.Fatalf("mv: %s, %v", out, err)
	}
	if got, err := os.ReadFile(filepath.Join(m.mnt, "note")); err != nil || string(got) != "dear all" {
		t.Errorf("the new name: %q, %v", got, err)
	}
	for _, change := range [][]string{{"store", "put", "-q", "store.go", "/note"}, {"store", "undo", "/note"}} {
		if out, err := m.aether(change...); err != nil {
			t.Fatalf("%v: %s, %v", change, out, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(m.mnt, "note")); err != nil || string(got) != "dear all" {
		t.Errorf("after undo: %q, %v", got, err)
	}
	if err := m.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Wait(); err != nil && m.cmd.ProcessState.ExitCode() > 1 {
		t.Errorf("interrupted: %v", err)
	}
	if names, err := os.ReadDir(m.mnt); err != nil || len(names) != 0 {
		t.Errorf("%d files are still shown, %v", len(names), err)
	}
	// Mounted by a running node, and taken off again.
	m.start(t, "store", "serve", "--no-discovery", "--webdav", "off", "--listen", "127.0.0.1:0")
	if out, err := m.aether("store", "mount", m.mnt); err != nil {
		t.Fatalf("mount: %s, %v", out, err)
	}
	if got, err := os.ReadFile(filepath.Join(m.mnt, "note")); err != nil || string(got) != "dear all" {
		t.Errorf("mounted by the node: %q, %v", got, err)
	}
	if out, err := m.aether("store", "mount", m.mnt); err == nil {
		t.Errorf("mounted twice: %s", out)
	}
	if out, err := m.aether("store", "umount", m.mnt); err != nil {
		t.Errorf("umount: %s, %v", out, err)
	}
	if out, err := m.aether("store", "umount", m.mnt); err == nil {
		t.Errorf("umount of nothing: %s", out)
	}
}
