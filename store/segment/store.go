package segment

import (
	"errors"
	"fmt"
	"io/fs"
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
	// Preallocate takes Space from the disk at once, in whole segments, so that
	// nobody else fills it; Store.Reserved says what was had. False takes it as bodies
	// are put.
	Preallocate bool
	// Reserve is the bytes of the disk that bodies leave free: below it Put gives up
	// cache, and then fails with [ErrFull]. 0 means 64 MiB, a negative number none.
	Reserve int64
}

// Store keeps bodies. It is safe for concurrent use. Its memory grows with what
// has not been synced and with the number of segments, not with that of bodies.
//
// Its locks are taken in this order: mover, turns.taken, syncing, writing, commit, mu.
type Store struct {
	cfg    Config
	kv     store.KV
	files  *handles
	behind *behind
	disk   disk

	mover mover // compacts and evicts

	// syncing is held during a sync, and while a file is removed.
	syncing sync.Mutex
	synced  uint64 // value of changes up to which all is durable
	turns   turns  // of Sync

	// writing is held to read from when a record is given its place until it is
	// pending. Who holds it to write sees no record in between.
	writing sync.RWMutex
	// commit is held while the index is changed, so that its entries, the files'
	// counts and pending move together, but not while anything is synced.
	commit sync.Mutex

	mu sync.Mutex
	state
}

// state is what Store.mu guards.
type state struct {
	pending map[store.Ref]place // put, not yet in the index
	moving  map[store.Ref]bool  // being copied; true when deleted meanwhile
	dirty   map[uint32]bool     // segments written since they were synced
	ahead   map[uint32]bool     // segments with size over indexed
	space   space
	orders  uint64 // the greatest number of a Log
	changes uint64 // puts and deletes so far
	commits uint64 // times that pending went to the index
	losses  bool   // Open, now or once, found bodies lost
	broken  error  // why the Store cannot go on

	// Deletes and changes of class so far and up to which they are durable. What is
	// put needs no sync of the index, since Open finds it in the segments.
	edits, editsSynced uint64
}

// Open opens the store of segment files in dir, which it creates where it is
// missing, with its index in kv. After a crash it takes in what was written and not
// yet synced as far as it is whole. Where kv has lost the index it is built anew
// from the files: what was deleted and not yet compacted is back then, cache is
// replicas, lest a replica that once was cache be evicted, and what was ever a Log is
// one. Errors wrap those of the
// file system.
func Open(fsys vfs.FS, dir string, kv store.KV, cfg Config) (*Store, error) {
	if cfg.Space == 0 {
		cfg.Space = 10 << 30
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = min(128<<20, cfg.Space/8)
	}
	cfg.SegmentSize = min(cfg.SegmentSize, 1<<30)
	if cfg.Reserve == 0 {
		cfg.Reserve = defaultReserve
	}
	s := &Store{
		cfg: cfg, kv: kv,
		files: newHandles(fsys, dir),
		state: state{
			pending: map[store.Ref]place{},
			moving:  map[store.Ref]bool{},
			dirty:   map[uint32]bool{},
			ahead:   map[uint32]bool{},
			space:   space{files: map[uint32]*file{}},
		},
	}
	s.turns.left.L = &s.turns.mu
	s.space.reserve = reserve{files: s.files, size: cfg.SegmentSize}
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
	s.mover.Lock() // a slice of compaction ends first
	defer s.mover.Unlock()
	err := s.Sync()
	if errors.Is(err, ErrClosed) {
		return err
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.writing.Lock() // whoever puts has put
	s.mu.Lock()
	s.broken = ErrClosed
	s.mu.Unlock()
	s.writing.Unlock()
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
func (s *Store) Get(ref store.Ref) ([]byte, error) { return s.get(ref, s.read) }

// GetOnce is Get for who will not ask for ref again soon, as who reads a file from its
// front to its end: what the system does not remember already is read past its cache,
// which saves it a copy and room for what nobody will ask for.
func (s *Store) GetOnce(ref store.Ref) ([]byte, error) { return s.get(ref, s.readOnce) }

func (s *Store) get(ref store.Ref, read func(store.Ref, place) ([]byte, error)) ([]byte, error) {
	for {
		p, err := s.lookup(ref)
		if err != nil {
			return nil, fmt.Errorf("segment: get %s: %w", ref, err)
		}
		body, err := read(ref, p)
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
	f, err := s.open(p)
	if err != nil {
		return nil, err
	}
	defer s.files.put(f)
	b := make([]byte, p.size())
	err = s.behind.readAt(f, b, int64(p.offset))
	return bodyOf(ref, p, b, err)
}

// readOnce is read past the system's cache, where that can be and the record is not in
// it. Whatever goes wrong there is for read to say.
func (s *Store) readOnce(ref store.Ref, p place) ([]byte, error) {
	if p.size() < directMin/2 {
		return s.read(ref, p)
	}
	f, err := s.open(p)
	if err != nil {
		return nil, err
	}
	defer s.files.put(f)
	from, to := int64(p.offset), int64(p.offset)+p.size()
	if s.behind.written(p.segment, from, to) && !f.remembered(from, p.size()) {
		if b := f.readPast(from, to); b != nil {
			if body, err := bodyOf(ref, p, b, nil); err == nil {
				return body, nil
			}
		}
	}
	return s.read(ref, p)
}

// open returns the file of p, which the caller gives back.
func (s *Store) open(p place) (*handle, error) {
	f, err := s.files.get(p.segment, false)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: segment %d is missing: %w", ErrCorrupt, p.segment, err)
	}
	return f, err
}

// bodyOf returns the body in the record b, which was read from p.
func bodyOf(ref store.Ref, p place, b []byte, err error) ([]byte, error) {
	var rec record
	var body []byte
	if err == nil {
		rec, body, err = parseRecord(b)
	}
	if err == nil && rec.ref != ref {
		err = fmt.Errorf("it is of %s", rec.ref)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: segment %d offset %d: %w", ErrCorrupt, p.segment, p.offset, err)
	}
	return body, nil
}
