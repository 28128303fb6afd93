package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// interrupting ends the context of a command when it has printed something.
type interrupting struct {
	bytes.Buffer
	interrupt context.CancelFunc
}

func (w *interrupting) Write(p []byte) (int, error) {
	defer w.interrupt()
	return w.Buffer.Write(p)
}

// A put that is interrupted says so, keeps what it had acknowledged, and is finished
// by doing it again. A get that is interrupted leaves no part of a file.
func TestStore_Interrupted(t *testing.T) {
	dir := t.TempDir()
	machine, tree, back := filepath.Join(dir, "m"), filepath.Join(dir, "tree"), filepath.Join(dir, "back")
	const files, size = 300, 40_000
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprintf("f%03d", i)), bytes.Repeat([]byte{byte(i), 7}, size/2), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	aether := func(ctx context.Context, args ...string) (status int, out, errs string) {
		var o, e bytes.Buffer
		status = run(ctx, append([]string{"aether", "store"}, args...), strings.NewReader(""), &o, &e)
		return status, o.String(), e.String()
	}
	must := func(args ...string) string {
		t.Helper()
		status, out, errs := aether(t.Context(), args...)
		if status != 0 {
			t.Fatalf("%v: status %d, %s", args, status, errs)
		}
		return out
	}
	must("init", "--dir", machine, "--copies", "1")

	ctx, interrupt := context.WithCancel(t.Context())
	out, errs := &interrupting{interrupt: interrupt}, &bytes.Buffer{}
	if status := run(ctx, []string{"aether", "store", "put", "--dir", machine, tree, "/"}, strings.NewReader(""), out, errs); status != statusSignal || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("put: status %d, %q", status, errs)
	}
	shown := must("ls", "--dir", machine, "-r", "/")
	for line := range strings.Lines(out.String()) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "stored "); !ok || !strings.Contains(shown, p+"\n") {
			t.Errorf("%q was said and is not there", line)
		}
	}
	must("put", "-q", "--dir", machine, tree, "/")
	if n := strings.Count(must("ls", "--dir", machine, "-r", "/"), "/tree/f"); n != files {
		t.Errorf("%d files after putting again", n)
	}

	if err := os.Mkdir(back, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt = context.WithCancel(t.Context())
	defer interrupt()
	go func() { // as soon as there is something of it
		for ctx.Err() == nil {
			if list, _ := os.ReadDir(filepath.Join(back, "tree")); len(list) > 5 {
				interrupt()
			}
		}
	}()
	status, _, text := aether(ctx, "get", "--dir", machine, "/tree", back)
	if status != statusSignal && status != 0 {
		t.Errorf("get: status %d, %q", status, text)
	}
	list, err := os.ReadDir(filepath.Join(back, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if b, err := os.ReadFile(filepath.Join(back, "tree", e.Name())); len(b) != size || err != nil || strings.Contains(e.Name(), "part") {
			t.Errorf("%s has %d bytes, %v", e.Name(), len(b), err)
		}
	}
	t.Logf("put said %d of %d files, get brought %d, status %d", strings.Count(out.String(), "\n"), files, len(list), status)
	must("get", "--dir", machine, "/tree", back)
	if list, _ := os.ReadDir(filepath.Join(back, "tree")); len(list) != files {
		t.Errorf("%d files after getting again", len(list))
	}
}
