package tree

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aether-lan/aether/store"
)

// Shown calls f with what everything holds that the drive shows, conflict copies and
// hidden equals among it, until f returns false. Of a file whose bytes were sealed anew
// it tells the other versions too: they may have been hidden because their bytes are the
// same, and be sealed as they were. One of several names comes as often as there are.
func (t *Tree) Shown(r store.Reader, f func(Version) bool) error {
	from := key(keyRow)
	var bad error
	err := r.Scan(from, end(from), func(_, v []byte) bool {
		var found row
		if bad = decode(v, &found); bad != nil {
			return false
		}
		if found.Kind == rowDir || found.Content.Size == 0 {
			return true
		}
		if found.Sealed == (store.Content{}) {
			return f(found.version())
		}
		var n node
		n, bad = loadNode(r, found.ID)
		for i := range n.Versions {
			if bad != nil || !f(n.heldVersion(found.ID, i)) {
				return false
			}
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: shown: %w", err)
	}
	return nil
}

// before is how a version was sealed until it was sealed anew. Like the past it is a
// machine's own memory: another one may have seen something else.
type before struct {
	_       struct{} `cbor:",toarray"`
	Version dotWire
	Content store.Content
}

// keepBefore notes how a version of a file has been sealed until now, and forgets what
// was noted of versions that are gone.
func (w *work) keepBefore(id store.FileID, n *node, v *version) error {
	k := key(keyBefore, id[:])
	list, err := get[[]before](w.tx, k)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	list = slices.DeleteFunc(list, func(b before) bool { return b.Version == dotOf(v) || n.versionAt(b.dot()) < 0 })
	list = append(list, before{Version: dotOf(v), Content: v.stored()})
	return put(w.tx, k, list)
}

func dotOf(v *version) dotWire { return dotWire{Machine: v.At.Machine, Seq: v.At.Seq} }

func (b *before) dot() store.Dot { return store.Dot{Machine: b.Version.Machine, Seq: b.Version.Seq} }

// Superseded calls f for the versions whose bytes were sealed anew and that no other has
// replaced, until f returns false: how they are sealed now and how they were before. A
// machine that does not have the bytes as they are now needs those that it has.
func (t *Tree) Superseded(r store.Reader, f func(now, before store.Content) bool) error {
	from := key(keyBefore)
	var bad error
	err := r.Scan(from, end(from), func(k, v []byte) bool {
		var list []before
		if bad = decode(v, &list); bad != nil {
			return false
		}
		var n node
		if n, bad = loadNode(r, store.FileID(k[len(from):])); errors.Is(bad, store.ErrNotFound) {
			bad = nil // the file is gone for ever
			return true
		}
		for _, b := range list {
			if i := n.versionAt(b.dot()); bad == nil && i >= 0 && !f(n.Versions[i].stored(), b.Content) {
				return false
			}
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: superseded: %w", err)
	}
	return nil
}
