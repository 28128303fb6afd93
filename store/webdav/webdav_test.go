package webdav

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// face is a drive in memory behind its WebDAV face on loopback.
type face struct {
	t      testing.TB
	drive  *drive.Drive
	bodies *segment.Store
	kv     store.KV
	tree   *tree.Tree
	keys   *chunk.Keys
	url    string

	mu  sync.Mutex // held during a change
	now time.Time
}

func newFace(t testing.TB) *face {
	t.Helper()
	f := &face{t: t, kv: index.NewMemory(), now: time.Date(2025, 1, 31, 12, 0, 0, 0, time.UTC)}
	var err error
	if f.bodies, err = segment.Open(vfs.NewMem(), "segments", f.kv, segment.Config{Space: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.bodies.Close() })
	self := store.MachineID{1}
	if f.tree, err = tree.Open(f.kv, self); err != nil {
		t.Fatal(err)
	}
	keys, err := chunk.NewKeys(make([]byte, chunk.SecretSize), 1)
	if err != nil {
		t.Fatal(err)
	}
	f.keys = keys
	f.drive = drive.New(drive.Config{
		KV: f.kv, Tree: f.tree, Keys: keys, Bodies: f.bodies, Journal: f,
		Holders: func(drive.Placing) ([]store.MachineID, error) { return []store.MachineID{self}, nil },
	})
	srv := httptest.NewServer(New(Config{Drive: f.drive, KV: f.kv}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

// Sync is for the disk that a test does not have.
func (f *face) Sync(context.Context) error { return nil }

// Do is the drive's Journal. Every change is a second after the one before.
func (f *face) Do(ctx context.Context, c drive.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(time.Second)
	tx := f.kv.Begin()
	defer tx.Discard()
	if _, _, err := c(f.tree, tx, f.now); err != nil {
		return err
	}
	return tx.Commit(true)
}

// request makes a request and returns the answer with its body read. head holds
// names and values in turn.
func (f *face) request(method, path, body string, head ...string) (*http.Response, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i+1 < len(head); i += 2 {
		if head[i] == "Host" {
			req.Host = head[i+1]
			continue
		}
		req.Header.Set(head[i], strings.ReplaceAll(head[i+1], "{url}", f.url))
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(b)
}

// want makes a request and fails unless the status is as it should be.
func (f *face) want(status int, method, path, body string, head ...string) (*http.Response, string) {
	f.t.Helper()
	resp, got := f.request(method, path, body, head...)
	if resp.StatusCode != status {
		f.t.Fatalf("%s %s: %s, want %d\n%s", method, path, resp.Status, status, got)
	}
	return resp, got
}

// content returns the bytes of a file, and whether it is there.
func (f *face) content(p string) (string, bool) {
	f.t.Helper()
	r, err := f.drive.Open(f.t.Context(), p)
	if errors.Is(err, store.ErrNotFound) {
		return "", false
	}
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b), true
}

func randomBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestHandler_PutAndGet(t *testing.T) {
	f := newFace(t)
	resp, _ := f.want(http.StatusCreated, "PUT", "/note.txt", "hello, world")
	tag := resp.Header.Get("ETag")
	if len(tag) < 10 || tag[0] != '"' {
		t.Errorf("ETag of PUT: %s", tag)
	}
	resp, body := f.want(http.StatusOK, "GET", "/note.txt", "")
	if body != "hello, world" || resp.Header.Get("ETag") != tag || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("GET: %q, %v", body, resp.Header)
	}
	resp, body = f.want(http.StatusOK, "HEAD", "/note.txt", "")
	if body != "" || resp.ContentLength != 12 || resp.Header.Get("ETag") != tag {
		t.Errorf("HEAD: %q, %v", body, resp.Header)
	}
	resp, body = f.want(http.StatusPartialContent, "GET", "/note.txt", "", "Range", "bytes=7-")
	if body != "world" || resp.Header.Get("Content-Range") != "bytes 7-11/12" {
		t.Errorf("range: %q, %v", body, resp.Header)
	}
	f.want(http.StatusRequestedRangeNotSatisfiable, "GET", "/note.txt", "", "Range", "bytes=99-")
	f.want(http.StatusNotModified, "GET", "/note.txt", "", "If-None-Match", tag)
	f.want(http.StatusPreconditionFailed, "GET", "/note.txt", "", "If-Match", `"other"`)
	f.want(http.StatusNoContent, "PUT", "/note.txt", "other bytes")
	if resp, _ = f.want(http.StatusOK, "GET", "/note.txt", "", "If-None-Match", tag); resp.Header.Get("ETag") == tag {
		t.Error("other bytes have the same ETag")
	}
	resp, _ = f.want(http.StatusCreated, "PUT", "/copy.txt", "hello, world")
	if resp.Header.Get("ETag") != tag {
		t.Error("equal bytes have other ETags")
	}
	f.want(http.StatusCreated, "PUT", "/empty", "")
	if _, body = f.want(http.StatusOK, "GET", "/empty", ""); body != "" {
		t.Errorf("empty: %q", body)
	}
}

func TestHandler_LargeFile(t *testing.T) {
	f := newFace(t)
	body := string(randomBytes(1, 5<<20))
	f.want(http.StatusCreated, "PUT", "/big", body)
	if _, got := f.want(http.StatusOK, "GET", "/big", ""); got != body {
		t.Errorf("%d bytes back", len(got))
	}
	if _, got := f.want(http.StatusPartialContent, "GET", "/big", "", "Range", "bytes=3000000-3000099"); got != body[3000000:3000100] {
		t.Errorf("range of %d bytes", len(got))
	}
}

func TestHandler_Refuses(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	f.want(http.StatusCreated, "PUT", "/f", "x")
	for _, s := range []struct {
		status       int
		method, path string
	}{
		{404, "GET", "/none"}, {404, "HEAD", "/none"}, {404, "DELETE", "/none"}, {404, "PROPFIND", "/none"},
		{409, "PUT", "/none/f"}, {409, "MKCOL", "/none/d"}, {405, "MKCOL", "/d"}, {405, "MKCOL", "/f"}, {405, "GET", "/d"},
		{404, "GET", "/%2e%2e/f"}, {404, "GET", "/f/below"}, {404, "GET", "/%00"}, {404, "GET", "/%ff"}, {404, "GET", "/" + strings.Repeat("n", 300)},
	} {
		if resp, body := f.request(s.method, s.path, ""); resp.StatusCode != s.status {
			t.Errorf("%s %s: %s, want %d: %s", s.method, s.path, resp.Status, s.status, body)
		}
	}
	for _, s := range [][2]string{{"PUT", "/d"}, {"PUT", "/"}, {"PUT", "/f/below"}, {"DELETE", "/"}, {"PUT", "/%00"}, {"PUT", "/d/" + strings.Repeat("n", 300)}} {
		if resp, _ := f.request(s[0], s[1], "x"); resp.StatusCode < 400 {
			t.Errorf("%s %s: %s", s[0], s[1], resp.Status)
		}
	}
	if got, ok := f.content("/f"); got != "x" {
		t.Errorf("/f is %q, %v", got, ok)
	}
}

func TestHandler_Propfind(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	f.want(http.StatusCreated, "PUT", "/d/a%20b", "12345")
	f.want(http.StatusCreated, "MKCOL", "/d/e", "")
	f.want(http.StatusCreated, "PUT", "/d/e/deep", "x")
	_, body := f.want(http.StatusMultiStatus, "PROPFIND", "/d", "", "Depth", "1")
	for _, want := range []string{"<D:href>/d/</D:href>", "<D:href>/d/a%20b</D:href>", "<D:href>/d/e/</D:href>",
		"<D:getcontentlength>5</D:getcontentlength>", "<D:getetag>", "<D:collection", "<D:getlastmodified>Fri, 31 Jan 2025"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "deep") {
		t.Error("depth 1 goes deeper")
	}
	_, body = f.want(http.StatusMultiStatus, "PROPFIND", "/d", "", "Depth", "0")
	if n := strings.Count(body, "<D:response>"); n != 1 {
		t.Errorf("depth 0 gives %d answers", n)
	}
}

func TestHandler_MoveAndCopy(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/a", "a")
	f.want(http.StatusCreated, "MOVE", "/a", "", "Destination", "{url}/b")
	if _, ok := f.content("/a"); ok {
		t.Error("/a is still there")
	}
	f.want(http.StatusCreated, "COPY", "/b", "", "Destination", "{url}/c")
	f.want(http.StatusCreated, "PUT", "/d", "d")
	f.want(http.StatusPreconditionFailed, "MOVE", "/b", "", "Destination", "{url}/d", "Overwrite", "F")
	f.want(http.StatusPreconditionFailed, "COPY", "/b", "", "Destination", "{url}/d", "Overwrite", "F")
	f.want(http.StatusNoContent, "MOVE", "/b", "", "Destination", "{url}/d", "Overwrite", "T")
	f.want(http.StatusConflict, "COPY", "/c", "", "Destination", "{url}/none/x")
	f.want(http.StatusBadGateway, "MOVE", "/c", "", "Destination", "http://other.example/x")
	f.want(http.StatusForbidden, "MOVE", "/c", "", "Destination", "{url}/c")
	for p, want := range map[string]string{"/c": "a", "/d": "a"} {
		if got, ok := f.content(p); got != want {
			t.Errorf("%s is %q, %v", p, got, ok)
		}
	}
	f.want(http.StatusCreated, "MKCOL", "/dir", "")
	f.want(http.StatusCreated, "PUT", "/dir/x", "x")
	f.want(http.StatusCreated, "COPY", "/dir", "", "Destination", "{url}/dir2/")
	f.want(http.StatusCreated, "MOVE", "/dir", "", "Destination", "{url}/dir2/in")
	if got, ok := f.content("/dir2/in/x"); got != "x" {
		t.Errorf("/dir2/in/x is %q, %v", got, ok)
	}
	f.want(http.StatusNoContent, "DELETE", "/dir2", "")
	f.want(http.StatusNotFound, "GET", "/dir2/x", "")
}

// A directory cannot be moved into itself, and the attempt takes nothing away.
func TestHandler_MoveIntoItself(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/dir", "")
	f.want(http.StatusCreated, "PUT", "/dir/x", "x")
	if resp, _ := f.request("MOVE", "/dir", "", "Destination", "{url}/dir/in"); resp.StatusCode < 400 {
		t.Errorf("MOVE: %s", resp.Status)
	}
	if got, ok := f.content("/dir/x"); got != "x" {
		t.Errorf("/dir/x is %q, %v", got, ok)
	}
}

const lockBody = `<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`

func TestHandler_Lock(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "old")
	resp, _ := f.want(http.StatusOK, "LOCK", "/f", lockBody, "Timeout", "Second-100")
	token := resp.Header.Get("Lock-Token")
	f.want(http.StatusLocked, "PUT", "/f", "stolen")
	f.want(http.StatusLocked, "LOCK", "/f", lockBody)
	f.want(http.StatusLocked, "DELETE", "/f", "")
	f.want(http.StatusNoContent, "PUT", "/f", "new", "If", "("+token+")")
	f.want(http.StatusNoContent, "UNLOCK", "/f", "", "Lock-Token", token)
	f.want(http.StatusConflict, "UNLOCK", "/f", "", "Lock-Token", token)
	if got, _ := f.content("/f"); got != "new" {
		t.Errorf("/f is %q", got)
	}
	// A lock of what is not there makes an empty file (RFC 4918 section 7.3).
	f.want(http.StatusCreated, "LOCK", "/fresh", lockBody)
	if got, ok := f.content("/fresh"); got != "" || !ok {
		t.Errorf("/fresh is %q, %v", got, ok)
	}
}

// breakOff begins to PUT 3 MB, sends one, and goes away.
func (f *face) breakOff(p string) {
	f.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		f.t.Fatal(err)
	}
	fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n", p)
	if _, err := c.Write(randomBytes(2, 1000000)); err != nil {
		f.t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		f.t.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // the end says that the server is done with it
	c.Close()
	if bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
		f.t.Errorf("an upload that broke off was answered %q", answer)
	}
}

