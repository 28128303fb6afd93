package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestStorePut_SurvivesKill kills a node in the middle of a put, several times.
// After each restart every file that was acknowledged is there, byte for byte, and
// every file that is shown is whole.
func TestStorePut_SurvivesKill(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	bin, dir := buildAether(t), t.TempDir()
	local := filepath.Join(dir, "local")
	want := map[string][]byte{}
	for i := range 400 {
		name := fmt.Sprintf("f%03d", i)
		b := make([]byte, r.IntN(40_000))
		if i%40 == 0 {
			b = make([]byte, 3_000_000)
		}
		_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(b)
		want[name] = b
		if err := os.MkdirAll(local, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(local, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	acked := map[string]bool{} // by path in the drive
	for round := range 3 {
		node := startNode(t, bin, dir)
		into := fmt.Sprintf("/round%d", round)
		put := exec.Command(bin, "store", "put", "--dir", filepath.Join(dir, "m"), "--json", local, into+"/")
		var out output
		put.Stdout = &out
		if err := put.Start(); err != nil {
			t.Fatal(err)
		}
		// The node dies once so many lines have come, sometimes after all.
		lines := fmt.Sprintf(`(?s)(\n.*){%d}`, r.IntN(450))
		dead := make(chan bool)
		go func() {
			out.waitFor(regexp.MustCompile(lines), 2*time.Second)
			node.Process.Kill()
			close(dead)
		}()
		_ = put.Wait() // fails where the node died first
		<-dead
		_ = node.Wait()
		for line := range strings.Lines(out.String()) {
			var ev struct{ Event, Path string }
			if json.Unmarshal([]byte(line), &ev) == nil && ev.Event == "stored" {
				acked[ev.Path] = true
			}
		}
		checkSurvivors(t, bin, dir, want, acked)
	}
	t.Logf("%d files acknowledged", len(acked))
}

// startNode starts a node on loopback and waits until it serves.
func startNode(t *testing.T, bin, dir string) *exec.Cmd {
	t.Helper()
	node := exec.Command(bin, "store", "serve", "--dir", filepath.Join(dir, "m"), "--no-discovery", "--listen", "127.0.0.1:0", "--webdav", "off", "--json")
	var out, errs output
	node.Stdout, node.Stderr = &out, &errs
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Process.Kill() })
	if !out.waitFor(regexp.MustCompile(`"event":"serving"`), 20*time.Second) {
		t.Fatalf("the node does not serve: %s%s", out.String(), errs.String())
	}
	return node
}

// checkSurvivors opens the machine that was killed and reads everything it shows.
func checkSurvivors(t *testing.T, bin, dir string, want map[string][]byte, acked map[string]bool) {
	t.Helper()
	back, err := os.MkdirTemp(dir, "back")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "store", "get", "--dir", filepath.Join(dir, "m"), "/", back).CombinedOutput(); err != nil {
		t.Fatalf("get: %v\n%s", err, out)
	}
	for path := range acked {
		if _, err := os.Stat(filepath.Join(back, path)); err != nil {
			t.Errorf("%s was acknowledged and is lost", path)
		}
	}
	shown, err := filepath.Glob(filepath.Join(back, "round*", "local", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range shown {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want[filepath.Base(file)]) {
			t.Errorf("%s is not whole: %d bytes, want %d", file, len(b), len(want[filepath.Base(file)]))
		}
	}
	if len(shown) < len(acked) {
		t.Errorf("%d files are shown, %d were acknowledged", len(shown), len(acked))
	}
}
