package node

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// host is a machine that serves on loopback in this process.
type host struct {
	*Machine
	client *Client
	addr   netip.AddrPort
	stop   func()

	mu     sync.Mutex
	events []Event
	news   chan struct{}
}

// serve starts the machine in dir, makes it where it is missing, and stops it with
// the test.
func serve(t *testing.T, dir string, secret pool.Secret, peers ...netip.AddrPort) *host {
	t.Helper()
	return serveWith(t, dir, secret, ServeConfig{Peers: peers})
}

// serveWith is serve with a configuration; where to listen is chosen here.
func serveWith(t *testing.T, dir string, secret pool.Secret, cfg ServeConfig) *host {
	t.Helper()
	return serveOpened(t, Config{Dir: dir}, secret, cfg)
}

// serveOpened is serveWith for a machine that is opened as open says.
func serveOpened(t *testing.T, open Config, secret pool.Secret, cfg ServeConfig) *host {
	t.Helper()
	dir := open.Dir
	m, err := Open(open)
	if errors.Is(err, pool.ErrNoPool) || err != nil && strings.Contains(err.Error(), "no such file") {
		if _, err := Init(Config{Dir: dir, Set: Settings{Name: filepath.Base(dir), Space: 1 << 30}}, secret); err != nil {
			t.Fatal(err)
		}
		m, err = Open(open)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Machine: m, news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		cfg.Listen, cfg.NoDiscovery, cfg.NoWebDAV, cfg.Event = netip.MustParseAddrPort("127.0.0.1:0"), true, true, h.hear
		ended <- m.Serve(ctx, cfg)
	}()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			if h.client != nil {
				h.client.Close()
			}
			cancel()
			if err := errors.Join(<-ended, m.Close()); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		})
	}
	t.Cleanup(h.stop)
	h.await(t, func(ev Event) bool { return ev.Kind == EventServing })
	h.addr = netip.MustParseAddrPort(h.Summary().Listen)
	if h.client, err = Connect(context.Background(), dir); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) hear(ev Event) {
	h.mu.Lock()
	h.events = append(h.events, ev)
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// await waits for an event that has come or will.
func (h *host) await(t *testing.T, is func(Event) bool) Event {
	t.Helper()
	end := time.After(20 * time.Second)
	for {
		h.mu.Lock()
		for _, ev := range h.events {
			if is(ev) {
				h.mu.Unlock()
				return ev
			}
		}
		h.mu.Unlock()
		select {
		case <-h.news:
		case <-end:
			t.Fatalf("waited in vain; heard %+v", h.events)
		}
	}
}

func (h *host) put(t *testing.T, name string, body []byte) {
	t.Helper()
	err := h.client.Put(t.Context(), "/", func(tw *tar.Writer) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}); err != nil {
			return err
		}
		_, err := tw.Write(body)
		return err
	}, func(s Stored) {
		if s.Error != "" {
			t.Errorf("%s: %s", s.Path, s.Error)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *host) cat(t *testing.T, name string) []byte {
	t.Helper()
	r, err := h.client.Cat(t.Context(), name, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (h *host) names(t *testing.T) (names []string) {
	t.Helper()
	if err := h.client.List(t.Context(), "/", true, func(l Listing) error { names = append(names, l.Path); return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

// eventually polls what no event tells of, without a fixed wait.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func randomBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestServe_FilesReachTheOtherMachine(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	files := map[string][]byte{"empty": {}, "small": []byte("hello"), "mid": randomBytes(1, 3<<20), "big": randomBytes(2, 40<<20)}
	a.put(t, "before", []byte("put before the other machine came"))
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	a.await(t, func(ev Event) bool { return ev.Kind == EventConnected && ev.Machine == b.ID() })
	for name, body := range files {
		a.put(t, name, body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := a.client.Flush(ctx, "/"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b knows of all copies", func() bool {
		s, err := b.client.Status(t.Context())
		return err == nil && s.Files == 5 && s.FullyReplicated == 5 && s.Pending == 0
	})
	a.stop() // what b shows from here on is b's own
	for name, body := range files {
		if got := b.cat(t, "/"+name); !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(body))
		}
	}
	if got := b.cat(t, "/before"); !strings.HasPrefix(string(got), "put before") {
		t.Errorf("a file from before the machine joined: %q", got)
	}
	s, err := b.client.Status(t.Context())
	if err != nil || s.FullyReplicated != 5 {
		t.Errorf("while a is away its copies do not count: %+v, %v", s, err)
	}
}

// A third machine carries between two that never meet.
func TestServe_StoreAndForward(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	laptop := serve(t, filepath.Join(dir, "laptop"), secret, a.addr)
	a.await(t, func(ev Event) bool { return ev.Kind == EventConnected })
	a.put(t, "letter", []byte("by post"))
	if err := a.client.Flush(t.Context(), "/"); err != nil {
		t.Fatal(err)
	}
	a.stop()
	b := serve(t, filepath.Join(dir, "b"), secret, laptop.addr)
	eventually(t, "the letter at b", func() bool { return len(b.names(t)) == 1 })
	if got := b.cat(t, "/letter"); string(got) != "by post" {
		t.Errorf("letter %q", got)
	}
}

// Edits that had not seen each other: one keeps the name, the other is a conflict
// copy, the same on both machines.
func TestServe_ConflictsAreTheSameEverywhere(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret)
	a.put(t, "note.txt", []byte("a's"))
	b.put(t, "note.txt", []byte("b's"))
	b.mesh.Load().AddAddress(link.PeerID{}, a.addr)
	eventually(t, "two files on both", func() bool { return len(a.names(t)) == 2 && len(b.names(t)) == 2 })
	na, nb := a.names(t), b.names(t)
	if fmt.Sprint(na) != fmt.Sprint(nb) {
		t.Errorf("a shows %q, b shows %q", na, nb)
	}
	bodies := map[string]bool{}
	for _, n := range na {
		x, y := a.cat(t, n), b.cat(t, n)
		if !bytes.Equal(x, y) {
			t.Errorf("%s: %q on a, %q on b", n, x, y)
		}
		bodies[string(x)] = true
	}
	if !bodies["a's"] || !bodies["b's"] {
		t.Errorf("an edit is lost: %v", bodies)
	}
}

func TestServe_WrongSecretGetsNothing(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.NewSecret())
	a.put(t, "private", []byte("x"))
	stranger := serve(t, filepath.Join(dir, "stranger"), pool.NewSecret(), a.addr)
	ev := a.await(t, func(ev Event) bool { return ev.Kind == EventRefused })
	if ev.Machine != stranger.ID() {
		t.Errorf("refused %v, want %v", ev.Machine, stranger.ID())
	}
	if n := stranger.names(t); len(n) != 0 {
		t.Errorf("the stranger sees %q", n)
	}
	s, err := stranger.client.Status(t.Context())
	if err != nil || len(s.Machines) != 1 {
		t.Errorf("the stranger knows %+v, %v", s.Machines, err)
	}
}

func TestServe_GarbageOnThePort(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
	for i := range byte(20) {
		c, err := net.Dial("tcp", a.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(randomBytes(i, 3000))
		c.Close()
	}
	eventually(t, "the garbage is counted", func() bool { return a.mesh.Load().Counters().Garbage > 0 })
	a.put(t, "still", []byte("serving"))
}

func TestOpen_OneProcessOnly(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
	if _, err := Open(Config{Dir: a.cfg.Dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open of a served machine: %v", err)
	}
}

func TestServe_RestartKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	a := serve(t, dir, pool.NewSecret())
	a.put(t, "kept", []byte("here"))
	id := a.ID()
	a.stop()
	a = serve(t, dir, pool.Secret{})
	if got := a.cat(t, "/kept"); string(got) != "here" || a.ID() != id {
		t.Errorf("after a restart: %q, machine %v, was %v", got, a.ID(), id)
	}
}

func TestPut_FullSpaceSaysSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := Init(Config{Dir: dir, Set: Settings{Space: 1 << 20}}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	a := serve(t, dir, pool.Secret{})
	err := a.client.Put(t.Context(), "/", func(tw *tar.Writer) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 8 << 20}); err != nil {
			return err
		}
		_, err := tw.Write(randomBytes(1, 8<<20))
		return err
	}, func(s Stored) { t.Errorf("stored %+v", s) })
	if err == nil || !strings.Contains(err.Error(), "no space left") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Put = %v", err)
	}
	if n := a.names(t); len(n) != 0 {
		t.Errorf("half-written: %q", n)
	}
}

func TestControl_RefusesBadPaths(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
	for _, p := range []string{"", "x", "/../x", "/a/../../x", "/\x00", "/" + strings.Repeat("n", 300)} {
		if err := a.client.Mkdir(t.Context(), p, true); err == nil {
			t.Errorf("mkdir %q was accepted", p)
		}
	}
	if _, err := a.client.Cat(t.Context(), "/nothing", time.Time{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("cat of nothing: %v", err)
	}
}

// A directory that is removed while its parent is listed is no fault of the listing.
func TestList_DirectoriesThatGoMeanwhile(t *testing.T) {
	a := serve(t, t.TempDir(), pool.NewSecret())
	for _, p := range []string{"/a", "/b", "/b/c", "/d"} {
		if err := a.Drive().Mkdir(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	err := a.walk(t.Context(), "/", time.Time{}, true, func(name string, _ tree.Entry) error {
		names = append(names, name)
		if name == "/b" {
			return a.Drive().Remove(t.Context(), "/b", true)
		}
		return nil
	})
	if err != nil || !slices.Contains(names, "/d") {
		t.Errorf("listed %v, %v", names, err)
	}
	if err := a.walk(t.Context(), "/b", time.Time{}, true, nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
