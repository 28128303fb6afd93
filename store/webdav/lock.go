package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

var (
	errBadLock    = errors.New("webdav: not a lock that can be taken out")
	errBadTimeout = errors.New("webdav: not a Timeout header")
)

// lock is LOCK: it takes a lock out, or with an empty body refreshes one (RFC 4918
// section 9.10).
func (f *front) lock(w http.ResponseWriter, r *request) error {
	timeout, err := parseTimeout(r.Header.Get("Timeout"))
	if err != nil {
		return fail(http.StatusBadRequest, err)
	}
	body, _, err := readXML(r.Body)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return f.refresh(w, r, timeout)
	}
	if err := f.check(r, r.entry, r.exists); err != nil {
		return err
	}
	l, err := parseLockInfo(body)
	if err != nil {
		return err
	}
	l.Root, l.Timeout = r.path, timeout
	if timeout == 0 {
		l.Timeout = usualTimeout
	}
	switch depth := r.Header.Get("Depth"); {
	case depth == "" || strings.EqualFold(depth, "infinity"): // section 9.10.3
		l.Infinite = true
	case depth != "0":
		return fail(http.StatusBadRequest, errBadDepth)
	}
	if !r.exists { // section 9.10.4: an empty file, which needs the locks that a PUT needs
		if err := f.hasParent(r.path); err != nil {
			return err
		}
		leave, err := f.enter(r, target{path: r.path, members: true})
		if err != nil {
			return err
		}
		leave()
	}
	if l, err = f.files.locks.create(time.Now(), l); err != nil {
		return conflict(w, r.path, err)
	}
	if !r.exists {
		nothing := drive.Attributes{If: func(_ tree.Entry, exists bool) error {
			if exists {
				return tree.ErrExist
			}
			return nil
		}}
		_, err := f.files.d.Put(r.Context(), r.path, strings.NewReader(""), nothing)
		if err != nil && !errors.Is(err, tree.ErrExist) {
			return errors.Join(err, f.files.locks.unlock(time.Now(), r.path, l.Token))
		}
	}
	w.Header().Set("Lock-Token", "<"+l.Token+">")
	status := http.StatusOK
	if !r.exists {
		status = http.StatusCreated
	}
	writeLock(w, status, l)
	return nil
}

