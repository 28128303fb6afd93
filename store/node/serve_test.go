package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/aether-lan/aether/store/pool"
)

// A directory whose path is longer than the address of a Unix socket works like
// any other, where /proc makes that possible.
func TestServe_LongDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if runtime.GOOS != "linux" {
		if _, err := listenSocket(t.Context(), filepath.Join(dir, socketName)); !errors.Is(err, errLongPath) {
			t.Errorf("listen: %v", err)
		}
		return
	}
	a := serve(t, dir, pool.NewSecret())
	a.put(t, "f", []byte("x"))
	s, err := a.client.Status(t.Context())
	if err != nil || !s.Running {
		t.Errorf("the client opened the machine itself: %+v, %v", s, err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open = %v", err)
	}
	a.stop()
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	c, err := Connect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s, err := c.Status(t.Context()); err != nil || s.Running || s.Files != 1 {
		t.Errorf("without a node: %+v, %v", s, err)
	}
}

// A socket that a killed node left behind is in nobody's way.
func TestServe_StaleSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	a := serve(t, dir, pool.NewSecret())
	a.stop()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	c, err := Connect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Running {
		t.Errorf("%+v, %v", s, err)
	}
	c.Close()
	serve(t, dir, pool.Secret{})
}

func oneLine(err error) bool { return err != nil && !strings.Contains(err.Error(), "\n") }

func TestServe_PortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := Init(Config{Dir: dir}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, cfg := range []ServeConfig{
		{NoDiscovery: true, NoWebDAV: true, Listen: addr},
		{NoDiscovery: true, WebDAV: addr, Listen: netip.MustParseAddrPort("127.0.0.1:0")},
	} {
		err := m.Serve(t.Context(), cfg)
		if !oneLine(err) || !strings.Contains(err.Error(), addr.String()) || !strings.Contains(err.Error(), "in use") {
			t.Errorf("Serve = %v", err)
		}
	}
	err = m.Serve(t.Context(), ServeConfig{NoDiscovery: true, NoWebDAV: true, Interfaces: []string{"nosuch0"}})
	if !oneLine(err) || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("Serve = %v", err)
	}
}

func TestOpen_WithoutAMachine(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, pool.ErrNoPool) {
		t.Errorf("Open = %v", err)
	}
	if _, err := Connect(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Connect = %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "none")); err == nil {
		t.Error("Connect made a directory")
	}
}

// A machine that cannot be opened with a setting must not remember it.
func TestInit_RefusesBadSettings(t *testing.T) {
	for _, s := range []Settings{{Name: strings.Repeat("n", maxName+1)}, {Name: "\xff"}, {Name: "a\nb"}, {Space: -1}, {Copies: -1}} {
		dir := filepath.Join(t.TempDir(), "a")
		if _, err := Init(Config{Dir: dir, Set: s}, pool.Secret{}); err == nil {
			t.Errorf("Init with %+v was accepted", s)
		}
		if _, err := Init(Config{Dir: dir}, pool.Secret{}); err != nil {
			t.Errorf("after Init with %+v: %v", s, err)
		}
		m, err := Open(Config{Dir: dir, Set: s})
		if err == nil {
			t.Errorf("Open with %+v was accepted", s)
			m.Close()
		}
		if m, err = Open(Config{Dir: dir}); err != nil {
			t.Errorf("after Open with %+v: %v", s, err)
			continue
		}
		m.Close()
	}
}

