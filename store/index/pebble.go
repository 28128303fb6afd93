package index

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/internal/failstop"
	"github.com/aether-lan/aether/store"
)

// ErrFull reports that the disk has no room for a commit. Nothing of the commit
// was made; the KV stays usable.
var ErrFull = fmt.Errorf("index: disk is full: %w", store.ErrFull)

// ErrKey reports a directory that was written with another key than the one given
// to [Open], with none, or with one where none was given.
var ErrKey = errors.New("index: wrong key")

// ErrLocked reports that another process, or this one, has the directory open.
var ErrLocked = errors.New("index: directory is in use")

// Config sets the sizes of a [Pebble]. Its zero value is right for one KV a
// machine.
type Config struct {
	// Cache is the bytes of memory for blocks read from disk; 0 means 16 MiB.
	Cache int64
	// Reserve is the bytes of disk that commits leave free, because the tree
	// needs room to reorganize itself: below it they fail with [ErrFull]. 0 means
	// 64 MiB, a negative number none.
	Reserve int64
	// Gather is how long commits without sync may wait in memory, so that many are
	// written at once. 0 means 20 ms, a negative number not at all.
	Gather time.Duration
	// Key encrypts what the files hold: [KeySize] bytes. nil means not encrypted.
	// A directory keeps the key that it was made with.
	Key []byte
}

// Pebble is a [store.KV] in a directory. It is safe for concurrent use.
//
// After a failed write it takes no more, see [ErrFailed], since what reached the disk
// is then unknown and going on could break the order of commits.
type Pebble struct {
	db      *pebble.DB
	disk    *failstop.Disk
	fs      vfs.FS
	dir     string
	lock    *pebble.Lock
	reserve int64
	room    atomic.Int64 // bytes that may be committed before the disk is asked

	gathered gathered
	bringer  bringer

	mu     sync.Mutex
	idle   sync.Cond // signalled when busy falls to 0
	busy   int       // calls in progress
	closed bool
}

var _ store.KV = (*Pebble)(nil)

// Open opens the KV in dir, which it creates, readable by its owner alone, where
// it is missing. Errors wrap [ErrLocked], [ErrFull], [ErrKey], [ErrDamaged],
// fs.ErrPermission or what the disk said; after ErrKey and ErrDamaged the files
// are as they were.
func Open(fsys vfs.FS, dir string, cfg Config) (*Pebble, error) {
	if cfg.Cache == 0 {
		cfg.Cache = 16 << 20
	}
	if cfg.Reserve == 0 {
		cfg.Reserve = 64 << 20
	}
	if cfg.Gather == 0 {
		cfg.Gather = gatherTime
	}
	fsys, err := withKey(fsys, dir, cfg.Key)
	if err != nil {
		return nil, openError(dir, err)
	}
	if err := mkdir(fsys, dir); err != nil {
		return nil, openError(dir, err)
	}
	lock, err := pebble.LockDirectory(dir, fsys)
	if err != nil {
		if !errors.Is(err, fs.ErrPermission) && !isReadOnly(err) && !vfs.IsNoSpaceError(err) {
			err = fmt.Errorf("%w: %w", ErrLocked, err)
		}
		return nil, openError(dir, err)
	}
	var db *pebble.DB
	disk := failstop.New(fsys)
	if err = roomToOpen(fsys, dir, cfg.Reserve); err == nil {
		db, err = openDB(fsys, dir, lock, cfg, disk)
	}
	if err != nil {
		return nil, openError(dir, errors.Join(err, lock.Close()))
	}
	p := &Pebble{db: db, disk: disk, fs: fsys, dir: dir, lock: lock, reserve: cfg.Reserve}
	p.idle.L = &p.mu
	p.startGathering(cfg.Gather)
	return p, nil
}

// roomToOpen refuses a disk that is so full that Pebble would fail half-way, in a
// goroutine of its own where nobody hears of it: opening writes what the logs hold.
func roomToOpen(fsys vfs.FS, dir string, reserve int64) error {
	least := reserve / 16
	if least <= 0 {
		return nil
	}
	u, err := fsys.GetDiskUsage(dir)
	if err != nil || u.AvailBytes >= uint64(least) {
		return nil //nolint:nilerr // this file system cannot tell
	}
	return fmt.Errorf("%w: %d bytes are left, and %d are needed to open it: make room on the disk first", ErrFull, u.AvailBytes, least)
}

