package tree

import (
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Versions calls f with every version of a file's bytes that is shown, conflict copies
// among them, in the order of the files' IDs from behind after on, until f returns
// false. Only Content, Holders, Dot and Placed are set. IDs are uniform hashes: what follows a
// random one is a random sample. f must not change r.
func (t *Tree) Versions(r store.Reader, after store.FileID, f func(store.FileID, Version) bool) error {
	from := append(key(keyNode, after[:]), 0)
	var bad error
	err := r.Scan(from, end(key(keyNode)), func(k, b []byte) bool {
		var n node
		if len(k) != len(from)-1 {
			bad = fmt.Errorf("key of %d bytes", len(k))
		} else {
			bad = decode(b, &n)
		}
		return bad == nil && n.eachShown(func(v version) bool {
			return f(store.FileID(k[2:]), Version{Content: v.stored(), Holders: v.Holders, Dot: v.At.dot(), Placed: v.placed()})
		})
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: versions: %w", err)
	}
	return nil
}

// eachShown calls f with the versions of a file that are shown until f returns false.
func (n *node) eachShown(f func(version) bool) bool {
	if n.Dir || n.isLink() {
		return true
	}
	if n.View.named() && !f(n.version(n.View.Winner)) {
		return false
	}
	for _, l := range n.View.Losers {
		if !f(n.version(l)) {
			return false
		}
	}
	return true
}
