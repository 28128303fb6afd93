package segment

import (
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Each calls f with the chunks of the index behind after, in the order of their
// addresses, and their bytes on the disk, until f returns false. What was put since
// the last Sync is not among them.
func (s *Store) Each(after store.Ref, f func(ref store.Ref, size int64, class Class) bool) error {
	from := append(refKey(after), 0)
	if after.IsZero() {
		from = refKey(after)
	}
	var bad error
	err := s.kv.Scan(from, []byte{store.PrefixSegment, 'r' + 1}, func(k, v []byte) bool {
		var p place
		if p, bad = parsePlace(v); bad != nil {
			return false
		}
		return f(store.Ref(k[2:]), p.size(), p.class)
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("segment: each: %w", err)
	}
	return nil
}
