package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// logLines is a log that a test can read.
type logLines struct {
	slog.Handler
	mu   sync.Mutex
	text []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }

func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	s := r.Message
	r.Attrs(func(a slog.Attr) bool { s += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, s)
	return nil
}

func (l *logLines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.text, func(s string) bool { return strings.Contains(s, part) })
}

// divert takes the row of a name from the drive, as a bug would, with the root hash
// that a drive without it would have.
func (h *host) divert(t *testing.T, name string) {
	t.Helper()
	err := h.core.call(t.Context(), func() {
		was, err := h.tree.RootHash(h.kv)
		if err != nil {
			t.Error(err)
		}
		state, err := h.kv.Get([]byte("tz"))
		if err != nil || !bytes.Contains(state, was[:]) {
			t.Error("no root hash in the state", err)
		}
		var row []byte
		_ = h.kv.Scan([]byte("te"), []byte("tf"), func(k, _ []byte) bool {
			if bytes.Contains(k, append([]byte(name), 0)) {
				row = bytes.Clone(k)
			}
			return row == nil
		})
		other := was
		other[5] ^= 1
		tx := h.kv.Begin()
		_ = tx.Delete(row)
		_ = tx.Set([]byte("tz"), bytes.Replace(state, was[:], other[:], 1))
		if err := tx.Commit(true); err != nil || row == nil {
			t.Error("nothing was diverted", err)
		}
		h.core.root.due = time.Time{}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A drive that is not what its operations make it is found, the file named, and made
// anew.
func TestServe_DivergedDriveIsFoundAndMended(t *testing.T) {
	secret, dir := pool.NewSecret(), t.TempDir()
	a := serve(t, dir+"/a", secret)
	log := &logLines{}
	b := serveOpened(t, Config{Dir: dir + "/b", Logger: slog.New(log)}, secret, ServeConfig{Peers: []netip.AddrPort{a.addr}})
	for i := range 50 {
		if err := a.write(t, fmt.Sprintf("/file %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "b has them", func() bool { _, err := b.drive.Stat("/file 49"); return err == nil })
	want := everything(t, a.Machine)
	quiet := func() bool {
		before, _ := b.operations()
		<-time.After(time.Second)
		after, _ := b.operations()
		theirs, _ := a.operations()
		return bytes.Equal(before, after) && bytes.Equal(after, theirs)
	}
	eventually(t, "all files have their holders", quiet)
	b.divert(t, "file 7")
	if _, err := b.drive.Stat("/file 7"); err == nil {
		t.Fatal("it is still there")
	}
	eventually(t, "it is mended", func() bool { _, err := b.drive.Stat("/file 7"); return err == nil })
	if got := everything(t, b.Machine); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("the drives are not the same")
	}
	if !log.has("name=/file 7") || log.has("name=/file 8") {
		t.Error("the log does not name what was different:", log.text)
	}
	for _, h := range []*host{a, b} {
		eventually(t, "no alarm stays", func() bool {
			all, _ := h.alarms.list(time.Now())
			return !slices.ContainsFunc(all, func(al Alarm) bool { return al.Kind == AlarmDiverged })
		})
	}
}

func TestServeCompare_BadRequests(t *testing.T) {
	h := alone(t)
	for _, b := range [][]byte{nil, {0xff}, {0x83, 0x40, 0x51, 0xf4}} {
		if _, err := h.serveCompare(link.Message{Header: b}); err == nil {
			t.Errorf("%x was taken", b)
		}
	}
	if r, err := h.digests(compareRequest{State: make([]byte, 32)}); err != nil || !r.Moved {
		t.Errorf("other operations compare: %+v %v", r, err)
	}
	if _, err := h.askDigests(t.Context(), store.MachineID{1}, compareRequest{}); err == nil {
		t.Error("somebody who is not there answered")
	}
}
