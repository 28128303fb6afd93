package tree

import (
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Contents calls f with what everything holds that the drive shows, conflict copies
// and hidden equals among it, until f returns false.
func (t *Tree) Contents(r store.Reader, f func(store.Content) bool) error {
	from := key(keyRow)
	var bad error
	err := r.Scan(from, end(from), func(_, v []byte) bool {
		var found row
		if bad = decode(v, &found); bad != nil {
			return false
		}
		return found.Kind == rowDir || found.Content.Size == 0 || f(found.Content)
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: contents: %w", err)
	}
	return nil
}
