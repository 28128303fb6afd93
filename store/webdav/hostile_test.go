package webdav

import (
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aether-lan/aether/store/tree"
)

// Section 9.1: a listing without bound is refused, by the name of the condition.
func TestNew_RFC4918_9_1_FiniteDepth(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "x")
	for _, head := range [][]string{{}, {"Depth", "infinity"}, {"Depth", "Infinity"}} {
		if _, body := f.want(http.StatusForbidden, "PROPFIND", "/", "", head...); !strings.Contains(body, "<D:propfind-finite-depth>") {
			t.Errorf("%v: %s", head, body)
		}
		f.want(http.StatusMultiStatus, "PROPFIND", "/f", "", head...) // a file has nothing below it
	}
	f.want(http.StatusBadRequest, "PROPFIND", "/", "", "Depth", "2")
}

func TestNew_RefusesHostileXML(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "x")
	bomb := `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><propfind xmlns="DAV:"><prop><x>&b;</x></prop></propfind>`
	file := `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><propfind xmlns="DAV:"><allprop/></propfind>`
	for what, s := range map[string]struct {
		body   string
		status int
	}{
		"bomb": {bomb, http.StatusBadRequest}, "file": {file, http.StatusBadRequest},
		"deep":          {strings.Repeat("<a>", 10000) + strings.Repeat("</a>", 10000), http.StatusBadRequest},
		"large":         {`<a>` + strings.Repeat("x", maxBody) + `</a>`, http.StatusRequestEntityTooLarge},
		"two roots":     {`<propfind xmlns="DAV:"><allprop/></propfind><x/>`, http.StatusBadRequest},
		"no end":        {`<propfind xmlns="DAV:"><allprop/>`, http.StatusBadRequest},
		"no XML":        {"\x00\xff", http.StatusBadRequest},
		"empty prefix":  {`<d:propfind xmlns:d="DAV:"><d:prop><x:y xmlns:x=""/></d:prop></d:propfind>`, http.StatusBadRequest},
		"other prefix":  {`<d:propfind xmlns:d="DAV:" d:x="&none;"/>`, http.StatusBadRequest},
		"only a prolog": {`<?xml version="1.0"?>`, http.StatusBadRequest},
	} {
		for _, m := range []string{"PROPFIND", "PROPPATCH", "LOCK"} {
			if resp, _ := f.request(m, "/f", s.body, "Depth", "0"); resp.StatusCode != s.status {
				t.Errorf("%s with %s: %s, want %d", m, what, resp.Status, s.status)
			}
		}
	}
}

// Names of every kind are files of their own: of the greatest length, and such as some
// systems take for the same.
func TestNew_NamesAreKeptAsTheyAre(t *testing.T) {
	f := newFace(t)
	names := []string{
		strings.Repeat("n", 255), strings.Repeat("☃", 85), "readme", "README", "straße", "STRASSE", "é", "e\u0301",
		"a", "a ", " a", "a.", "CON", `a\b`, "a:b*c?d", "a\nb", "a%2fb", "a+b", "...", "a#b", "a;b", "<a>&\"'",
	}
	for _, n := range names {
		f.want(http.StatusCreated, "PUT", "/"+url.PathEscape(n), n)
	}
	for _, n := range names {
		if _, got := f.want(http.StatusOK, "GET", "/"+url.PathEscape(n), ""); got != n {
			t.Errorf("%q holds %q", n, got)
		}
	}
	var listed []string
	if err := f.drive.List("/", func(e tree.Entry) bool { listed = append(listed, e.Name()); return true }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	if !slices.Equal(listed, names) {
		t.Errorf("listed %q, want %q", listed, names)
	}
	_, body := f.want(http.StatusMultiStatus, "PROPFIND", "/", "", "Depth", "1")
	for _, n := range names {
		if u := (&url.URL{Path: "/" + n}).EscapedPath(); !strings.Contains(html.UnescapeString(body), u) {
			t.Errorf("PROPFIND does not name %q as %s", n, u)
		}
	}
	for _, n := range names {
		f.want(http.StatusNoContent, "DELETE", "/"+url.PathEscape(n), "")
	}
}

// No path leads out of the drive or to a name that no file can have.
func TestNew_RefusesBadPaths(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "x")
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	for _, p := range []string{"/..%2ff", "/d/..%2f..%2ff", "/%2e%2e/f", "/d/%2e%2e/f", "/a%00b", "/%ff", "/" + strings.Repeat("n", 300), strings.Repeat("/d", 3000)} {
		for _, m := range []string{"PUT", "DELETE", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPPATCH"} {
			if resp, _ := f.request(m, p, lockBody, "Destination", "{url}/g"); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s %.40s: %s", m, p, resp.Status)
			}
		}
		f.want(http.StatusNotFound, "GET", p, "")
		f.want(http.StatusNotFound, "PROPFIND", p, "", "Depth", "0")
		for _, m := range []string{"COPY", "MOVE"} {
			f.want(http.StatusBadRequest, m, "/f", "", "Destination", "{url}"+p)
		}
	}
	for _, to := range []string{"", "%zz", "mailto:x"} {
		f.want(http.StatusBadRequest, "COPY", "/f", "", "Destination", to)
	}
	f.want(http.StatusForbidden, "COPY", "/f", "", "Destination", "{url}/")
	f.want(http.StatusForbidden, "MOVE", "/", "", "Destination", "{url}/d/x")
	f.want(http.StatusForbidden, "MOVE", "/d", "", "Destination", "{url}/")
	f.want(http.StatusUnsupportedMediaType, "MKCOL", "/x", "<x/>")
	f.want(http.StatusBadRequest, "NONE", "/f", "")
	if got, _ := f.content("/f"); got != "x" {
		t.Errorf("/f is %q", got)
	}
}

