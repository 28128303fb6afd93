package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

// ErrFull reports that the space set aside, or the disk, has no room for a body.
// Nothing of the body was kept.
var ErrFull = fmt.Errorf("segment: %w", store.ErrFull)

// ErrClosed reports the use of a Store after Close.
var ErrClosed = errors.New("segment: closed")

// ErrTooLarge reports a body over [MaxBody].
var ErrTooLarge = errors.New("segment: body too large")

// Config sets the sizes of a [Store]. Its zero value works.
type Config struct {
	// Space is the bytes set aside: segment files together stay within it, but
	// for one segment while compacting. 0 means 10 GiB.
	Space int64
	// SegmentSize is the length in bytes at which a segment is complete; 0 means
	// 128 MiB, or an eighth of Space if that is less. At most 1 GiB.
	SegmentSize int64
}

// Store keeps bodies. It is safe for concurrent use. Its memory grows with what
// has not been synced and with the number of segments, not with that of bodies.
type Store struct {
	cfg   Config
	kv    store.KV
	files *handles

	// commit is held while the index is changed, so that the index entries, the
	// files' counts and pending move together. It is taken before mu.
	commit sync.Mutex
	synced uint64 // value of changes up to which all is durable

	mu      sync.Mutex
	pending map[store.Ref]place // put, not yet in the index
	dirty   map[uint32]bool     // segments written since they were synced
	space   space
	changes uint64 // puts and deletes so far
	commits uint64 // times that pending went to the index
	broken  error  // why the Store cannot go on
	behind  *behind
}

// Open opens the store of segment files in dir, which it creates where it is
// missing, with its index in kv. After a crash it takes in what was written and not
// yet synced as far as it is whole. Errors wrap those of the file system.
func Open(fsys vfs.FS, dir string, kv store.KV, cfg Config) (*Store, error) {
	if cfg.Space == 0 {
		cfg.Space = 10 << 30
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = min(128<<20, cfg.Space/8)
	}
	cfg.SegmentSize = min(cfg.SegmentSize, 1<<30)
	s := &Store{
		cfg: cfg, kv: kv,
		files:   &handles{fs: fsys, dir: dir, open: map[uint32]*handle{}},
		pending: map[store.Ref]place{},
		dirty:   map[uint32]bool{},
		space:   space{files: map[uint32]*file{}},
	}
	s.behind = newBehind(s.files, cfg.SegmentSize, s.fail)
	err := mkdir(fsys, dir)
	if err == nil {
		err = s.load()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("segment: open %s: %w", dir, err), s.files.close())
	}
	return s, nil
}

// Close syncs and closes the files. The KV stays open.
func (s *Store) Close() error {
	err := s.Sync()
	if errors.Is(err, ErrClosed) {
		return err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	s.broken = ErrClosed
	s.mu.Unlock()
	s.behind.close()
	return errors.Join(err, s.files.close())
}

// lookup finds a body among those put and in the index.
func (s *Store) lookup(ref store.Ref) (place, error) {
	s.mu.Lock()
	p, ok := s.pending[ref]
	broken := s.broken
	s.mu.Unlock()
	if errors.Is(broken, ErrClosed) {
		return place{}, ErrClosed
	}
	if ok {
		return p, nil
	}
	return indexed(s.kv, ref)
}

func indexed(r store.Reader, ref store.Ref) (place, error) {
	v, err := r.Get(refKey(ref))
	if err != nil {
		return place{}, err
	}
	return parsePlace(v)
}

// Has reports whether the store holds the body of ref. An index that cannot be
// read counts as no.
func (s *Store) Has(ref store.Ref) bool {
	_, err := s.lookup(ref)
	return err == nil
}

// Get returns the body of ref, put by this process or synced by an earlier one. It
// fails with [store.ErrNotFound], or with [ErrCorrupt] naming segment and offset.
// The caller may change what it gets.
func (s *Store) Get(ref store.Ref) ([]byte, error) {
	for {
		p, err := s.lookup(ref)
		if err != nil {
			return nil, fmt.Errorf("segment: get %s: %w", ref, err)
		}
		body, err := s.read(ref, p)
		if err == nil {
			return body, nil
		}
		// Compaction or eviction may have moved it meanwhile.
		if now, e := s.lookup(ref); e == nil && now == p {
			return nil, fmt.Errorf("segment: get %s: %w", ref, err)
		}
	}
}

func (s *Store) read(ref store.Ref, p place) ([]byte, error) {
	f, err := s.files.get(p.segment, false)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: segment %d is missing: %w", ErrCorrupt, p.segment, err)
		}
		return nil, err
	}
	defer s.files.put(f)
	b := make([]byte, p.size())
	if err := s.behind.readAt(f, b, int64(p.offset)); err != nil {
		return nil, fmt.Errorf("%w: segment %d offset %d: %w", ErrCorrupt, p.segment, p.offset, err)
	}
	got, _, body, err := parseRecord(b)
	if err == nil && got != ref {
		err = fmt.Errorf("it is of %s", got)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: segment %d offset %d: %w", ErrCorrupt, p.segment, p.offset, err)
	}
	return body, nil
}

