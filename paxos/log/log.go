package log

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/paxos"
)

// Config says where a Log is and whose. Dir, Cluster and ID must be given.
type Config struct {
	Dir     string
	Cluster paxos.ClusterID
	ID      paxos.NodeID
	// FS is the file system; nil is the machine's.
	FS vfs.FS
	// Reserve is the room in bytes that is taken in advance and given up when the
	// disk is full, so that the directory can still be opened and what is not needed
	// be deleted: 0 is 64 MiB, a negative number none. [Log.Full] becomes true when
	// less than that is free.
	Reserve int64
	// Cache is the memory in bytes for blocks read from disk: 0 is 16 MiB.
	Cache int64
	// Fatal is called, by any goroutine, when the disk fails beside any call: nobody
	// knows what it holds then, and calls may never return. It should end the process;
	// nil panics.
	Fatal func(error)
	// noStats: Pebble gathers no statistics of its tables, in a goroutine that a
	// failing Open does not wait for.
	noStats bool
}

// Log is the disk of one node. Save is for one goroutine at a time, and so are Apply
// and the calls about snapshots; the rest is for any.
type Log struct {
	cfg   Config
	fs    vfs.FS
	db    *pebble.DB
	lock  *pebble.Lock
	state paxos.State

	record     uint64 // number of the last one
	generation atomic.Uint64
	applied    atomic.Pointer[paxos.Snapshot]
	syncs      syncs
	closed     atomic.Bool // no more writes
	use        usage
	verified   atomic.Uint64 // slot of the snapshot whose bytes were
}

// identity is the file that says whose directory it is.
type identity struct {
	Format  int    `json:"format"`
	Cluster string `json:"cluster"`
	Node    uint64 `json:"node"`
}

const format = 1

// Open opens the directory, which it makes, for its owner alone, where it is not
// there. The errors are ErrLocked, ErrOther, ErrVersion, ErrFull, a *DamagedError,
// and what the file system says.
func Open(cfg Config) (*Log, error) {
	l := &Log{cfg: cfg, fs: cfg.FS}
	if l.fs == nil {
		l.fs = vfs.Default
	}
	if l.cfg.Reserve == 0 {
		l.cfg.Reserve = 64 << 20
	}
	if l.cfg.Cache == 0 {
		l.cfg.Cache = 16 << 20
	}
	if err := l.open(); err != nil {
		if l.db != nil {
			err = errors.Join(err, l.closePebble())
		}
		if l.lock != nil {
			err = errors.Join(err, l.lock.Close())
		}
		return nil, named("open "+cfg.Dir, err)
	}
	return l, nil
}

func (l *Log) path(name string) string { return l.fs.PathJoin(l.cfg.Dir, name) }

func (l *Log) open() error {
	if err := makeDir(l.fs, l.path("db")); err != nil {
		return err
	}
	lock, err := pebble.LockDirectory(l.cfg.Dir, l.fs)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	l.lock = lock
	if err := l.identify(); err != nil {
		return err
	}
	if b, err := readFile(l.fs, l.path("damaged")); err == nil {
		return &DamagedError{"it was found so before: " + strings.TrimSpace(string(b))}
	}
	l.makeRoom()
	if l.db, err = openPebble(l.fs, l.cfg); err != nil {
		return err
	}
	if err := l.load(); err != nil {
		return err
	}
	if err := l.checkClosed(); err != nil {
		return err
	}
	l.reserve()
	return l.dropOldStates()
}

// openPebble opens the database. What fails in goroutines of Pebble's ends it, too: it
// would try again for ever.
func openPebble(fsys vfs.FS, cfg Config) (*pebble.DB, error) {
	done, failures := make(chan opened, 1), make(chan error, 1)
	e := &ending{fatal: cfg.Fatal, mark: func(err error) { markDamaged(fsys, cfg.Dir, err) }, opening: failures}
	go func() {
		var o opened
		defer func() {
			if r := recover(); r != nil { // the caller is there to hear it
				f, ok := r.(failed)
				if !ok {
					f = failed{text: fmt.Sprint(r)}
				}
				o = opened{err: f}
			}
			done <- o
		}()
		o.db, o.err = startPebble(fsys, fsys.PathJoin(cfg.Dir, "db"), cfg, e)
	}()
	select {
	case o := <-done:
		return o.after(e.opened())
	case err := <-failures: // what waits within Pebble waits for good
		select {
		case failures <- err:
		default: // another one came
		}
		return nil, e.opened()
	}
}

