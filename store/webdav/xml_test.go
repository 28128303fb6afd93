package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
)

func TestInner_StandsForItself(t *testing.T) {
	for in, want := range map[string]string{
		`<a/>`:                                        ``,
		`<a>text &lt; <!-- no --> more</a>`:           `text &lt;  more`,
		`<a xmlns:p="urn:p"><p:b c="1"/>x</a>`:        `<b xmlns="urn:p" c="1"></b>x`,
		`<a xmlns="urn:p"><b xmlns="urn:q"/><b/></a>`: `<b xmlns="urn:q"></b><b xmlns="urn:p"></b>`,
	} {
		d := xml.NewDecoder(strings.NewReader(in))
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		if got, err := inner(d); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
}

// What was accepted is XML that has an end, and a lock can be shown with its owner.
func FuzzReadXML(f *testing.F) {
	f.Add([]byte(lockBody))
	f.Add([]byte(sharedBody))
	f.Add([]byte(patch(set(`<x:colour xml:lang="de">a<b xmlns="urn:b" xmlns:c="urn:c" c:d="1"/></x:colour>`))))
	f.Add([]byte(`<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>&#x10;<?x y?><a/></D:owner></D:lockinfo>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, _, err := readXML(bytes.NewReader(b))
		if err != nil {
			var known *failure
			if !errors.As(err, &known) {
				t.Errorf("error without a status: %v", err)
			}
			return
		}
		if len(body) == 0 {
			return
		}
		l, err := parseLockInfo(body)
		if err != nil {
			return
		}
		l.Token, l.Root = newToken(), "/f"
		if _, _, err := readXML(strings.NewReader(l.active(noon))); err != nil {
			t.Errorf("%q makes %q: %v", b, l.active(noon), err)
		}
	})
}
