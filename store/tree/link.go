package tree

import (
	"errors"
	"time"

	"github.com/aether-lan/aether/store"
)

// ErrNoLinks reports a second name for a file: files have one.
var ErrNoLinks = errors.New("hard links are not kept")

// LinkAt gives the file id another name.
func (t *Tree) LinkAt(store.Txn, store.FileID, Place, time.Time) ([]Op, []Event, error) {
	return nil, nil, ErrNoLinks
}