// captured is a log in memory.
type captured struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *captured) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *captured) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// Who was refused stands in the log and in an event, by its whole ID.
func TestServe_RefusalIsLogged(t *testing.T) {
	dir := t.TempDir()
	stranger := serve(t, filepath.Join(dir, "stranger"), pool.NewSecret())
	if _, err := Init(Config{Dir: filepath.Join(dir, "a")}, pool.NewSecret()); err != nil {
		t.Fatal(err)
	}
	var log captured
	m, err := Open(Config{Dir: filepath.Join(dir, "a"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Machine: m, news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- m.Serve(ctx, ServeConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Peers: []netip.AddrPort{stranger.addr}, NoDiscovery: true, NoWebDAV: true, Event: h.hear})
	}()
	ev := h.await(t, func(ev Event) bool { return ev.Kind == EventRefused })
	cancel()
	if err := errors.Join(<-ended, m.Close()); err != nil {
		t.Error(err)
	}
	if ev.Machine != stranger.ID() || ev.Reason == "" {
		t.Errorf("event %+v", ev)
	}
	if !strings.Contains(log.String(), stranger.ID().String()) {
		t.Errorf("the log does not name %v:\n%s", stranger.ID(), log.String())
	}
	if s, err := stranger.client.Status(t.Context()); err != nil || len(s.Machines) != 1 {
		t.Errorf("the stranger learnt of %+v, %v", s.Machines, err)
	}
}

// A file whose only copy is on another machine is read from there, and by a third
// from the cache of the second.
func TestServe_ReadsWhatIsElsewhere(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	for _, n := range []string{"a", "b", "c"} {
		if _, err := Init(Config{Dir: filepath.Join(dir, n), Set: Settings{Name: n, Space: 1 << 30, Copies: 1}}, secret); err != nil {
			t.Fatal(err)
		}
	}
	a := serve(t, filepath.Join(dir, "a"), secret)
	body := randomBytes(7, 2<<20)
	a.put(t, "f", body) // one copy, on a, since a knew of nobody else
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	eventually(t, "the name on b", func() bool { return len(b.names(t)) == 1 })
	c := serve(t, filepath.Join(dir, "c"), secret, b.addr)
	eventually(t, "the name on c", func() bool { return len(c.names(t)) == 1 })
	if got := b.cat(t, "/f"); !bytes.Equal(got, body) {
		t.Errorf("b reads %d bytes", len(got))
	}
	if got := c.cat(t, "/f"); !bytes.Equal(got, body) {
		t.Errorf("c reads %d bytes, which b has in its cache", len(got))
	}
}

// Machines that are moved and edited by both sides while apart show the same tree
// after they meet, by name and by content.
func TestServe_AnythingWhileApartConverges(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	a.await(t, func(ev Event) bool { return ev.Kind == EventConnected })
	for i := range 4 {
		a.put(t, fmt.Sprint("f", i), randomBytes(byte(i), 1000))
	}
	if err := a.client.Mkdir(t.Context(), "/d", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "five names on b", func() bool { return len(b.names(t)) == 5 })
	b.stop()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a.put(t, "f0", []byte("edited on a"))
	must(a.client.Rename(t.Context(), "/f1", "/d/a"))
	must(a.client.Remove(t.Context(), "/f2", false))
	must(a.client.Rename(t.Context(), "/f3", "/same"))
	must(a.client.Mkdir(t.Context(), "/both", false))
	a.stop()
	b = serve(t, filepath.Join(dir, "b"), pool.Secret{})
	b.put(t, "f0", []byte("edited on b"))
	must(b.client.Rename(t.Context(), "/f1", "/d/b"))
	b.put(t, "f2", []byte("edited on b"))
	b.put(t, "same", []byte("new on b"))
	must(b.client.Mkdir(t.Context(), "/both", false))
	a = serve(t, filepath.Join(dir, "a"), pool.Secret{}, b.addr)
	eventually(t, "the same tree", func() bool {
		x, err := a.tree.Hash(a.kv)
		y, err2 := b.tree.Hash(b.kv)
		va, _ := a.tree.Vector(a.kv)
		vb, _ := b.tree.Vector(b.kv)
		return err == nil && err2 == nil && x == y && va.Covers(vb) && vb.Covers(va)
	})
	if x, y := fmt.Sprint(a.names(t)), fmt.Sprint(b.names(t)); x != y {
		t.Errorf("a shows %s, b shows %s", x, y)
	}
	found := map[string]bool{}
	must(a.client.List(t.Context(), "/", true, func(l Listing) error {
		if l.Kind == "file" {
			x, y := a.cat(t, l.Path), b.cat(t, l.Path)
			if !bytes.Equal(x, y) {
				t.Errorf("%s differs", l.Path)
			}
			found[string(x)] = true
		}
		return nil
	}))
	for _, want := range []string{"edited on a", "edited on b", "new on b", string(randomBytes(3, 1000)), string(randomBytes(1, 1000))} {
		if !found[want] {
			t.Errorf("lost: %.20q; there are %q", want, a.names(t))
		}
	}
}
