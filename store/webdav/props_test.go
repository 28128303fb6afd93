package webdav

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// patch is the body of a PROPPATCH that does what ops say, in order.
func patch(ops ...string) string {
	return `<?xml version="1.0"?><d:propertyupdate xmlns:d="DAV:" xmlns:x="urn:x">` + strings.Join(ops, "") + `</d:propertyupdate>`
}

func set(props string) string { return `<d:set><d:prop>` + props + `</d:prop></d:set>` }

const askColour = `<d:propfind xmlns:d="DAV:" xmlns:x="urn:x"><d:prop><x:colour/></d:prop></d:propfind>`

// colour returns the answer to a PROPFIND of x:colour, and whether the property is
// there.
func (f *face) colour(p string) (string, bool) {
	f.t.Helper()
	_, body := f.want(http.StatusMultiStatus, "PROPFIND", p, askColour, "Depth", "0")
	return body, strings.Contains(body, "200 OK")
}

func TestNew_DeadPropertiesBelongToTheFile(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "MKCOL", "/d", "")
	f.want(http.StatusCreated, "PUT", "/d/f", "x")
	value := `<x:colour xml:lang="de">grün &amp; <y:deep xmlns:y="urn:y" a="1">tief</y:deep></x:colour>`
	_, body := f.want(http.StatusMultiStatus, "PROPPATCH", "/d/f", patch(set(value)))
	if !strings.Contains(body, "200 OK") || strings.Contains(body, "tief") {
		t.Errorf("PROPPATCH: %s", body)
	}
	f.want(http.StatusMultiStatus, "PROPPATCH", "/d", patch(set(value)))
	f.want(http.StatusMultiStatus, "PROPPATCH", "/", patch(set(value)))
	f.want(http.StatusNoContent, "PUT", "/d/f", "new bytes")
	f.want(http.StatusCreated, "MOVE", "/d", "", "Destination", "{url}/e")
	f.want(http.StatusCreated, "COPY", "/e", "", "Destination", "{url}/copy")
	srv := httptest.NewServer(New(Config{Drive: f.drive, KV: f.kv}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	for _, p := range []string{"/e/f", "/e", "/copy/f", "/copy", "/"} {
		body, ok := f.colour(p)
		if !ok || !strings.Contains(body, `xml:lang="de"`) || !strings.Contains(body, "grün &amp; ") || !strings.Contains(body, ">tief<") {
			t.Errorf("%s: %s", p, body)
		}
		if err := xml.Unmarshal([]byte(body), new(struct{})); err != nil {
			t.Errorf("%s: %v in %s", p, err, body)
		}
	}
	for _, ask := range []string{"", `<propfind xmlns="DAV:"><allprop/></propfind>`, `<propfind xmlns="DAV:"><propname/></propfind>`} {
		if _, body := f.want(http.StatusMultiStatus, "PROPFIND", "/e/f", ask, "Depth", "0"); strings.Count(body, "<colour") != 1 || strings.Count(body, "<D:supportedlock>") != 1 {
			t.Errorf("%s: %s", ask, body)
		}
	}
	f.want(http.StatusNoContent, "DELETE", "/e/f", "")
	f.want(http.StatusCreated, "PUT", "/e/f", "another file")
	if body, ok := f.colour("/e/f"); ok {
		t.Errorf("a new file has it: %s", body)
	}
}

// Section 9.2: all or none, in the order given.
func TestNew_RFC4918_9_2_ProppatchIsAtomic(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/f", "x")
	remove := `<d:remove><d:prop><x:colour/></d:prop></d:remove>`
	f.want(http.StatusMultiStatus, "PROPPATCH", "/f", patch(remove, set(`<x:colour>red</x:colour>`), set(`<x:colour>blue</x:colour>`)))
	large := set(`<x:size>` + strings.Repeat("x", 70000) + `</x:size>`)
	for _, s := range []struct{ what, body, status string }{
		{"too large", patch(remove, large), "507 Insufficient Storage"},
		{"a protected property", patch(remove, set(`<d:getetag>x</d:getetag>`)), "403 Forbidden"},
		{"a lock", patch(remove, set(`<d:lockdiscovery/>`)), "403 Forbidden"},
		{"a long name", patch(remove, set(`<x:`+strings.Repeat("n", 300)+`/>`)), "507 Insufficient Storage"},
	} {
		_, body := f.want(http.StatusMultiStatus, "PROPPATCH", "/f", s.body)
		if !strings.Contains(body, s.status) || !strings.Contains(body, "424 Failed Dependency") || strings.Contains(body, "200 OK") {
			t.Errorf("%s: %s", s.what, body)
		}
		if body, ok := f.colour("/f"); !ok || !strings.Contains(body, "blue") {
			t.Errorf("after %s: %s", s.what, body)
		}
	}
	f.want(http.StatusMultiStatus, "PROPPATCH", "/f", patch(remove))
	if body, ok := f.colour("/f"); ok {
		t.Errorf("removed: %s", body)
	}
	// The bound is on all properties of a resource.
	for i := range 4 {
		_, body := f.want(http.StatusMultiStatus, "PROPPATCH", "/f", patch(set(fmt.Sprintf("<x:p%d>%s</x:p%d>", i, strings.Repeat("x", 20000), i))))
		if strings.Contains(body, "507") != (i == 3) {
			t.Errorf("%d times 20000 bytes: %s", i+1, body)
		}
	}
	f.want(http.StatusNotFound, "PROPPATCH", "/none", patch(remove))
	f.want(http.StatusBadRequest, "PROPPATCH", "/f", "<no")
	f.want(http.StatusOK, "LOCK", "/f", lockBody)
	f.want(http.StatusLocked, "PROPPATCH", "/f", patch(remove))
}

func TestPropertyOf(t *testing.T) {
	for _, n := range []xml.Name{{Space: "urn:x", Local: "a"}, {Local: "a"}, {Space: "http://h/#x#", Local: "b"}} {
		if got, ok := propertyOf(attributeOf(n)); !ok || got != n {
			t.Errorf("%v: %v, %v", n, got, ok)
		}
	}
	for _, s := range []string{"", "user.x", "dav:", "dav:x", "dav:x#"} {
		if n, ok := propertyOf(s); ok {
			t.Errorf("%q is %v", s, n)
		}
	}
}
