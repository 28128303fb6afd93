package webdav

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
)

// RFC 9110 section 13: what a PUT, DELETE or MOVE asks before it is done.
func TestNew_RFC9110_13_Preconditions(t *testing.T) {
	f := newFace(t)
	resp, _ := f.want(http.StatusCreated, "PUT", "/f", "one", "If-None-Match", "*")
	tag := resp.Header.Get("ETag")
	f.want(http.StatusPreconditionFailed, "PUT", "/f", "two", "If-None-Match", "*")
	f.want(http.StatusPreconditionFailed, "PUT", "/f", "two", "If-None-Match", `"x", `+tag)
	f.want(http.StatusPreconditionFailed, "PUT", "/f", "two", "If-Match", `"x"`)
	f.want(http.StatusPreconditionFailed, "PUT", "/none", "two", "If-Match", "*")
	f.want(http.StatusPreconditionFailed, "DELETE", "/f", "", "If-Match", `"x"`)
	f.want(http.StatusPreconditionFailed, "MOVE", "/f", "", "Destination", "{url}/g", "If-Match", `"x"`)
	f.want(http.StatusPreconditionFailed, "PUT", "/f", "two", "If-Unmodified-Since", "Fri, 31 Jan 2020 12:00:00 GMT")
	if got, _ := f.content("/f"); got != "one" {
		t.Errorf("/f is %q", got)
	}
	f.want(http.StatusNoContent, "PUT", "/f", "two", "If-Match", `"x", `+tag, "If-Unmodified-Since", "Fri, 31 Jan 2020 12:00:00 GMT")
	f.want(http.StatusNoContent, "PUT", "/f", "three", "If-None-Match", tag)
	f.want(http.StatusNoContent, "PUT", "/f", "four", "If-Match", "*")
	f.want(http.StatusNotModified, "GET", "/f", "", "If-None-Match", "*")
	f.want(http.StatusPreconditionFailed, "HEAD", "/f", "", "If-Match", tag)
}

// RFC 9110 section 13.2.1, RFC 4918 section 10.4: what a DELETE, MOVE or COPY asks is
// asked of what it changes, not of what was there a moment before. Of two requests
// about the same version that change it one succeeds.
func TestNew_RFC9110_13_2_1_OneOfTwo(t *testing.T) {
	f := newFace(t)
	for round := range 60 {
		resp, _ := f.request("PUT", "/f", "old")
		tag := resp.Header.Get("ETag")
		head := []string{"If-Match", tag}
		if round%2 == 0 {
			head = []string{"If", "([" + tag + "])"}
		}
		method := []string{"DELETE", "MOVE", "COPY"}[round/2%3]
		if method != "DELETE" {
			head = append(head, "Destination", "{url}/g")
		}
		var put, other *http.Response
		var both sync.WaitGroup
		both.Go(func() { put, _ = f.request("PUT", "/f", fmt.Sprint("new", round), "If-Match", tag) })
		both.Go(func() { other, _ = f.request(method, "/f", "", head...) })
		both.Wait()
		done := other.StatusCode/100 == 2
		if !done && other.StatusCode != http.StatusPreconditionFailed && other.StatusCode != http.StatusNotFound {
			t.Fatalf("%s: %s", method, other.Status)
		}
		if got, ok := f.content("/g"); ok && got != "old" {
			t.Fatalf("%s of what was not asked for: %q", method, got)
		}
		if method != "COPY" && put.StatusCode/100 == 2 && done {
			t.Fatalf("PUT %s and %s %s", put.Status, method, other.Status)
		}
		f.request("DELETE", "/g", "")
	}
}

// An upload whose condition ceases to hold while it runs replaces nothing.
func TestNew_ConditionHoldsWhenTheUploadEnds(t *testing.T) {
	f := newFace(t)
	pr, pw := io.Pipe()
	answered := make(chan *http.Response, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", f.url+"/f", pr)
		if err != nil {
			t.Error(err)
		}
		req.Header.Set("If-None-Match", "*")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	if _, err := pw.Write([]byte("slow")); err != nil { // taken once the request is under way
		t.Fatal(err)
	}
	if _, err := f.drive.Put(t.Context(), "/f", strings.NewReader("quick"), drive.Attributes{}); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	resp := <-answered
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if got, _ := f.content("/f"); resp.StatusCode != http.StatusPreconditionFailed || got != "quick" {
		t.Errorf("%s, /f is %q", resp.Status, got)
	}
}

func TestNew_Ranges(t *testing.T) {
	f := newFace(t)
	body := string(randomBytes(7, 300000))
	resp, _ := f.want(http.StatusCreated, "PUT", "/f", body)
	tag := resp.Header.Get("ETag")
	for h, want := range map[string]string{"bytes=0-0": body[:1], "bytes=-5": body[len(body)-5:], "bytes=299999-400000": body[299999:], "bytes=100000-": body[100000:]} {
		if _, got := f.want(http.StatusPartialContent, "GET", "/f", "", "Range", h); got != want {
			t.Errorf("%s: %d bytes, want %d", h, len(got), len(want))
		}
	}
	resp, _ = f.want(http.StatusRequestedRangeNotSatisfiable, "GET", "/f", "", "Range", "bytes=300000-")
	if got := resp.Header.Get("Content-Range"); got != "bytes */300000" {
		t.Errorf("Content-Range: %s", got)
	}
	// RFC 9110 section 13.1.5: a range only of what the client has the rest of.
	f.want(http.StatusPartialContent, "GET", "/f", "", "Range", "bytes=0-9", "If-Range", tag)
	if _, got := f.want(http.StatusOK, "GET", "/f", "", "Range", "bytes=0-9", "If-Range", `"x"`); len(got) != len(body) {
		t.Errorf("%d bytes", len(got))
	}
	resp, got := f.want(http.StatusPartialContent, "GET", "/f", "", "Range", "bytes=1-2, 200000-200002")
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(strings.NewReader(got), params["boundary"])
	for _, want := range []string{body[1:3], body[200000:200003]} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(p); err != nil || string(b) != want {
			t.Errorf("part %q, %v", b, err)
		}
	}
	resp, _ = f.want(http.StatusOK, "HEAD", "/f", "")
	if resp.ContentLength != 300000 || resp.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD: %v", resp.Header)
	}
	// RFC 9110 section 14.5: a part must not take the place of the whole.
	f.want(http.StatusBadRequest, "PUT", "/f", "x", "Content-Range", "bytes 0-0/300000")
	if got, _ := f.content("/f"); got != body {
		t.Errorf("/f has %d bytes", len(got))
	}
}

