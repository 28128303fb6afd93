package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// outsider returns a machine that does not keep the file n, and one that does.
func outsider(t *testing.T, hosts []*host, n string) (out, in *host) {
	t.Helper()
	eventually(t, "all know the file", func() bool {
		for _, h := range hosts {
			if _, err := h.drive.Stat(n); err != nil {
				return false
			}
		}
		return true
	})
	keepers := hosts[0].holders(t, n)
	for _, h := range hosts {
		if slices.Contains(keepers, h.ID()) {
			in = h
		} else {
			out = h
		}
	}
	if out == nil || in == nil {
		t.Fatalf("%s is kept by %v", n, keepers)
	}
	return out, in
}

// isHere reports whether a machine has all bytes of a file on its own disk.
func (h *host) isHere(t *testing.T, n string) bool {
	t.Helper()
	e, err := h.drive.Stat(n)
	return err == nil && h.here(e.Version.Content)
}

func TestPin_KeepsWhatIsThereAndWhatComes(t *testing.T) {
	hosts := servePool(t, 3, 1, ServeConfig{})
	a := hosts[0]
	if err := a.client.Mkdir(t.Context(), "/docs", true); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		a.put(t, fmt.Sprint("docs/f", i), randomBytes(byte(i), 50<<10))
	}
	a.flush(t)
	b := hosts[1]
	eventually(t, "b knows the files", func() bool { return len(b.names(t)) == 7 })
	if err := b.client.Pin(t.Context(), "/docs"); err != nil {
		t.Fatal(err)
	}
	all := func(n int) func() bool {
		return func() bool {
			for i := range n {
				if !b.isHere(t, fmt.Sprint("/docs/f", i)) {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "what was there", all(6))
	for i := range 4 {
		a.put(t, fmt.Sprint("docs/f", 6+i), randomBytes(byte(6+i), 50<<10))
	}
	eventually(t, "what comes", all(10))
	if err := a.client.Rename(t.Context(), "/docs", "/papers"); err != nil {
		t.Fatal(err)
	}
	a.put(t, "papers/late", randomBytes(99, 50<<10))
	eventually(t, "what comes after it was moved", func() bool { return b.isHere(t, "/papers/late") })
	var pins []Pin
	list := func() bool {
		pins = nil
		err := b.client.Pins(t.Context(), func(p Pin) error { pins = append(pins, p); return nil })
		return err == nil && len(pins) == 1 && pins[0].Path == "/papers" && pins[0].Files == 11 && pins[0].Missing == 0
	}
	eventually(t, "the list", list)
	if err := b.client.Unpin(t.Context(), "/papers/late"); !errors.Is(err, ErrNotPinned) {
		t.Errorf("unpin of what is only below a pin: %v", err)
	}
	if err := b.client.Unpin(t.Context(), "/papers"); err != nil {
		t.Fatal(err)
	}
	if list() {
		t.Error("it is still pinned")
	}
	if err := b.client.Pin(t.Context(), "/nothing"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("pin of nothing: %v", err)
	}
}

func TestWarm_ThenNoNetworkIsNeeded(t *testing.T) {
	hosts := servePool(t, 2, 1, ServeConfig{})
	body := randomBytes(3, 3<<20)
	hosts[0].put(t, "film", body)
	hosts[0].flush(t)
	out, in := outsider(t, hosts, "/film")
	if e, err := out.drive.Stat("/film"); err != nil {
		t.Fatal(err)
	} else {
		drop(t, out.Machine, e.Version.Content)
	}
	var last Progress
	if err := out.client.Warm(t.Context(), "/", func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if !last.End || last.Files != 1 || last.Bytes != int64(len(body)) || last.TotalBytes != last.Bytes {
		t.Errorf("told %+v", last)
	}
	in.stop()
	if got := out.cat(t, "/film"); !bytes.Equal(got, body) {
		t.Error("wrong bytes")
	}
	if err := out.client.Warm(t.Context(), "/nothing", func(Progress) {}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("warm of nothing: %v", err)
	}
}

func TestFlush_TellsHowFarItIs(t *testing.T) {
	hosts := servePool(t, 2, 2, ServeConfig{})
	hosts[1].stop()
	hosts[0].put(t, "f", []byte("x"))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var last Progress
	err := hosts[0].client.FlushTelling(ctx, "/", func(p Progress) { last = p })
	if !errors.Is(err, context.DeadlineExceeded) || last.TotalFiles != 1 || last.Files != 0 {
		t.Errorf("%v, told %+v", err, last)
	}
}
