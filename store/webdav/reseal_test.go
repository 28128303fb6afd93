package webdav

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/tree"
)

// A file whose bytes are sealed anew has not changed: its ETag stays, and who edits it
// may save.
func TestETag_StaysWhenBytesAreSealedAnew(t *testing.T) {
	f := newFace(t)
	f.request(http.MethodPut, "/f", "first")
	resp, _ := f.request(http.MethodGet, "/f", "")
	tag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	e, err := f.drive.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.keys.Add(bytes.Repeat([]byte{7}, chunk.SecretSize), 7); err != nil {
		t.Fatal(err)
	}
	if failed, err := f.drive.Reseal(t.Context(), []tree.Entry{e}, nil); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	resp, body := f.request(http.MethodGet, "/f", "")
	if body != "first" || resp.Header.Get("ETag") != tag || resp.Header.Get("Last-Modified") != modified {
		t.Errorf("%q with ETag %s of %s, before %s of %s", body, resp.Header.Get("ETag"), resp.Header.Get("Last-Modified"), tag, modified)
	}
	if resp, _ := f.request(http.MethodPut, "/f", "second", "If-Match", tag); resp.StatusCode/100 != 2 {
		t.Errorf("saving over it: %s", resp.Status)
	}
	if resp, _ := f.request(http.MethodPut, "/f", "third", "If-Match", tag); resp.StatusCode != http.StatusPreconditionFailed {
		t.Errorf("saving over another version: %s", resp.Status)
	}
}