// withKey returns fsys, encrypted where a key is given, after a look whether dir
// was written so.
func withKey(fsys vfs.FS, dir string, key []byte) (vfs.FS, error) {
	fsys = orderedFS{fsys}
	if key == nil {
		return fsys, checkKey(fsys, dir, nil)
	}
	keys, err := newHeaderKeys(key)
	if err != nil {
		return nil, err
	}
	return &sealedFS{FS: fsys, keys: keys}, checkKey(fsys, dir, keys)
}

func options(disk *failstop.Disk, lock *pebble.Lock, cache *pebble.Cache) *pebble.Options {
	opts := &pebble.Options{
		Lock: lock, Cache: cache,
		// Damage is an error for whoever reads; without this it would end the
		// process.
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
		MemTableSize:  4 << 20,
		MaxOpenFiles:  256,
		// Pinned, so that a newer library does not make the directory
		// unreadable for an older program by itself.
		FormatMajorVersion: pebble.FormatTableFormatV6,
	}
	disk.Attach(opts)
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return opts
}

// mkdir makes dir and what is missing above it, and the entries durable: a crash
// must not take back a directory whose contents have been synced.
func mkdir(fsys vfs.FS, dir string) error {
	var missing []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
		missing = append(missing, d)
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range missing {
		parent, err := fsys.OpenDir(fsys.PathDir(d))
		if err != nil {
			return err
		}
		if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
			return err
		}
	}
	return nil
}

func openDB(fsys vfs.FS, dir string, lock *pebble.Lock, cfg Config, disk *failstop.Disk) (*pebble.DB, error) {
	if err := checkComplete(fsys, dir); err != nil {
		return nil, err
	}
	cache := pebble.NewCache(cfg.Cache)
	defer cache.Unref() // the DB holds its own reference
	opts := options(disk, lock, cache)
	opened := make(chan *pebble.DB, 1)
	err := disk.Do(func() error {
		db, err := pebble.Open(dir, opts)
		opened <- db
		return err
	})
	if err != nil {
		return nil, damagedAtOpen(err)
	}
	return <-opened, nil
}

func openError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission) || isReadOnly(err):
		return fmt.Errorf("index: open %s: the directory must be writable: %w", dir, err)
	case vfs.IsNoSpaceError(err):
		return fmt.Errorf("index: open %s: %w: %w", dir, ErrFull, err)
	default:
		return fmt.Errorf("index: open %s: %w", dir, err)
	}
}

// Close waits for calls in progress and closes the directory. Transactions that
// are still open are dropped; their later calls fail with [ErrClosed]. It must
// not be called from within the callback of a Scan.
func (p *Pebble) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.closed = true
	for p.busy > 0 {
		p.idle.Wait()
	}
	err := p.endGathering()
	if failed := p.disk.Close(p.db.Close); err == nil {
		err = failed
	}
	if err = errors.Join(err, p.lock.Close()); err != nil {
		return fmt.Errorf("index: close %s: %w", p.dir, damaged(err))
	}
	return nil
}

// enter begins a call that Close has to wait for. A call from within the callback
// of a Scan fails once Close has begun, so that Close cannot wait for itself.
func (p *Pebble) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.busy++
	return nil
}

func (p *Pebble) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy--; p.busy == 0 {
		p.idle.Broadcast()
	}
}

// Get implements [store.Reader].
func (p *Pebble) Get(key []byte) ([]byte, error) { return p.get(nil, key) }

// Scan implements [store.Reader].
func (p *Pebble) Scan(from, to []byte, f func(key, value []byte) bool) error {
	return p.scan(nil, nil, from, to, f)
}

// Last implements [store.Reader].
func (p *Pebble) Last(from, to []byte) (key, value []byte, err error) {
	return p.last(nil, from, to)
}

// Begin implements [store.KV].
func (p *Pebble) Begin() store.Txn {
	t := &pebbleTxn{p: p, edition: shared + 1}
	if err := p.enter(); err != nil {
		t.err = err
		return t
	}
	p.leave()
	return t
}
