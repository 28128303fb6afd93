package drive

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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
	// Do makes the change: all see it, and the next Sync brings it to the disk. When
	// c fails, nothing has happened.
	Do(ctx context.Context, c Change) error
	// Sync returns once all changes made before are on the disk.
	Sync(ctx context.Context) error
}

// Config is what a Drive stands on. All fields are needed but Fetch and Context.
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
	// Holders says which machines shall keep a version. It is called inside a Change.
	// It fails with store.ErrFull when there is no room for its copies.
	Holders func(Placing) ([]store.MachineID, error)
	// Mine reports whether this machine must keep the bytes of a version; others that
	// are here may be evicted. Nil: those of all versions.
	Mine func(tree.Version) bool
	// OthersTake is asked by a writer that finds no room, not even by collecting
	// garbage: it waits a moment and reports whether to try again, because other
	// machines are about to take what is theirs to keep. Nil: no.
	OthersTake func(ctx context.Context) bool
	// Space returns what the whole drive can hold and what of that is free, in bytes.
	// Nil: what this machine can.
	Space func() (total, free int64)
	// Fetch brings the body of a chunk that is not here from one of the machines
	// in holders, or from any other, and keeps it in the cache. Nil: what is not
	// here is unreachable.
	Fetch func(ctx context.Context, ref store.Ref, holders []store.MachineID) ([]byte, error)
	// Context bounds what open files do on their own. Nil means that nothing does.
	Context context.Context
}

// Drive is the drive as this machine sees it. It is safe for concurrent use.
type Drive struct {
	cfg     Config
	garbage garbage
	staged  atomic.Int64 // bytes in the overlays of all inodes

	activity activity
	sparse   sparse

	mu       sync.Mutex
	inodes   map[store.FileID]*Inode
	sessions map[*session]bool
	watchers map[*watcher]bool

	readers sync.Mutex // held while the reader of an inode is made
}

// New returns a Drive on cfg.
func New(cfg Config) *Drive {
	if cfg.Context == nil {
		cfg.Context = context.Background()
	}
	return &Drive{
		cfg: cfg, inodes: map[store.FileID]*Inode{}, sessions: map[*session]bool{}, watchers: map[*watcher]bool{},
	}
}

// Attributes are what the writer of a file says about it.
type Attributes struct {
	// Mode is the permission bits; zero means 0644 (files) or 0755 (directories).
	Mode uint32
	// ModTime is the modification time; zero means now.
	ModTime time.Time
	// If is asked whether to go on, within the change and so with what is there at
	// that moment: the entry, or exists unset. Its error is Put's. It must not call the
	// Drive. Nil always goes on.
	If func(e tree.Entry, exists bool) error
}
