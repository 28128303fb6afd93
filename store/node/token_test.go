package node

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/aether-lan/aether/store/pool"
)

// webdavStatus serves the machine in dir for a moment and returns what its WebDAV
// face answers to each password.
func webdavStatus(t *testing.T, dir string, open bool, passwords ...string) (status []int) {
	t.Helper()
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Machine: m, news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	any0 := netip.MustParseAddrPort("127.0.0.1:0")
	go func() {
		ended <- m.Serve(ctx, ServeConfig{Listen: any0, WebDAV: any0, WebDAVOpen: open, NoDiscovery: true, Event: h.hear})
	}()
	h.await(t, func(ev Event) bool { return ev.Kind == EventServing })
	for _, p := range passwords {
		req, err := http.NewRequestWithContext(t.Context(), "PROPFIND", m.Summary().WebDAV, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Depth", "0")
		if p != "" {
			req.SetBasicAuth("aether", p)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		status = append(status, resp.StatusCode)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	cancel()
	if err := errors.Join(<-ended, m.Close()); err != nil {
		t.Fatal(err)
	}
	return status
}

// The WebDAV face asks for a password that is made once and kept.
func TestServe_WebDAVAsksForItsToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := Init(Config{Dir: dir}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, WebDAVTokenFile)
	if got := webdavStatus(t, dir, true, ""); got[0] != http.StatusMultiStatus {
		t.Errorf("open: %v", got)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("an open face made a token")
	}
	if got := webdavStatus(t, dir, false, "", "guess"); got[0] != http.StatusUnauthorized || got[1] != http.StatusUnauthorized {
		t.Errorf("without the token: %v", got)
	}
	b, err := os.ReadFile(file)
	if err != nil || !regexp.MustCompile(`^[a-z2-7]{32}\n$`).Match(b) {
		t.Fatalf("token %q, %v", b, err)
	}
	if st, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if got := webdavStatus(t, dir, false, strings.TrimSpace(string(b))); got[0] != http.StatusMultiStatus {
		t.Errorf("after a restart: %v", got)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Serve(t.Context(), ServeConfig{NoDiscovery: true}); err == nil || !strings.Contains(err.Error(), WebDAVTokenFile) {
		t.Errorf("an empty token was accepted: %v", err)
	}
}