// opened is what came of opening the database: neither, when its goroutine ended where
// it met a failure.
type opened struct {
	db  *pebble.DB
	err error
}

// after returns the outcome when Pebble met failure meanwhile, or nil.
func (o opened) after(failure error) (*pebble.DB, error) {
	switch {
	case o.db == nil:
		return nil, cmp.Or(o.err, failure, errNotOpened)
	case failure != nil:
		return nil, errors.Join(failure, o.db.Close())
	}
	return o.db, nil
}

var errNotOpened = errors.New("it was not opened")

func startPebble(fsys vfs.FS, dir string, cfg Config, e *ending) (*pebble.DB, error) {
	cache := pebble.NewCache(cfg.Cache)
	defer cache.Unref()
	return pebble.Open(dir, &pebble.Options{
		FS: ordered{fsys, e}, Cache: cache, Logger: e, MemTableSize: 16 << 20, MaxOpenFiles: 256, DisableTableStats: cfg.noStats,
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}, BackgroundError: e.background},
		// Has synced offsets in the log's chunks, which tell damage from a torn end.
		FormatMajorVersion: pebble.FormatTableFormatV6,
	})
}

// identify writes the identity of a new directory and checks that of an old one.
func (l *Log) identify() error {
	mine := identity{format, l.cfg.Cluster.String(), uint64(l.cfg.ID)}
	b, err := readFile(l.fs, l.path("identity"))
	if errors.Is(err, fs.ErrNotExist) {
		old, err := l.fs.List(l.path("db"))
		if err != nil {
			return err
		}
		if len(old) > 0 {
			return &DamagedError{"the identity file is missing"}
		}
		b, _ := json.Marshal(mine)
		return writeFile(l.fs, l.cfg.Dir, "identity", append(b, '\n'))
	}
	if err != nil {
		return err
	}
	var old identity
	switch err := json.Unmarshal(b, &old); {
	case err != nil:
		return &DamagedError{"the identity file: " + err.Error()}
	case old.Format > format:
		return fmt.Errorf("%w: format %d, known to %d", ErrVersion, old.Format, format)
	case old != mine:
		return fmt.Errorf("%w: it belongs to node %d of cluster %s, and this is node %d of %s", ErrOther, old.Node, old.Cluster, mine.Node, mine.Cluster)
	}
	return nil
}

// State returns what the directory held when it was opened.
func (l *Log) State() paxos.State { return l.state }

// load reads everything that the node must know, and verifies all entries.
func (l *Log) load() error {
	if b, err := l.get(keyHard); err != nil {
		return err
	} else if b != nil {
		if len(b) < 8 {
			return &DamagedError{"the promise"}
		}
		l.record = binary.BigEndian.Uint64(b)
		if l.state.Hard, err = paxos.ParseHard(b[8:]); err != nil {
			return &DamagedError{"the promise: " + err.Error()}
		}
	}
	if b, err := l.get(keyForgotten); err != nil {
		return err
	} else if len(b) == 8 {
		l.state.Forgotten = paxos.Slot(binary.BigEndian.Uint64(b))
	}
	if err := l.loadApplied(); err != nil {
		return err
	}
	if err := l.loadSnapshot(); err != nil {
		return err
	}
	next := l.state.Forgotten + 1
	return l.each(next, func(e paxos.Entry) error {
		if e.Slot != next {
			return &DamagedError{fmt.Sprintf("the entry of slot %v is missing", next)}
		}
		next++
		if e.Slot > l.state.Applied.Slot {
			l.state.Entries = append(l.state.Entries, e)
		}
		return nil
	})
}

// get returns a checked value, nil when there is none.
func (l *Log) get(key []byte) ([]byte, error) {
	v, closer, err := l.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err = unchecked(key, bytes.Clone(v))
	return v, errors.Join(err, closer.Close())
}

