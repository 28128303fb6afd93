package webdav

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/webdav"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// Dead properties, those of which we know nothing but what clients set (RFC 4918
// section 4.4), are extended attributes of the file: they move with it, are copied and
// removed with it, and reach all machines.

// propPrefix begins the names of the attributes that are dead properties:
// "dav:" namespace "#" local name.
const propPrefix = "dav:"

func attributeOf(n xml.Name) string { return propPrefix + n.Space + "#" + n.Local }

// propertyOf is the reverse of attributeOf. A local name has no "#" in it.
func propertyOf(attribute string) (n xml.Name, ok bool) {
	s, ok := strings.CutPrefix(attribute, propPrefix)
	i := strings.LastIndexByte(s, '#')
	if !ok || i < 0 || i == len(s)-1 {
		return n, false
	}
	return xml.Name{Space: s[:i], Local: s[i+1:]}, true
}

// propValue is the value of an attribute that is a dead property: an element with the
// property's language and content (section 4.3).
type propValue struct {
	XMLName xml.Name `xml:"value"`
	Lang    string   `xml:"http://www.w3.org/XML/1998/namespace lang,attr,omitempty"`
	Inner   []byte   `xml:",innerxml"`
}

// asked says in a context that a PROPFIND names the properties that it wants.
type asked struct{}

// DeadProps implements webdav.DeadPropsHolder. Besides the dead properties it gives
// two that x/net/webdav knows nothing of, or too little: what locks there are and
// which could be taken out (sections 15.8 and 15.10). The latter only when asked for
// by name: the package lists its own with all the others.
func (r *resource) DeadProps() (map[xml.Name]webdav.Property, error) {
	id, d := r.info.e.ID, r.files.d
	names, err := d.NodeXattrs(id)
	if err != nil {
		return nil, err
	}
	props := map[xml.Name]webdav.Property{}
	add := func(n xml.Name, lang string, inner []byte) {
		props[n] = webdav.Property{XMLName: n, Lang: lang, InnerXML: inner}
	}
	for _, name := range names {
		n, ok := propertyOf(name)
		if !ok {
			continue
		}
		b, err := d.NodeXattr(id, name)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		var v propValue
		if xml.Unmarshal(b, &v) == nil { // else somebody else's attribute
			add(n, v.Lang, v.Inner)
		}
	}
	active := ""
	now := time.Now()
	for _, l := range r.files.locks.on(now, r.path) {
		active += l.active(now)
	}
	add(xml.Name{Space: davSpace, Local: "lockdiscovery"}, "", []byte(active))
	if r.ctx.Value(asked{}) != nil {
		add(xml.Name{Space: davSpace, Local: "supportedlock"}, "", []byte(supportedLock))
	}
	return props, nil
}

const supportedLock = `<D:lockentry xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>` +
	`<D:lockentry xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>`

// Patch implements webdav.DeadPropsHolder: all changes or none (section 9.2). Too much
// is answered with 507 for what was to be set.
func (r *resource) Patch(patches []webdav.Proppatch) ([]webdav.Propstat, error) {
	var changes []drive.XattrChange
	all := webdav.Propstat{Status: http.StatusOK}
	set, removed := webdav.Propstat{Status: http.StatusInsufficientStorage}, webdav.Propstat{Status: http.StatusFailedDependency}
	for _, patch := range patches {
		for _, p := range patch.Props {
			name := webdav.Property{XMLName: p.XMLName}
			all.Props = append(all.Props, name)
			if patch.Remove {
				removed.Props = append(removed.Props, name)
				changes = append(changes, drive.XattrChange{Name: attributeOf(p.XMLName), Remove: true})
				continue
			}
			set.Props = append(set.Props, name)
			b, err := xml.Marshal(propValue{Lang: p.Lang, Inner: p.InnerXML})
			if err != nil {
				return nil, err
			}
			changes = append(changes, drive.XattrChange{Name: attributeOf(p.XMLName), Value: b})
		}
	}
	err := r.files.d.ChangeXattrs(r.ctx, r.info.e.ID, changes)
	switch {
	case err == nil:
		return []webdav.Propstat{all}, nil
	case errors.Is(err, tree.ErrTooLarge), errors.Is(err, tree.ErrBadName), errors.Is(err, store.ErrFull):
		if len(removed.Props) == 0 {
			return []webdav.Propstat{set}, nil
		}
		return []webdav.Propstat{set, removed}, nil
	}
	return nil, err
}

// propfind is PROPFIND. All that is below a directory is never told at once (section
// 9.1 allows to refuse that): it has no bound.
func (f *front) propfind(w http.ResponseWriter, r *request) error {
	body, first, err := readXML(r.Body)
	if err != nil {
		return err
	}
	if !r.exists {
		return store.ErrNotFound
	}
	switch depth := r.Header.Get("Depth"); {
	case depth == "0" || depth == "1":
	case depth != "" && !strings.EqualFold(depth, "infinity"):
		return fail(http.StatusBadRequest, errBadDepth)
	case r.entry.Dir:
		return &failure{status: http.StatusForbidden, reason: "propfind-finite-depth", err: errBadDepth}
	default: // nothing lies below a file
		r.Header.Set("Depth", "0")
	}
	ctx := r.Context()
	if first == (xml.Name{Space: davSpace, Local: "prop"}) {
		ctx = context.WithValue(ctx, asked{}, true)
	}
	if body == nil {
		body = []byte{}
	}
	f.pass(ctx, w, r, body)
	return nil
}

// proppatch is PROPPATCH.
func (f *front) proppatch(w http.ResponseWriter, r *request) error {
	body, _, err := readXML(r.Body)
	if err != nil {
		return err
	}
	if !r.exists {
		return store.ErrNotFound
	}
	leave, err := f.enter(r, target{path: r.path})
	if err != nil {
		return err
	}
	defer leave()
	f.pass(r.Context(), w, r, body)
	return nil
}
