package place

import (
	"bytes"

	"github.com/aether-lan/aether/store"
)

// KeyRefs is how many of a file's first chunks [Key] looks at.
const KeyRefs = 1024

// Key returns the placement key of a file that begins with the chunks refs: the
// least of their addresses, which are hashes. Two files have the same key with the
// probability that a chunk of either is one of both (Broder 1997), so that files with
// equal parts mostly lie on the same machines, which keep those parts once. A file
// without chunks has the zero key.
func Key(refs []store.Ref) (key [16]byte) {
	var least store.Ref
	for i, r := range refs[:min(len(refs), KeyRefs)] {
		if i == 0 || bytes.Compare(r[:], least[:]) < 0 {
			least = r
		}
	}
	copy(key[:], least[:])
	return key
}