func TestHandler_BrokenUploadLeavesWhatWasThere(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "old")
	f.breakOff("/f")
	f.breakOff("/new")
	if got, _ := f.content("/f"); got != "old" {
		t.Errorf("/f has %d bytes", len(got))
	}
	if got, ok := f.content("/new"); ok {
		t.Errorf("/new is there with %d bytes", len(got))
	}
	f.want(http.StatusNoContent, "PUT", "/f", "and goes on")
}

// lose takes half of the chunks off the disk.
func (f *face) lose() {
	f.t.Helper()
	var refs []store.Ref
	if err := f.bodies.Sync(); err != nil {
		f.t.Fatal(err)
	}
	err := f.kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, _ []byte) bool {
		refs = append(refs, store.Ref(k[2:]))
		return true
	})
	if err != nil || len(refs) < 10 {
		f.t.Fatalf("%d chunks, %v", len(refs), err)
	}
	for _, ref := range refs[:len(refs)/2] {
		if err := f.bodies.Delete(ref); err != nil {
			f.t.Fatal(err)
		}
	}
}

// A copy reads no bytes: of what cannot be read now it is as good as the original,
// and whole.
func TestHandler_CopyOfWhatCannotBeReadIsAsGoodAsTheOriginal(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	f.want(http.StatusCreated, "PUT", "/d/f", string(randomBytes(1, 3<<20)))
	f.want(http.StatusCreated, "PUT", "/d/g", "x")
	f.lose()
	f.want(http.StatusCreated, "COPY", "/d", "", "Destination", "{url}/e")
	for _, name := range []string{"/f", "/g"} {
		from, err := f.drive.Stat("/d" + name)
		if err != nil {
			t.Fatal(err)
		}
		to, err := f.drive.Stat("/e" + name)
		if err != nil || to.Version.Content != from.Version.Content {
			t.Errorf("%s is %+v, %v", name, to, err)
		}
	}
}