// Put keeps a body under ref. It is readable at once and durable after the next
// Sync. A body that is there is not written again; putting cache as a replica makes
// it one. Room is made by evicting cache and by compacting; when that is not
// enough Put fails with [ErrFull] and nothing of the body is kept.
func (s *Store) Put(ref store.Ref, body []byte, class Class) error {
	if len(body) > MaxBody {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(body))
	}
	if class >= classes {
		return fmt.Errorf("segment: put %s: unknown %s", ref, class)
	}
	err := errTwice
	for errors.Is(err, errTwice) {
		err = s.put(ref, body, class)
	}
	if vfs.IsNoSpaceError(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("segment: put %s: %w", ref, err)
	}
	return nil
}

// errTwice reports a body that was put by somebody else at the same time.
var errTwice = errors.New("put twice")

func (s *Store) put(ref store.Ref, body []byte, class Class) error {
	s.mu.Lock()
	commits := s.commits
	s.mu.Unlock()
	switch p, err := s.lookup(ref); {
	case err == nil && (p.class == class || class == Cache):
		return nil
	case err == nil:
		// It may be evicted before its class is changed: then it is put anew.
		if err := s.SetClass(ref, class); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return errTwice
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return s.write(ref, body, class, commits)
}

// write writes a record to the end of the current segment of its class and notes it
// as pending. commits is the count from before the caller looked for ref.
func (s *Store) write(ref store.Ref, body []byte, class Class, commits uint64) error {
	size := int64(headSize + len(body))
	s.behind.admit()
	if err := s.makeRoom(size); err != nil {
		return err
	}
	s.mu.Lock()
	s.space.reserved -= size
	f, p, err := s.next(class, len(body))
	s.mu.Unlock()
	if err != nil {
		return err
	}
	err = s.writeAt(f, p, ref, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.writers--
	s.dirty[f.number] = true
	if err != nil {
		s.space.finish(f) // the gap stays dead, and nothing is put behind it
		return err
	}
	_, twice := s.pending[ref]
	if !twice && s.commits != commits {
		_, err := indexed(s.kv, ref)
		twice = err == nil
	}
	if twice {
		return errTwice // this copy is dead
	}
	s.pending[ref] = p
	f.live[class] += p.size()
	s.changes++
	return nil
}

// next gives out the place of the next record of class; the caller holds mu, writes
// there, and counts f.writers down.
func (s *Store) next(class Class, length int) (*file, place, error) {
	f, err := s.current(class)
	if err != nil {
		return nil, place{}, err
	}
	p := place{segment: f.number, offset: uint32(f.size), length: uint32(length), class: class}
	f.size += p.size()
	s.space.used += p.size()
	f.writers++
	if f.deferred {
		s.behind.reserve(p)
	}
	return f, p, nil
}

// writeAt writes a record to the place given out for it in f, now or behind.
func (s *Store) writeAt(f *file, p place, ref store.Ref, body []byte) error {
	if f.deferred {
		return s.behind.fill(p, ref, body)
	}
	h, err := s.files.get(p.segment, false)
	if err != nil {
		return err
	}
	defer s.files.put(h)
	head := recordHead(ref, p.class, body)
	_, err = h.WriteAt(slices.Concat(head[:], body), int64(p.offset))
	return err
}

// fail ends the use of the Store after a write behind the back of Put has failed:
// which records are lost was never said to those who put them.
func (s *Store) fail(segment uint32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("segment: %d could not be written, reopen the store: %w", segment, err)
	}
}

// current returns the segment to which bodies of class go; the caller holds mu.
func (s *Store) current(class Class) (*file, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	if f := s.space.active[class]; f != nil && f.size < s.cfg.SegmentSize {
		return f, nil
	}
	f := &file{number: s.space.last + 1, class: class}
	h, err := s.files.get(f.number, true)
	if err != nil {
		return nil, err
	}
	f.deferred = h.deferrable()
	s.space.last = f.number
	s.space.files[f.number] = f
	s.space.active[class] = f
	return f, s.files.put(h)
}

// Sync makes everything durable that was put or deleted before. Concurrent callers
// share the work: whoever waited for another finds most of it done.
func (s *Store) Sync() error {
	s.mu.Lock()
	upTo := s.changes
	s.mu.Unlock()
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return broken
	}
	if s.synced >= upTo {
		return nil
	}
	if err := s.sync(); err != nil {
		return fmt.Errorf("segment: sync: %w", err)
	}
	return nil
}

