package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("not found"), 1},
		{failed(), 1},
		{usage("want NAME"), 2},
		{fmt.Errorf("store: ls: %w", usage("want a path")), 2},
		{fs.ErrPermission, 3},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 3},
		{fmt.Errorf("mdns: listen: %w", syscall.EPERM), 3},
		{fmt.Errorf("linklocal: %w", errors.ErrUnsupported), 3},
		{fmt.Errorf("linklocal: claim: %w", netif.ErrNotPermitted), 3},
		{fmt.Errorf("linklocal: claim: %w", netif.ErrNotSupported), 3},
		{fmt.Errorf("write: %w", syscall.EPIPE), 0},
	} {
		if got := statusOf(c.err); got != c.want {
			t.Errorf("%v: status %d, want %d", c.err, got, c.want)
		}
	}
}

// Every line is whole, whoever else prints, and begins with event and time.
func TestPrinter_ManyAtOnce(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out, json: true}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if err := p.event("tick", "", "from", i, "seq", j); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 400 {
		t.Errorf("%d lines, want 400", len(lines))
	}
	for _, l := range lines {
		var e struct {
			Event string
			Time  time.Time
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil || e.Event != "tick" || e.Time.IsZero() {
			t.Errorf("%q: %v", l, err)
		}
		if !strings.HasPrefix(l, `{"event":"tick","time":"`) || !strings.Contains(l, `","from":`) {
			t.Errorf("order of fields: %s", l)
		}
	}
}

// Each line is written at once: nothing waits in a buffer for the next.
func TestPrinter_WritesEachLineAtOnce(t *testing.T) {
	w := &countingWriter{}
	p := &printer{out: w}
	for i := range 3 {
		if err := p.event("add", "printer on the shelf"); err != nil || w.writes != i+1 {
			t.Fatalf("%d writes after %d lines, %v", w.writes, i+1, err)
		}
	}
}

type countingWriter struct{ writes int }

func (w *countingWriter) Write(b []byte) (int, error) {
	w.writes++
	return len(b), nil
}

// When the reader of the pipe has gone, printing says so, for good.
func TestPrinter_ClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	p := &printer{out: w}
	for range 2 {
		err := p.event("add", "nobody reads this")
		if !errors.Is(err, syscall.EPIPE) || statusOf(err) != statusOfPipe {
			t.Errorf("%v, status %d", err, statusOf(err))
		}
	}
}