// each calls f with the saved entries from first on. An error of f ends it.
func (l *Log) each(first paxos.Slot, f func(paxos.Entry) error) error {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: keyEntry(first), UpperBound: []byte{'e' + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if v, err = unchecked(it.Key(), v); err != nil {
			return err
		}
		e, rest, err := paxos.ParseEntry(bytes.Clone(v))
		if err != nil || len(rest) > 0 || !bytes.Equal(keyEntry(e.Slot), it.Key()) {
			return &DamagedError{fmt.Sprintf("the entry of key %x", it.Key())}
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return it.Error()
}

// errEnough ends each.
var errEnough = errors.New("enough")

// Entries implements [paxos.Storage].
func (l *Log) Entries(first paxos.Slot, limit int) (list []paxos.Entry, err error) {
	if !l.use.begin() {
		return nil, named("entries", ErrClosed)
	}
	defer l.use.end()
	bytes := 0
	err = l.each(first, func(e paxos.Entry) error {
		if e.Slot != first+paxos.Slot(len(list)) {
			if len(list) == 0 {
				return errEnough // forgotten
			}
			return &DamagedError{fmt.Sprintf("the entry of slot %v is missing", first+paxos.Slot(len(list)))}
		}
		if bytes += len(e.Value); len(list) > 0 && bytes > limit {
			return errEnough
		}
		list = append(list, e)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, l.heard("entries", err)
}

// maxSized bounds the room that is taken for a record before it is written.
const maxSized = 1 << 20

// Save makes a record durable, with all that was applied before, in one synced
// batch. After an error nobody knows what the disk holds: the Log takes no more, and
// the process must end and open it again.
func (l *Log) Save(r paxos.Record) (err error) {
	if l.closed.Load() {
		return named("save", ErrClosed)
	}
	defer func() {
		if err != nil {
			l.closed.Store(true)
		}
		err = l.heard("save", err)
	}()
	defer l.caught(&err)
	size := 256
	for _, e := range r.Entries {
		size += len(e.Value) + 64
	}
	b := l.db.NewBatchWithSize(min(size, maxSized))
	defer b.Close()
	l.record++
	hard := r.Hard.Append(binary.BigEndian.AppendUint64(nil, l.record))
	if err := b.Set(keyHard, checked(keyHard, hard), nil); err != nil {
		return err
	}
	var k, buf []byte
	for _, e := range r.Entries {
		k = appendKeyEntry(k[:0], e.Slot)
		buf = e.Append(buf[:0])
		buf = checked(k, buf)
		if err := b.Set(k, buf, nil); err != nil {
			return err
		}
	}
	if r.Forget > 0 {
		if err := forget(b, r.Forget); err != nil {
			return err
		}
	}
	began := time.Now()
	err = b.Commit(pebble.Sync)
	l.syncs.took(time.Since(began))
	return err
}

func forget(b *pebble.Batch, to paxos.Slot) error {
	return errors.Join(
		b.DeleteRange(keyEntry(0), keyEntry(to+1), nil),
		b.Set(keyForgotten, checked(keyForgotten, binary.BigEndian.AppendUint64(nil, uint64(to))), nil))
}

// Close closes the directory, once the reads under way have ended. What was not
// synced is.
func (l *Log) Close() error {
	sound := !l.closed.Swap(true)
	l.use.close()
	var err error
	if sound {
		err = l.writeClosed()
	}
	return named("close", errors.Join(err, l.closePebble(), l.lock.Close()))
}

func (l *Log) closePebble() (err error) {
	defer l.caught(&err)
	return l.db.Close()
}

// writeClosed notes the last record's number, so that a log that loses its end while
// nobody looks is not taken for one torn by a crash.
func (l *Log) writeClosed() (err error) {
	defer l.caught(&err)
	if err := l.db.LogData(nil, pebble.Sync); err != nil { // what was applied
		return err
	}
	return writeFile(l.fs, l.cfg.Dir, "closed", binary.BigEndian.AppendUint64(nil, l.record))
}

func (l *Log) checkClosed() error {
	b, err := readFile(l.fs, l.path("closed"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) == 8 && binary.BigEndian.Uint64(b) > l.record {
		return &DamagedError{fmt.Sprintf("it was closed after record %d and ends with record %d", binary.BigEndian.Uint64(b), l.record)}
	}
	return errors.Join(l.fs.Remove(l.path("closed")), syncDir(l.fs, l.cfg.Dir))
}

// Syncs tells how many records were synced since Open, and how long 50 and 99 of 100
// of the last thousand took.
func (l *Log) Syncs() (count uint64, median, p99 time.Duration) { return l.syncs.read() }

func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// writeFile replaces a file so that after a crash it has its old content or the new.
func writeFile(fsys vfs.FS, dir, name string, b []byte) error {
	temp := fsys.PathJoin(dir, name+".new")
	f, err := fsys.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temp, fsys.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

// makeDir makes dir and what is missing above it, durably: a node whose directory
// vanished in a crash would be another one afterwards.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil {
		return nil
	}
	parent := fsys.PathDir(dir)
	if parent != dir {
		if err := makeDir(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fsys, parent)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// syncs keeps how long the last ones took.
type syncs struct {
	mu    sync.Mutex
	count uint64
	last  [1000]time.Duration
}
