package webdav

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The examples of RFC 4918 section 10.4, and what is none.
func TestParseIf_RFC4918_10_4(t *testing.T) {
	token := func(s string) condition { return condition{token: s} }
	for _, s := range []struct {
		in   string
		want []ifList
	}{
		{`(<urn:a> ["I am an ETag"]) (["I am another ETag"])`, []ifList{
			{conditions: []condition{token("urn:a"), {etag: `"I am an ETag"`}}}, {conditions: []condition{{etag: `"I am another ETag"`}}}}},
		{`(Not <urn:a> <urn:b>)`, []ifList{{conditions: []condition{{not: true, token: "urn:a"}, token("urn:b")}}}},
		{`(<urn:a>)(Not <DAV:no-lock>)`, []ifList{{conditions: []condition{token("urn:a")}}, {conditions: []condition{{not: true, token: "DAV:no-lock"}}}}},
		{`</resource1> (<urn:a> [W/"A weak ETag"]) (["strong ETag"])`, []ifList{
			{"/resource1", []condition{token("urn:a"), {etag: `W/"A weak ETag"`}}}, {"/resource1", []condition{{etag: `"strong ETag"`}}}}},
		{`<http://h/a> (<urn:a>) <http://h/b> (<urn:b>)`, []ifList{{"http://h/a", []condition{token("urn:a")}}, {"http://h/b", []condition{token("urn:b")}}}},
		{"\t( not\t<urn:a> [ \"x\" ] ) ", nil}, {`(["a]b"])`, []ifList{{conditions: []condition{{etag: `"a]b"`}}}}},
		{"", nil}, {"()", nil}, {"(", nil}, {"(<>)", nil}, {"(<urn:a>", nil}, {"<urn:a>", nil}, {"<a> <b> (<c>)", nil}, {"(<a>) <b> (<c>)", nil},
		{"(urn:a)", nil}, {`([x])`, nil}, {`(["x"`, nil}, {"(Not)", nil}, {"(Not Not <a>)", nil}, {"x", nil},
		{"(" + strings.Repeat("<a>", maxConditions+1) + ")", nil},
	} {
		got, err := parseIf(s.in)
		if (err == nil) != (s.want != nil) || !cmp.Equal(got, s.want, cmp.AllowUnexported(ifList{}, condition{})) && s.want != nil {
			t.Errorf("%.80s: %+v, %v", s.in, got, err)
		}
	}
}

// appendIf writes lists as an If header.
func appendIf(lists []ifList) string {
	var b strings.Builder
	for _, l := range lists {
		if l.resource != "" {
			b.WriteString("<" + l.resource + ">")
		}
		b.WriteString("(")
		for _, c := range l.conditions {
			if c.not {
				b.WriteString("Not ")
			}
			if c.token != "" {
				b.WriteString("<" + c.token + ">")
			} else {
				b.WriteString("[" + c.etag + "]")
			}
		}
		b.WriteString(")")
	}
	return b.String()
}

func FuzzParseIf(f *testing.F) {
	f.Add(`</r> (<urn:a> [W/"A weak ETag"]) (Not ["strong ETag"])`)
	f.Add(`(<urn:a>)(Not <DAV:no-lock>)`)
	f.Fuzz(func(t *testing.T, s string) {
		lists, err := parseIf(s)
		if err != nil {
			return
		}
		again, err := parseIf(appendIf(lists))
		if err != nil || !cmp.Equal(again, lists, cmp.AllowUnexported(ifList{}, condition{})) {
			t.Errorf("%q is %+v, again %+v, %v", s, lists, again, err)
		}
	})
}

func TestNew_If(t *testing.T) {
	f := newFace(t)
	f.want(http.StatusCreated, "PUT", "/g", "other")
	resp, _ := f.want(http.StatusCreated, "PUT", "/f", "x")
	tag := resp.Header.Get("ETag")
	for h, status := range map[string]int{
		"([" + tag + "])":                              http.StatusNoContent,
		`(["no"])`:                                     http.StatusPreconditionFailed,
		`(Not ["no"])`:                                 http.StatusNoContent,
		`(["no"]) ([` + tag + `])`:                     http.StatusNoContent,
		`([` + tag + `] ["no"])`:                       http.StatusPreconditionFailed,
		`(<DAV:no-lock>)`:                              http.StatusPreconditionFailed,
		`(Not <DAV:no-lock>)`:                          http.StatusNoContent,
		`</f> ([` + tag + `])`:                         http.StatusNoContent,
		`<{url}/g> ([` + tag + `])`:                    http.StatusPreconditionFailed,
		`<{url}/none> ([` + tag + `])`:                 http.StatusPreconditionFailed,
		`<{url}/none> (Not [` + tag + `])`:             http.StatusNoContent,
		`<http://other.example/f> ([` + tag + `])`:     http.StatusPreconditionFailed,
		`<http://other.example/f> (Not [` + tag + `])`: http.StatusNoContent,
		`rubbish`: http.StatusBadRequest,
	} {
		f.want(status, "PUT", "/f", "x", "If", h)
	}
	f.want(http.StatusPreconditionFailed, "DELETE", "/f", "", "If", `(["no"])`)
	f.want(http.StatusPreconditionFailed, "GET", "/f", "", "If", `(["no"])`)
}