// Sizes and ranges do not end at 4 GiB.
func TestNew_MoreThan4GiB(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "")
	e, err := f.drive.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	const size = 4<<30 + 10
	i, err := f.drive.Inode(e.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := i.WriteAt([]byte("end"), size-3)
	if err := errors.Join(werr, i.Sync(t.Context()), i.Close()); err != nil {
		t.Fatal(err)
	}
	resp, _ := f.want(http.StatusOK, "HEAD", "/f", "")
	if resp.ContentLength != size {
		t.Errorf("Content-Length: %d", resp.ContentLength)
	}
	resp, body := f.want(http.StatusPartialContent, "GET", "/f", "", "Range", "bytes=4294967300-")
	if body != "\x00\x00\x00end" || resp.Header.Get("Content-Range") != "bytes 4294967300-4294967305/4294967306" {
		t.Errorf("%q, %v", body, resp.Header)
	}
	f.want(http.StatusCreated, "COPY", "/f", "", "Destination", "{url}/g")
	if _, body := f.want(http.StatusMultiStatus, "PROPFIND", "/g", "", "Depth", "0"); !strings.Contains(body, ">4294967306<") {
		t.Errorf("PROPFIND: %s", body)
	}
}

// Overwrite absent means T (RFC 4918 section 10.6), and what is replaced is replaced
// as a whole.
func TestNew_Overwrite(t *testing.T) {
	f := newFace(t)
	for _, d := range []string{"/a", "/b", "/c"} {
		f.want(http.StatusCreated, "MKCOL", d, "")
		f.want(http.StatusCreated, "PUT", d+d, d)
	}
	f.want(http.StatusNoContent, "COPY", "/a", "", "Destination", "{url}/b/")
	f.want(http.StatusNotFound, "GET", "/b/b", "")
	f.want(http.StatusPreconditionFailed, "MOVE", "/a", "", "Destination", "{url}/c", "Overwrite", "F")
	f.want(http.StatusNoContent, "MOVE", "/a", "", "Destination", "/c")
	f.want(http.StatusNotFound, "GET", "/c/c", "")
	f.want(http.StatusOK, "GET", "/c/a", "")
	f.want(http.StatusNotFound, "GET", "/a/a", "")
	f.want(http.StatusCreated, "COPY", "/c", "", "Destination", "{url}/d", "Depth", "0")
	f.want(http.StatusNotFound, "GET", "/d/a", "")
	f.want(http.StatusBadRequest, "COPY", "/c", "", "Destination", "{url}/d", "Depth", "1")
	f.want(http.StatusBadRequest, "MOVE", "/c", "", "Destination", "{url}/d", "Depth", "0")
	f.want(http.StatusBadRequest, "DELETE", "/c", "", "Depth", "0")
	f.want(http.StatusNoContent, "COPY", "/c/a", "", "Destination", "{url}/d")
	if got, _ := f.content("/d"); got != "/a" {
		t.Errorf("/d is %q", got)
	}
	f.want(http.StatusNotFound, "COPY", "/none", "", "Destination", "{url}/d")
}

// A change that finds no room is answered with 507.
func TestNew_NoRoom(t *testing.T) {
	f := newFace(t)
	resp, _ := f.request("PUT", "/f", string(randomBytes(8, 80<<20)))
	if resp.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("PUT: %s", resp.Status)
	}
	if _, err := f.drive.Stat("/f"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Stat = %v", err)
	}
	f.want(http.StatusCreated, "PUT", "/g", "a small one")
}

func TestNew_ModificationTime(t *testing.T) {
	f := newFace(t)
	resp, _ := f.want(http.StatusCreated, "PUT", "/f", "x", "X-OC-Mtime", "1500000000")
	if resp.Header.Get("X-OC-Mtime") != "accepted" {
		t.Errorf("%v", resp.Header)
	}
	resp, _ = f.want(http.StatusOK, "HEAD", "/f", "")
	if got := resp.Header.Get("Last-Modified"); got != time.Unix(1500000000, 0).UTC().Format(http.TimeFormat) {
		t.Errorf("Last-Modified: %s", got)
	}
	for _, bad := range []string{"x", "-1", "99999999999999"} {
		if resp, _ := f.want(http.StatusNoContent, "PUT", "/f", "x", "X-OC-Mtime", bad); resp.Header.Get("X-OC-Mtime") != "" {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestNew_SaysNothingWithoutALogger(t *testing.T) {
	f := newFace(t)
	srv := httptest.NewServer(New(Config{Drive: f.drive}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	f.want(http.StatusCreated, "PUT", "/f", "x")
	f.want(http.StatusOK, "LOCK", "/f", lockBody)
	f.want(http.StatusLocked, "PUT", "/f", "y")
}