// link makes a symbolic link, or with another mode another kind of file.
func (f *face) link(dir, name, target string, mode uint32) {
	f.t.Helper()
	at, err := f.drive.Stat(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.drive.SymlinkAt(f.t.Context(), tree.Place{Dir: at.ID, Name: name}, target, tree.Version{Mode: mode}); err != nil {
		f.t.Fatal(err)
	}
}

// A symbolic link is shown as what it leads to; one that leads out of the drive,
// nowhere or in circles is not there.
func TestNew_SymbolicLinks(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	f.want(http.StatusCreated, "PUT", "/d/f", "bytes")
	const link, pipe = 0o120777, 0o010644
	f.link("/", "file", "d/f", link)
	f.link("/", "dir", "./d/", link)
	f.link("/d", "up", "../file", link)
	f.link("/", "out", "../../etc/passwd", link)
	f.link("/", "host", "/d/f", link)
	f.link("/", "dangling", "d/none", link)
	f.link("/", "circle", "circle", link)
	f.link("/", "pipe", "x", pipe)
	for _, p := range []string{"/file", "/dir/f", "/d/up", "/dir/up"} {
		if _, body := f.want(http.StatusOK, "GET", p, ""); body != "bytes" {
			t.Errorf("%s: %q", p, body)
		}
	}
	_, body := f.want(http.StatusMultiStatus, "PROPFIND", "/", "", "Depth", "1")
	for want, n := range map[string]int{"<D:href>/file</D:href>": 1, "<D:href>/dir/</D:href>": 1, "<D:response>": 4, "<D:collection": 3} {
		if strings.Count(body, want) != n {
			t.Errorf("%d times %s, want %d in %s", strings.Count(body, want), want, n, body)
		}
	}
	_, body = f.want(http.StatusMultiStatus, "PROPFIND", "/dir", "", "Depth", "1")
	if !strings.Contains(body, "<D:href>/dir/f</D:href>") {
		t.Errorf("PROPFIND: %s", body)
	}
	for _, p := range []string{"/out", "/host", "/dangling", "/circle", "/pipe", "/file/x", "/out/x"} {
		f.want(http.StatusNotFound, "GET", p, "")
		f.want(http.StatusNotFound, "PROPFIND", p, "", "Depth", "0")
	}
	for _, p := range []string{"/out", "/host", "/circle", "/pipe"} {
		f.want(http.StatusConflict, "PUT", p, "d/f")
	}
	// What is written through a link goes where it leads, under its locks.
	f.want(http.StatusNoContent, "PUT", "/file", "new bytes")
	f.want(http.StatusCreated, "PUT", "/dir/g", "g")
	f.want(http.StatusCreated, "PUT", "/dangling", "made")
	f.want(http.StatusOK, "LOCK", "/d/f", lockBody)
	f.want(http.StatusLocked, "PUT", "/file", "stolen")
	for p, want := range map[string]string{"/d/f": "new bytes", "/d/g": "g", "/d/none": "made"} {
		if got, _ := f.content(p); got != want {
			t.Errorf("%s is %q", p, got)
		}
	}
	// What is removed or moved is the link.
	f.want(http.StatusNoContent, "DELETE", "/file", "")
	f.want(http.StatusNoContent, "DELETE", "/circle", "")
	f.want(http.StatusCreated, "MOVE", "/dir", "", "Destination", "{url}/elsewhere")
	f.want(http.StatusOK, "GET", "/elsewhere/f", "")
	f.want(http.StatusOK, "GET", "/d/f", "")
	// A copy is of what it leads to.
	f.want(http.StatusCreated, "COPY", "/elsewhere", "", "Destination", "{url}/copied")
	if e, err := f.drive.Stat("/copied"); err != nil || !e.Dir {
		t.Errorf("%+v, %v", e, err)
	}
}

// A page that lies in the drive cannot act for whoever looks at it.
func TestNew_PagesAreHarmless(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/p.html", "<script>alert(1)</script>")
	resp, _ := f.want(http.StatusOK, "GET", "/p.html", "")
	if resp.Header.Get("Content-Security-Policy") != "sandbox" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", resp.Header)
	}
}
