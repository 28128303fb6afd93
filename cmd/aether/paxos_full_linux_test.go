package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that fills up stops writes and nothing else: the node says so, reads and
// deletes, and starts again even when somebody else takes the last byte.
func TestPaxosServe_FullDisk(t *testing.T) {
	t.Parallel()
	p := newPaxosNodes(t, 1)
	if err := syscall.Mount("tmpfs", p.home, "tmpfs", 0, "size=256m"); err != nil {
		complain := t.Skipf
		if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
			complain = t.Fatalf
		}
		complain("no tmpfs can be mounted here (%v); run as root", err)
	}
	t.Cleanup(func() {
		p.kill(1)
		if err := syscall.Unmount(p.home, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	p.start(1)
	p.want("", 0, "put", "colour", "blue", "--timeout", "30s")
	value := make([]byte, 1<<20)
	put := func(key string) string {
		_, _ = rand.Read(value)
		c := p.command("put", key)
		c.Stdin = bytes.NewReader(value)
		b, err := c.CombinedOutput()
		if err == nil {
			return ""
		}
		return fmt.Sprintf("%v: %s", err, b)
	}
	// The first refusal need not be the last: the node tidies up, and has room again.
	var kept []string
	full := false
	for n := 0; !full && n < 600; n++ {
		key := fmt.Sprint("k", n)
		if said := put(key); said == "" {
			kept = append(kept, key)
			continue
		} else if !strings.Contains(said, "the disk of the node is full") || n < 10 {
			t.Fatalf("after %d values of a MiB: %s", n, said)
		}
		said, status := p.do("status")
		full = strings.Contains(said, "the disk of this node is full") && status == 1
	}
	if !full {
		t.Fatalf("%d values of a MiB fit into 256 MiB", len(kept))
	}
	p.want("blue", 0, "get", "colour")
	p.want("", 0, "del", kept[0])

	rest, err := os.Create(filepath.Join(p.home, "somebody-else"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = rest.Write(value)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	rest.Close()
	p.kill(1)
	p.start(1)
	p.want("blue", 0, "get", "colour", "--timeout", "30s")
	if err := os.Remove(rest.Name()); err != nil {
		t.Fatal(err)
	}
	for _, key := range kept[1:] {
		p.want("", 0, "del", key, "--timeout", "30s")
	}
	p.want("blue", 0, "get", "colour")
}
