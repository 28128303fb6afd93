package link

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

var testBounds = bounds{header: 1 << 10, body: 1 << 12}

func (f *frame) bytes() []byte { return append(f.appendPrefix(nil), f.body...) }

func TestFrame_CrossesUnchanged(t *testing.T) {
	for _, f := range []frame{
		{kind: kindPing},
		{kind: kindRequest, method: 513, stream: 1 << 30, header: []byte("head"), body: []byte("body")},
		{kind: kindResponse, stream: 1, body: make([]byte, testBounds.body)},
		{kind: kindError, method: 1, header: make([]byte, testBounds.header)},
	} {
		var prefix [prefixLen]byte
		r := bytes.NewReader(f.bytes())
		g, buf, err := readFrame(r, &prefix, testBounds)
		if err != nil || r.Len() != 0 {
			t.Fatalf("kind %d: %v, %d bytes left", f.kind, err, r.Len())
		}
		if g.kind != f.kind || g.method != f.method || g.stream != f.stream || !bytes.Equal(g.header, f.header) || !bytes.Equal(g.body, f.body) {
			t.Errorf("sent %v, got %v", f, g)
		}
		buf.release()
	}
}

func TestFrame_RefusesBeforeAllocating(t *testing.T) {
	for name, p := range map[string][prefixLen]byte{
		"kind 0":             {0, 0, 0, 12, 0},
		"kind 9":             {0, 0, 0, 12, 9},
		"empty doubt":        {0, 0, 0, 12, 8},
		"half a doubt":       {0, 0, 0, 20, 8},
		"long doubt":         {0, 0, 4, 44, 8},
		"flags":              {0, 0, 0, 12, 2, 1},
		"length too small":   {0, 0, 0, 11, 2},
		"length zero":        {0, 0, 0, 0, 2},
		"header over length": {0, 0, 0, 12, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		"header over limit":  {0, 0, 9, 12, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1},
		"body over limit":    {0, 0, 16, 13, 2},
		"all ones":           {255, 255, 255, 255, 2, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
		"ping with a body":   {0, 0, 0, 13, 7},
	} {
		if _, _, _, err := parsePrefix(&p, testBounds); !errors.Is(err, ErrGarbage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFrame_CutShortIsNotAnEnd(t *testing.T) {
	f := frame{kind: kindRequest, header: []byte("head"), body: []byte("body")}
	b := f.bytes()
	for n := range b {
		var prefix [prefixLen]byte
		_, _, err := readFrame(bytes.NewReader(b[:n]), &prefix, testBounds)
		if want := io.ErrUnexpectedEOF; n > 0 && err != want || n == 0 && err != io.EOF {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestBuffer_IsReusedOnlyByItsSize(t *testing.T) {
	for _, n := range []int{1, 2 << 10, 2<<10 + 1, 1 << 20, 5 << 20} {
		b := newBuffer(n)
		if len(b.b) != n {
			t.Errorf("%d bytes asked, got %d", n, len(b.b))
		}
		b.release()
		if c := newBuffer(n); len(c.b) != n {
			t.Errorf("%d bytes asked again, got %d", n, len(c.b))
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, fr := range []frame{{kind: kindPing}, {kind: kindRequest, method: 3, stream: 4, header: []byte("h"), body: []byte("b")}} {
		f.Add(fr.bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var prefix [prefixLen]byte
		r := bytes.NewReader(b)
		for {
			before := r.Len()
			g, buf, err := readFrame(r, &prefix, testBounds)
			if err != nil {
				return
			}
			read := b[len(b)-before : len(b)-r.Len()]
			if !bytes.Equal(g.bytes(), read) {
				t.Fatalf("read %x, wrote %x", read, g.bytes())
			}
			buf.release()
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(hello{serves: 1, header: 2, body: 3, serial: 4}.append(nil))
	f.Add(hello{serves: 1, header: 2, body: 3, serial: 4, features: featureVigil}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err == nil && !bytes.HasPrefix(b, h.append(nil)) {
			t.Fatalf("%x became %+v", b, h)
		}
	})
}
