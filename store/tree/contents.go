package tree

import (
	"errors"
	"fmt"

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

// Superseded calls f for the versions that the drive shows and whose bytes were sealed
// anew, until f returns false: how they are sealed now and how they were before. A
// machine that does not have the bytes as they are now needs those that it has.
func (t *Tree) Superseded(r store.Reader, f func(now, before store.Content) bool) error {
	from := key(keyRow)
	var bad error
	err := r.Scan(from, end(from), func(_, v []byte) bool {
		var found row
		if bad = decode(v, &found); bad != nil || found.Sealed == (store.Content{}) {
			return bad == nil
		}
		var n node
		n, bad = loadNode(r, found.ID)
		for i := range n.Versions {
			v := &n.Versions[i]
			if v.Before != (store.Content{}) && !f(v.stored(), v.Before) {
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
