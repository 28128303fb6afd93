package webdav

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

var noon = time.Date(2025, 1, 31, 12, 0, 0, 0, time.UTC)

func newLocks(t *testing.T, kv store.KV) *locks {
	t.Helper()
	s, err := openLocks(kv, noon)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustLock(t *testing.T, s *locks, l lock) string {
	t.Helper()
	if l.Timeout == 0 {
		l.Timeout = time.Hour
	}
	l, err := s.create(noon, l)
	if err != nil {
		t.Fatal(err)
	}
	return l.Token
}

// Section 6.1: exclusive locks conflict with all, shared ones with exclusive ones,
// where they cover the same.
func TestLocks_RFC4918_6_1_Conflicts(t *testing.T) {
	for _, s := range []struct {
		name     string
		have     lock
		want     lock
		conflict string
	}{
		{"two exclusive", lock{Root: "/a"}, lock{Root: "/a"}, "/a"},
		{"shared, then exclusive", lock{Root: "/a", Shared: true}, lock{Root: "/a"}, "/a"},
		{"exclusive, then shared", lock{Root: "/a"}, lock{Root: "/a", Shared: true}, "/a"},
		{"two shared", lock{Root: "/a", Shared: true}, lock{Root: "/a", Shared: true}, ""},
		{"below an infinite one", lock{Root: "/a", Infinite: true}, lock{Root: "/a/b/c"}, "/a"},
		{"below one of depth 0", lock{Root: "/a"}, lock{Root: "/a/b"}, ""},
		{"infinite above another", lock{Root: "/a/b/c"}, lock{Root: "/a", Infinite: true}, "/a/b/c"},
		{"depth 0 above another", lock{Root: "/a/b"}, lock{Root: "/a"}, ""},
		{"neighbours", lock{Root: "/a", Infinite: true}, lock{Root: "/ab"}, ""},
		{"the root covers all", lock{Root: "/", Infinite: true}, lock{Root: "/a"}, "/"},
		{"infinite and shared", lock{Root: "/", Infinite: true, Shared: true}, lock{Root: "/a", Shared: true, Infinite: true}, ""},
	} {
		locks := newLocks(t, nil)
		mustLock(t, locks, s.have)
		_, err := locks.create(noon, s.want)
		var locked *lockedError
		if errors.As(err, &locked) {
			if !slices.Equal(locked.roots, []string{s.conflict}) || !locked.conflict {
				t.Errorf("%s: %+v", s.name, locked)
			}
		} else if s.conflict != "" || err != nil {
			t.Errorf("%s: %v, want a conflict at %q", s.name, err, s.conflict)
		}
	}
}

// Section 7: what a write needs the tokens of.
func TestLocks_RFC4918_7_Write(t *testing.T) {
	for _, s := range []struct {
		name  string
		lock  lock
		write target
		free  bool
	}{
		{"the file", lock{Root: "/d/f"}, target{path: "/d/f"}, false},
		{"another file", lock{Root: "/d/f"}, target{path: "/d/g"}, true},
		{"a member's bytes under depth 0", lock{Root: "/d"}, target{path: "/d/f"}, true},
		{"a member's bytes under infinity", lock{Root: "/d", Infinite: true}, target{path: "/d/f"}, false},
		{"a new member under depth 0", lock{Root: "/d"}, target{path: "/d/f", members: true}, false},
		{"a new member of a member", lock{Root: "/d"}, target{path: "/d/e/f", members: true}, true},
		{"a directory with a locked file", lock{Root: "/d/f"}, target{path: "/d", deep: true}, false},
		{"a directory alone", lock{Root: "/d/f"}, target{path: "/d"}, true},
		{"the root with all", lock{Root: "/d/f", Shared: true}, target{path: "/", deep: true}, false},
	} {
		locks := newLocks(t, nil)
		token := mustLock(t, locks, s.lock)
		leave, err := locks.enter(noon, map[string]bool{"urn:other": true}, s.write)
		if (err == nil) != s.free {
			t.Errorf("%s without the token: %v", s.name, err)
		}
		if err == nil {
			leave()
		}
		if _, err := locks.enter(noon, map[string]bool{token: true}, s.write); err != nil {
			t.Errorf("%s with the token: %v", s.name, err)
		}
		if _, err := locks.enter(noon.Add(2*time.Hour), nil, s.write); err != nil {
			t.Errorf("%s after the lock's end: %v", s.name, err)
		}
	}
}

// One token is enough of several shared locks on the same; not of those on others.
func TestLocks_Shared(t *testing.T) {
	locks := newLocks(t, nil)
	a, b := mustLock(t, locks, lock{Root: "/d/f", Shared: true}), mustLock(t, locks, lock{Root: "/d/f", Shared: true})
	c := mustLock(t, locks, lock{Root: "/d/g", Shared: true})
	for tokens, free := range map[string]bool{a: true, b: true, c: false} {
		_, err := locks.enter(noon, map[string]bool{tokens: true}, target{path: "/d/f"})
		if (err == nil) != free {
			t.Errorf("%v", err)
		}
	}
	if _, err := locks.enter(noon, map[string]bool{a: true}, target{path: "/d", deep: true}); err == nil {
		t.Error("/d/g was not asked for")
	}
	if _, err := locks.enter(noon, map[string]bool{b: true, c: true}, target{path: "/d", deep: true}); err != nil {
		t.Error(err)
	}
}

// No lock is given out on what is being written.
func TestLocks_NoneDuringAWrite(t *testing.T) {
	locks := newLocks(t, nil)
	leave, err := locks.enter(noon, nil, target{path: "/d/e", deep: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []lock{{Root: "/d/e"}, {Root: "/d/e/f"}, {Root: "/d", Infinite: true}, {Root: "/d/e", Shared: true}} {
		if _, err := locks.create(noon, l); err == nil {
			t.Errorf("%+v was given out", l)
		}
	}
	mustLock(t, locks, lock{Root: "/d"})
	leave()
	mustLock(t, locks, lock{Root: "/d/e"})
}

func TestLocks_RefreshAndExpire(t *testing.T) {
	locks := newLocks(t, nil)
	token := mustLock(t, locks, lock{Root: "/d", Infinite: true, Timeout: time.Minute})
	if l, err := locks.refresh(noon.Add(50*time.Second), "/d/f", token, 0); err != nil || !l.Expires.Equal(noon.Add(110*time.Second)) {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := locks.refresh(noon, "/d", token, 30*24*time.Hour); err != nil || l.Timeout != maxTimeout {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := locks.refresh(noon, "/e", token, 0); !errors.Is(err, errNoLock) {
		t.Errorf("elsewhere: %v", err)
	}
	if got := locks.on(noon.Add(maxTimeout), "/d"); len(got) != 0 {
		t.Errorf("expired: %+v", got)
	}
	if _, err := locks.refresh(noon.Add(maxTimeout), "/d", token, 0); !errors.Is(err, errNoLock) {
		t.Errorf("expired: %v", err)
	}
	if err := locks.unlock(noon, "/d", token); !errors.Is(err, errNoLock) {
		t.Errorf("gone: %v", err)
	}
}

func TestLocks_AreBounded(t *testing.T) {
	locks := newLocks(t, nil)
	for i := range maxLocks {
		mustLock(t, locks, lock{Root: fmt.Sprint("/", i)})
	}
	if _, err := locks.create(noon, lock{Root: "/more"}); !errors.Is(err, errTooManyLocks) {
		t.Errorf("create = %v", err)
	}
	if _, err := locks.create(noon.Add(2*time.Hour), lock{Root: "/more"}); err != nil {
		t.Errorf("expired locks still count: %v", err)
	}
}

// Locks outlive the process; those that expired meanwhile are swept off the disk, and
// what cannot be read is reported and loses nothing else.
func TestLocks_Restart(t *testing.T) {
	kv := index.NewMemory()
	locks := newLocks(t, kv)
	long := mustLock(t, locks, lock{Root: "/long", Infinite: true, Shared: true, Owner: "<x/>"})
	short := mustLock(t, locks, lock{Root: "/short", Timeout: time.Second})
	given := mustLock(t, locks, lock{Root: "/given"})
	if err := locks.unlock(noon, "/given", given); err != nil {
		t.Fatal(err)
	}
	again, err := openLocks(kv, noon.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got := again.on(noon.Add(time.Minute), "/long/f"); len(got) != 1 || got[0].Token != long || !got[0].Shared || got[0].Owner != "<x/>" {
		t.Errorf("%+v", got)
	}
	for _, token := range []string{short, given} {
		if _, err := kv.Get(lockKey(token)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("still on the disk: %v", err)
		}
	}
	tx := kv.Begin()
	_ = tx.Set(lockKey("urn:bad"), []byte("{"))
	if err := tx.Commit(true); err != nil {
		t.Fatal(err)
	}
	if again, err = openLocks(kv, noon); err == nil || len(again.on(noon, "/long")) != 1 {
		t.Errorf("%v", err)
	}
}

const sharedBody = `<?xml version="1.0"?><a:lockinfo xmlns:a="DAV:"><a:lockscope><a:shared/></a:lockscope><a:locktype><a:write/></a:locktype>` +
	`<a:owner><b:me xmlns:b="urn:b" b:x="1">A &amp; B</b:me></a:owner></a:lockinfo>`

func TestNew_LocksOutliveIt(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "x")
	resp, body := f.want(http.StatusOK, "LOCK", "/f", sharedBody, "Timeout", "Infinite, Second-4100000000", "Depth", "0")
	if !strings.Contains(body, "<D:timeout>Second-86400</D:timeout>") || !strings.Contains(body, "<D:shared/>") || !strings.Contains(body, `xmlns="urn:b"`) || !strings.Contains(body, "A &amp; B") {
		t.Errorf("LOCK: %s", body)
	}
	srv := httptest.NewServer(New(Config{Drive: f.drive, KV: f.kv}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	_, body = f.want(http.StatusLocked, "PUT", "/f", "y")
	if !strings.Contains(body, "<D:lock-token-submitted><D:href>/f</D:href>") {
		t.Errorf("PUT: %s", body)
	}
	f.want(http.StatusNoContent, "PUT", "/f", "y", "If", "("+resp.Header.Get("Lock-Token")+")")
	_, body = f.want(http.StatusMultiStatus, "PROPFIND", "/f", `<propfind xmlns="DAV:"><prop><lockdiscovery/><supportedlock/></prop></propfind>`, "Depth", "0")
	if token := strings.Trim(resp.Header.Get("Lock-Token"), "<>"); strings.Count(body, token) != 1 || strings.Count(body, "<D:lockentry") != 2 {
		t.Errorf("PROPFIND: %s", body)
	}
}

func TestNew_LockOfADirectory(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	f.want(http.StatusCreated, "PUT", "/d/f", "x")
	resp, _ := f.want(http.StatusOK, "LOCK", "/d/f", lockBody)
	// Section 9.10.9: a lock below is named.
	_, body := f.want(http.StatusMultiStatus, "LOCK", "/d", lockBody)
	if !regexp.MustCompile(`/d/f</D:href><D:status>HTTP/1.1 423.*/d</D:href><D:status>HTTP/1.1 424`).MatchString(body) {
		t.Errorf("LOCK: %s", body)
	}
	f.want(http.StatusLocked, "DELETE", "/d", "")
	f.want(http.StatusLocked, "MOVE", "/d", "", "Destination", "{url}/e")
	f.want(http.StatusCreated, "COPY", "/d", "", "Destination", "{url}/e") // section 7.5.1
	f.want(http.StatusLocked, "COPY", "/e", "", "Destination", "{url}/d")
	// A tagged list about another resource brings a token, but not that of the lock.
	other, _ := f.want(http.StatusOK, "LOCK", "/e/f", lockBody)
	f.want(http.StatusLocked, "PUT", "/d/f", "y", "If", "<{url}/e/f> ("+other.Header.Get("Lock-Token")+")")
	token := resp.Header.Get("Lock-Token")
	// A MOVE takes no lock along (section 7.6), and ends it.
	f.want(http.StatusCreated, "MOVE", "/d", "", "Destination", "{url}/g", "If", "<{url}/d/f> ("+token+")")
	f.want(http.StatusNoContent, "PUT", "/g/f", "y")
	f.want(http.StatusConflict, "UNLOCK", "/g/f", "", "Lock-Token", token)
	f.want(http.StatusConflict, "LOCK", "/none/f", lockBody)
	f.want(http.StatusBadRequest, "LOCK", "/g", lockBody, "Depth", "1")
	f.want(http.StatusBadRequest, "LOCK", "/g", lockBody, "Timeout", "soon")
	f.want(http.StatusBadRequest, "LOCK", "/g", "")
	f.want(http.StatusPreconditionFailed, "LOCK", "/g", "", "If", "("+token+")")
	f.want(http.StatusUnprocessableEntity, "LOCK", "/g", strings.ReplaceAll(lockBody, "<D:write/>", ""))
	f.want(http.StatusBadRequest, "LOCK", "/g", "<no/>")
	f.want(http.StatusInsufficientStorage, "LOCK", "/g", strings.ReplaceAll(sharedBody, "A &amp; B", strings.Repeat("x", maxOwner)))
	f.want(http.StatusBadRequest, "UNLOCK", "/g", "", "Lock-Token", "none")
}

func TestParseTimeout(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"": 0, "Second-1": time.Second, "second-60, Infinite": time.Minute, "Infinite": maxTimeout, "Extended, Second-5": 5 * time.Second,
		"Second-4294967295": maxTimeout, "Second-99999999999999999999": -1, "Second-0": -1, "Second--1": -1, "Second-": -1, "1": -1,
	} {
		got, err := parseTimeout(s)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}