// conflict answers a LOCK that another lock is in the way of. When that one is below
// the path, the answer says so for both (section 9.10.9).
func conflict(w http.ResponseWriter, p string, err error) error {
	var locked *lockedError
	if !errors.As(err, &locked) || slices.ContainsFunc(locked.roots, func(root string) bool { return below(p, root) }) {
		return err
	}
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>` + "\n" + `<D:multistatus xmlns:D="DAV:">`)
	for _, root := range locked.roots {
		fmt.Fprintf(&b, "<D:response><D:href>%s</D:href><D:status>HTTP/1.1 423 Locked</D:status></D:response>", escape(href(root)))
	}
	fmt.Fprintf(&b, "<D:response><D:href>%s</D:href><D:status>HTTP/1.1 424 Failed Dependency</D:status></D:response></D:multistatus>", escape(href(p)))
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(http.StatusMultiStatus)
	_, _ = io.WriteString(w, b.String()) // nobody is left to tell
	return nil
}

// refresh starts a lock's timeout anew: the one that the If header names (section
// 9.10.2).
func (f *front) refresh(w http.ResponseWriter, r *request, timeout time.Duration) error {
	given := tokens(r.lists)
	if len(given) != 1 {
		return fail(http.StatusBadRequest, errBadLock)
	}
	for token := range given {
		l, err := f.files.locks.refresh(time.Now(), r.path, token, timeout)
		if errors.Is(err, errNoLock) {
			return &failure{status: http.StatusPreconditionFailed, reason: "lock-token-matches-request-uri", err: err}
		}
		if err != nil {
			return err
		}
		writeLock(w, http.StatusOK, l)
	}
	return nil
}

// unlock is UNLOCK (section 9.11).
func (f *front) unlock(w http.ResponseWriter, r *request) error {
	token, ok := strings.CutPrefix(strings.TrimSpace(r.Header.Get("Lock-Token")), "<")
	token, closed := strings.CutSuffix(token, ">")
	if !ok || !closed || token == "" {
		return fail(http.StatusBadRequest, errBadLock)
	}
	err := f.files.locks.unlock(time.Now(), r.path, token)
	if errors.Is(err, errNoLock) {
		return &failure{status: http.StatusConflict, reason: "lock-token-matches-request-uri", err: err}
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// parseLockInfo reads the body of a LOCK (section 14.11).
func parseLockInfo(body []byte) (l lock, err error) {
	var li struct {
		XMLName   xml.Name  `xml:"DAV: lockinfo"`
		Exclusive *struct{} `xml:"DAV: lockscope>exclusive"`
		Shared    *struct{} `xml:"DAV: lockscope>shared"`
		Write     *struct{} `xml:"DAV: locktype>write"`
	}
	if err := xml.Unmarshal(body, &li); err != nil {
		return l, fail(http.StatusBadRequest, errBadLock)
	}
	if li.Write == nil || (li.Exclusive == nil) == (li.Shared == nil) {
		return l, fail(http.StatusUnprocessableEntity, errBadLock)
	}
	l.Shared = li.Shared != nil
	d := xml.NewDecoder(bytes.NewReader(body))
	for depth := 0; ; {
		tok, err := d.Token()
		if err == io.EOF {
			return l, nil
		}
		if err != nil {
			return l, fail(http.StatusBadRequest, errBadLock)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == 1 && tok.Name == (xml.Name{Space: davSpace, Local: "owner"}) {
				if l.Owner, err = inner(d); err != nil {
					return l, fail(http.StatusBadRequest, errBadLock)
				}
				if len(l.Owner) > maxOwner {
					return l, fail(http.StatusInsufficientStorage, errBadLock)
				}
				continue // inner took the end
			}
			depth++
		case xml.EndElement:
			depth--
		}
	}
}

// parseTimeout reads a Timeout header (section 10.7): the first of its wishes that
// can be read. Zero means that there was none.
func parseTimeout(s string) (time.Duration, error) {
	if strings.TrimSpace(s) == "" {
		return 0, nil
	}
	for _, t := range strings.Split(s, ",") {
		t = strings.TrimSpace(t)
		if strings.EqualFold(t, "Infinite") {
			return maxTimeout, nil
		}
		if len(t) > 7 && strings.EqualFold(t[:7], "Second-") {
			if n, err := strconv.ParseUint(t[7:], 10, 32); err == nil && n > 0 {
				return min(time.Duration(n)*time.Second, maxTimeout), nil
			}
		}
	}
	return 0, errBadTimeout
}

// writeLock answers with a lock, as the property lockdiscovery.
func writeLock(w http.ResponseWriter, status int, l lock) {
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="utf-8"?>`+"\n"+ // nobody is left to tell
		`<D:prop xmlns:D="DAV:"><D:lockdiscovery>`+l.active(time.Now())+`</D:lockdiscovery></D:prop>`)
}

// active describes a lock (section 14.1) in XML that stands for itself.
func (l *lock) active(now time.Time) string {
	scope, depth, owner := "exclusive", "0", ""
	if l.Shared {
		scope = "shared"
	}
	if l.Infinite {
		depth = "infinity"
	}
	if l.Owner != "" {
		owner = "<D:owner>" + l.Owner + "</D:owner>"
	}
	left := max(int64(l.Expires.Sub(now).Round(time.Second)/time.Second), 1)
	return `<D:activelock xmlns:D="DAV:"><D:locktype><D:write/></D:locktype><D:lockscope><D:` + scope + `/></D:lockscope>` +
		`<D:depth>` + depth + `</D:depth>` + owner + `<D:timeout>Second-` + strconv.FormatInt(left, 10) + `</D:timeout>` +
		`<D:locktoken><D:href>` + escape(l.Token) + `</D:href></D:locktoken>` +
		`<D:lockroot><D:href>` + escape(href(l.Root)) + `</D:href></D:lockroot></D:activelock>`
}
