package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const (
	maxBody  = 256 << 10 // bytes of a body that is XML
	maxDepth = 64        // elements inside each other
	davSpace = "DAV:"
)

var errBadXML = errors.New("webdav: the body is not the XML that it should be")

// readXML returns the body of a request and the name of the first element inside its
// root, which says what a PROPFIND asks for. It refuses what is not well-formed with
// namespaces: a prefix cannot be declared empty (Namespaces in XML 1.0, section 2.2),
// which the decoder lets through; and declarations of types, which are where bombs
// and references to other files hide (RFC 4918 section 20.6). An empty body is none.
func readXML(r io.Reader) (body []byte, first xml.Name, err error) {
	body, err = io.ReadAll(io.LimitReader(r, maxBody+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, first, err
	case err != nil:
		return nil, first, fail(http.StatusBadRequest, err)
	case len(body) > maxBody:
		return nil, first, fail(http.StatusRequestEntityTooLarge, errBadXML)
	case len(body) == 0:
		return nil, first, nil
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	depth, roots := 0, 0
	for {
		tok, err := d.Token()
		if err == io.EOF && roots == 1 && depth == 0 {
			return body, first, nil
		}
		if err != nil {
			return nil, first, fail(http.StatusBadRequest, fmt.Errorf("%w: %w", errBadXML, err))
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return nil, first, fail(http.StatusBadRequest, errBadXML)
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > maxDepth || roots > 1 || emptyPrefix(tok.Attr) {
				return nil, first, fail(http.StatusBadRequest, errBadXML)
			}
			if depth == 2 && first.Local == "" {
				first = tok.Name
			}
		case xml.EndElement:
			depth--
		}
	}
}

func emptyPrefix(attrs []xml.Attr) bool {
	for _, a := range attrs {
		if a.Name.Space == "xmlns" && a.Value == "" {
			return true
		}
	}
	return false
}

// inner writes what is inside the element that d has just begun, up to its end, so
// that it stands for itself: each element declares its namespace.
func inner(d *xml.Decoder) (string, error) {
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	for depth := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return "", err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			depth++
			var kept []xml.Attr
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name != (xml.Name{Local: "xmlns"}) {
					kept = append(kept, a)
				}
			}
			t.Attr = kept
			tok = t
		case xml.EndElement:
			if depth == 0 {
				err := e.Flush()
				return b.String(), err
			}
			depth--
		case xml.CharData:
		default: // comments and instructions (RFC 4918 section 17)
			continue
		}
		if err := e.EncodeToken(tok); err != nil {
			return "", err
		}
	}
}

// escape makes text of s that can stand between tags.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
