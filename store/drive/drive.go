package drive

import (
	"context"
	"errors"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// ErrUnreachable reports bytes that are on no machine that can be reached now.
var ErrUnreachable = errors.New("no reachable machine has it")

// Change is a change of the tree, made inside the Txn that it is given.
type Change func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error)

// Journal makes changes: one at a time, each in a Txn of its own that also writes
// the operations to the machine's log.
type Journal interface {
	// Do makes the change and returns once it is on the disk. When c fails,
	// nothing has happened.
	Do(ctx context.Context, c Change) error
}

// Config is what a Drive stands on. All fields are needed but Fetch.
type Config struct {
	// KV is where the tree lies.
	KV store.Reader
	// Tree is the tree of names.
	Tree *tree.Tree
	// Keys cut, seal and name chunks.
	Keys *chunk.Keys
	// Bodies holds the chunks of this machine.
	Bodies *segment.Store
	// Journal makes changes.
	Journal Journal
	// Holders says which machines shall keep a file, given a placement key. It is
	// called inside a Change.
	Holders func(key [16]byte) []store.MachineID
	// Fetch brings the body of a chunk that is not here from one of the machines
	// in holders, or from any other, and keeps it in the cache. Nil: what is not
	// here is unreachable.
	Fetch func(ctx context.Context, ref store.Ref, holders []store.MachineID) ([]byte, error)
}

// Drive is the drive as this machine sees it. It is safe for concurrent use.
type Drive struct{ cfg Config }

// New returns a Drive on cfg.
func New(cfg Config) *Drive { return &Drive{cfg: cfg} }

// Attributes are what the writer of a file says about it.
type Attributes struct {
	// Mode is the permission bits; zero means 0644 (files) or 0755 (directories).
	Mode uint32
	// ModTime is the modification time; zero means now.
	ModTime time.Time
}
