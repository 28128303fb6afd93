//go:build linux

package mount_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A program that keeps a file open must neither keep the mount from ending nor lose
// what it had saved.
func TestClose_WhileInUse(t *testing.T) {
	canMount(t)
	root := t.TempDir()
	machine, dir := filepath.Join(root, "machine"), filepath.Join(root, "drive")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := startMount(machine, dir)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(filepath.Join(dir, "f"), readWrite|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("saved")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fsync(fd); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	_, err = unix.Write(fd, []byte("more")) // which the kernel may keep for itself
	if serr := unix.Fsync(fd); err == nil && serr == nil {
		t.Error("writing goes on after the end")
	}

	if p, err = startMount(machine, dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f")); string(b) != "saved" || err != nil {
		t.Errorf("after mounting again the file is %q, %v", b, err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}