func TestHandler_GetOfWhatCannotBeReadIsCut(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", string(randomBytes(9, 3<<20)))
	f.lose()
	resp, err := http.Get(f.url + "/f")
	if err != nil {
		return // cut before anything came
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode == http.StatusOK {
		t.Errorf("%d bytes without an error", len(b))
	}
}

func TestHandler_RefusesOtherSites(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "old")
	for _, head := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
	} {
		for _, m := range []string{"PUT", "DELETE", "MKCOL", "PROPFIND", "MOVE", "COPY", "LOCK", "PROPPATCH"} {
			if resp, _ := f.request(m, "/f", "new", append(head, "Destination", "{url}/g")...); resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %q: %s", m, head, resp.Status)
			}
		}
	}
	// A page of another site can embed what it may not read: that is refused too.
	for _, head := range [][]string{{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}} {
		f.want(http.StatusForbidden, "GET", "/f", "", head...)
	}
	f.want(http.StatusOK, "GET", "/f", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document") // a link
	f.want(http.StatusOK, "GET", "/f", "", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate")
	f.want(http.StatusNoContent, "PUT", "/f", "own", "Origin", "{url}")
	if got, _ := f.content("/f"); got != "own" {
		t.Errorf("/f is %q", got)
	}
}

func TestHandler_RefusesForeignHosts(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "x")
	for _, h := range []string{"evil.example", "evil.example:80", "127.0.0.1.evil.example", "local", "localhost.evil.example", "xlocal", "x.y"} {
		f.want(http.StatusMisdirectedRequest, "GET", "/f", "", "Host", h)
	}
	for _, h := range []string{"127.0.0.1", "127.0.0.1:7480", "[::1]", "[::1]:7480", "LOCALHOST", "localhost.:80", "alice.local", "Alice.Local.:7480", "169.254.1.2"} {
		f.want(http.StatusOK, "GET", "/f", "", "Host", h)
	}
}