// sync makes bodies durable and then commits their index entries. The caller holds
// commit.
func (s *Store) sync() error {
	s.mu.Lock()
	if s.broken != nil {
		s.mu.Unlock()
		return s.broken
	}
	upTo := s.changes
	batch := maps.Clone(s.pending)
	s.mu.Unlock()
	numbers, err := s.syncFiles()
	if err != nil {
		return err
	}
	txn := s.kv.Begin()
	defer txn.Discard()
	s.mu.Lock()
	for ref, p := range batch {
		txn.Set(refKey(ref), p.value())
		txn.Set(orderKey(p.segment, p.offset), ref[:])
		s.space.files[p.segment].saved[p.class] += p.size()
		numbers = append(numbers, p.segment) // its file may have been synced before
	}
	// A file of which all was deleted again is saved too, lest Open takes it in.
	slices.Sort(numbers)
	s.save(txn, slices.Compact(numbers)...)
	s.mu.Unlock()
	err = txn.Commit(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, p := range batch {
		if err != nil {
			s.space.files[p.segment].saved[p.class] -= p.size()
		} else {
			delete(s.pending, ref)
		}
	}
	if err == nil {
		s.synced = upTo
		s.commits++
	}
	return err
}

// syncFiles makes all that has been written durable and returns the segments that
// had been. A file that fails to sync may have lost pages that it will never report
// again, so the Store stops there.
func (s *Store) syncFiles() ([]uint32, error) {
	s.mu.Lock()
	numbers := slices.Collect(maps.Keys(s.dirty))
	clear(s.dirty)
	s.mu.Unlock()
	for _, n := range numbers {
		err := s.syncFile(n)
		if err != nil {
			s.mu.Lock()
			s.broken = fmt.Errorf("segment: %d could not be synced, reopen the store: %w", n, err)
			s.mu.Unlock()
			return nil, err
		}
	}
	return numbers, nil
}

func (s *Store) syncFile(n uint32) error {
	s.mu.Lock()
	f := s.space.files[n]
	grows := f != nil && s.space.active[f.class] == f
	s.mu.Unlock()
	if err := s.behind.flush(n, grows); err != nil {
		return err
	}
	h, err := s.files.get(n, false)
	if err == nil {
		err = errors.Join(h.SyncData(), s.files.put(h))
	}
	return err
}

// save writes the counts of segments into txn; the caller holds commit and mu.
func (s *Store) save(txn store.Txn, numbers ...uint32) {
	for _, n := range numbers {
		if f := s.space.files[n]; f != nil {
			txn.Set(segmentKey(n), f.value())
		}
	}
}
