package tree

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aether-lan/aether/store"
)

// maxDepth bounds the directories above one that is looked for.
const maxDepth = 4096

// Path returns where the node id is, or was last: a file by its own name, not those of
// links or conflict copies. It fails with store.ErrNotFound for an ID that was never
// given.
func (t *Tree) Path(r store.Reader, id store.FileID) (string, error) {
	var names []string
	for range maxDepth {
		if id == Root {
			slices.Reverse(names)
			return "/" + strings.Join(names, "/"), nil
		}
		n, err := loadNode(r, id)
		if err == nil && n.Dir && n.View.Group != id && n.View.Group != (store.FileID{}) {
			n, err = loadNode(r, n.View.Group)
		}
		if err != nil {
			return "", fmt.Errorf("tree: path of %s: %w", id, err)
		}
		names, id = append(names, n.Place.Name), n.Place.Parent
	}
	return "", fmt.Errorf("tree: path of %s: more than %d directories", id, maxDepth)
}
