package webdav

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkPropfind lists a directory of 1000 files, with the properties that file
// managers ask for.
func BenchmarkPropfind(b *testing.B) {
	f := newFace(b)
	for i := range 1000 {
		f.want(http.StatusCreated, "PUT", fmt.Sprintf("/%04d.bin", i), "x")
	}
	const ask = `<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getlastmodified/><getetag/><getcontenttype/><lockdiscovery/></prop></propfind>`
	for b.Loop() {
		if _, body := f.want(http.StatusMultiStatus, "PROPFIND", "/", ask, "Depth", "1"); strings.Count(body, "<D:response>") != 1001 {
			b.Fatal("not all are listed")
		}
	}
}

// BenchmarkPutGet moves 32 MiB in and out: the same bytes each time, which are stored once.
func BenchmarkPutGet(b *testing.B) {
	f := newFace(b)
	body := randomBytes(1, 32<<20)
	b.Run("put", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			f.request("PUT", "/f", string(body))
		}
	})
	b.Run("get", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			resp, err := http.Get(f.url + "/f")
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(len(body)) {
				b.Fatal(n, err)
			}
			resp.Body.Close()
		}
	})
}
