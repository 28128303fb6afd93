package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

// ErrFull reports that the space set aside, or the disk, has no room.
var ErrFull = errors.New("no room")

// The defaults of Config.
const (
	// DefaultSpace is 10 GiB.
	DefaultSpace = 10 << 30
	// DefaultSegmentSize is 128 MiB.
	DefaultSegmentSize = 128 << 20
)

// Config says how much room a Store has. Its zero value works.
type Config struct {
	// Space is the bytes set aside for segment files. Zero means DefaultSpace.
	Space int64
	// SegmentSize is the size at which a file is full, in bytes. Zero means
	// DefaultSegmentSize.
	SegmentSize int64
}

// Usage is what the space set aside holds, in bytes, headers of records included.
type Usage struct {
	// Space is what is set aside.
	Space int64
	// Replicas and Cache are the records of either class that are alive.
	Replicas, Cache int64
	// Dead are records that nothing points to and that still take room.
	Dead int64
	// Free is what is left for replicas: Space less all of the above; cache is
	// evicted when they need more. It is negative when Space was made smaller.
	Free int64
}

// place is where a record lies.
type place struct {
	segment uint64
	offset  int64
	length  uint32 // of the whole record
	class   Class
}

// file is a segment file.
type file struct {
	number uint64
	class  Class
	f      vfs.File // nil while it is closed
	size   int64
	live   int64 // bytes of records that are alive
	dirty  bool  // written since the last fsync
	users  int   // readers and syncers under way; they keep f open
	gone   bool  // deleted; the last user closes f
}

// waiting is a record that is not in the index yet.
type waiting struct {
	place
	put uint64 // which Put made it
}

// Store is the chunks of one machine. It is safe for concurrent use.
type Store struct {
	fs  vfs.FS
	dir string
	kv  store.KV
	cfg Config

	mu      sync.Mutex
	files   map[uint64]*file
	open    map[Class]*file // where the next record of a class goes; nil: a new file
	next    uint64          // the number of the next file
	pending map[store.Ref]waiting
	order   []store.Ref // of pending, as they were put
	bytes   map[Class]int64
	total   int64  // of all files
	put     uint64 // counts Puts; a Sync covers those up to a number
	synced  uint64
	failed  error // of the disk: nothing more is promised

	syncing sync.Mutex // held by the caller who syncs for all
}

// suffixes are the names of files by class.
var suffixes = map[Class]string{Replica: ".replica", Cache: ".cache"}

func (s *Store) name(f *file) string {
	return s.fs.PathJoin(s.dir, fmt.Sprintf("%010d%s", f.number, suffixes[f.class]))
}

func refKey(r store.Ref) []byte { return append([]byte{store.PrefixSegment, 'r'}, r[:]...) }

func (p place) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.segment)
	b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
	b = binary.BigEndian.AppendUint32(b, p.length)
	return append(b, byte(p.class))
}

const placeSize = 21

func parsePlace(b []byte) (p place, err error) {
	if len(b) != placeSize {
		return p, fmt.Errorf("segment: index entry of %d bytes", len(b))
	}
	return place{binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:])), binary.BigEndian.Uint32(b[16:]), Class(b[20])}, nil
}

// Open opens the chunks in dir of fs, whose index lies in kv under
// store.PrefixSegment. It reads the index once, about a second for ten million
// chunks, drops entries whose records a crash has taken, and deletes files in which
// nothing is alive.
func Open(fs vfs.FS, dir string, kv store.KV, cfg Config) (*Store, error) {
	if cfg.Space == 0 {
		cfg.Space = DefaultSpace
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = DefaultSegmentSize
	}
	s := &Store{fs: fs, dir: dir, kv: kv, cfg: cfg, next: 1,
		files: map[uint64]*file{}, open: map[Class]*file{}, pending: map[store.Ref]waiting{}, bytes: map[Class]int64{}}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("segment: open: %w", err)
	}
	if err := s.syncDir(fs.PathDir(dir)); err != nil {
		return nil, fmt.Errorf("segment: open: %w", err)
	}
	if err := s.listFiles(); err != nil {
		return nil, err
	}
	if err := s.readIndex(); err != nil {
		return nil, err
	}
	for _, f := range s.files {
		if f.live == 0 {
			if err := s.remove(f); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// syncDir makes the names in a directory durable.
func (s *Store) syncDir(dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := s.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// listFiles finds the segment files.
func (s *Store) listFiles() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("segment: open: %w", err)
	}
	for _, name := range names {
		for class, suffix := range suffixes {
			n, err := strconv.ParseUint(strings.TrimSuffix(path.Base(name), suffix), 10, 64)
			if !strings.HasSuffix(name, suffix) || err != nil {
				continue
			}
			f := &file{number: n, class: class}
			info, err := s.fs.Stat(s.name(f))
			if err != nil {
				return fmt.Errorf("segment: open: %w", err)
			}
			f.size = info.Size()
			s.files[n] = f
			s.total += f.size
			s.next = max(s.next, n+1)
		}
	}
	return nil
}

// readIndex counts what is alive and drops entries that point to nothing.
func (s *Store) readIndex() error {
	var lost [][]byte
	var bad error
	err := s.kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, v []byte) bool {
		var p place
		if p, bad = parsePlace(v); bad != nil {
			return false
		}
		f := s.files[p.segment]
		if f == nil || p.offset+int64(p.length) > f.size {
			lost = append(lost, append([]byte{}, k...))
			return true
		}
		f.live += int64(p.length)
		s.bytes[p.class] += int64(p.length)
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return fmt.Errorf("segment: read the index: %w", err)
	}
	if len(lost) == 0 {
		return nil
	}
	tx := s.kv.Begin()
	defer tx.Discard()
	for _, k := range lost {
		if err := tx.Delete(k); err != nil {
			return fmt.Errorf("segment: open: %w", err)
		}
	}
	return tx.Commit(false)
}

// remove deletes a file in which nothing is alive.
func (s *Store) remove(f *file) error {
	if err := s.fs.Remove(s.name(f)); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	f.gone = true
	f.users++
	s.releaseLocked(f)
	delete(s.files, f.number)
	if s.open[f.class] == f {
		delete(s.open, f.class)
	}
	s.total -= f.size
	return nil
}

// releaseLocked ends one use of f.
func (s *Store) releaseLocked(f *file) {
	if f.users--; f.users == 0 && f.gone && f.f != nil {
		_ = f.f.Close() // its bytes are wanted no more
		f.f = nil
	}
}

func (s *Store) release(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(f)
}

// Usage returns what the space holds.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Space: s.cfg.Space, Replicas: s.bytes[Replica], Cache: s.bytes[Cache]}
	u.Dead = s.total - u.Replicas - u.Cache
	u.Free = u.Space - s.total
	return u
}

// Close syncs and closes the files. The KV stays open.
func (s *Store) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		if f.f != nil {
			err = errors.Join(err, f.f.Close())
			f.f = nil
		}
	}
	return err
}
