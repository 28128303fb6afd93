package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

// joined is the body size up to which header and body are written in one go.
const joined = 64 << 10

// Put appends a chunk, unless it is here already; a chunk of Cache that is put as
// Replica becomes one. It is found at once and durable after the next Sync. It
// fails with ErrFull when there is no room: for replicas after all cache was
// evicted.
func (s *Store) Put(ref store.Ref, body []byte, class Class) error {
	if len(body) > MaxBody {
		return fmt.Errorf("segment: put: a body of %d bytes, at most %d", len(body), MaxBody)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.put++
	if p, err := s.find(ref); err == nil && (p.class == Replica || class == Cache) {
		return nil
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	n := int64(headerSize + len(body))
	if err := s.makeRoom(n, class); err != nil {
		return err
	}
	f, err := s.writable(class)
	if err != nil {
		return err
	}
	if err := write(f.f, appendHeader(make([]byte, 0, headerSize), ref, class, body), body); err != nil {
		// How much of it was written is unknown: go on in another file.
		if info, serr := f.f.Stat(); serr == nil {
			s.total += info.Size() - f.size
			f.size = info.Size()
		}
		delete(s.open, class)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return fmt.Errorf("segment: the disk has %w: %w", ErrFull, err)
		}
		return fmt.Errorf("segment: put: %w", err)
	}
	p := place{f.number, f.size, uint32(n), class}
	if old, ok := s.pending[ref]; ok {
		s.unlive(old.place)
	} else if old, err := s.indexed(ref); err == nil {
		s.unlive(old)
	}
	s.pending[ref] = waiting{p, s.put}
	s.order = append(s.order, ref)
	f.size, f.live, f.dirty = f.size+n, f.live+n, true
	s.total += n
	s.bytes[class] += n
	if f.size >= s.cfg.SegmentSize {
		delete(s.open, class)
	}
	return nil
}

func write(f vfs.File, head, body []byte) error {
	if len(body) <= joined {
		_, err := f.Write(append(head, body...))
		return err
	}
	if _, err := f.Write(head); err != nil {
		return err
	}
	_, err := f.Write(body)
	return err
}

// unlive says that the record at p is pointed to no more.
func (s *Store) unlive(p place) {
	if f := s.files[p.segment]; f != nil {
		f.live -= int64(p.length)
	}
	s.bytes[p.class] -= int64(p.length)
}

// writable returns the file that the next record of class goes to.
func (s *Store) writable(class Class) (*file, error) {
	if f := s.open[class]; f != nil {
		return f, nil
	}
	f := &file{number: s.next, class: class}
	var err error
	if f.f, err = s.fs.OpenReadWrite(s.name(f), vfs.WriteCategoryUnspecified); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("the disk has %w: %w", ErrFull, err)
		}
		return nil, fmt.Errorf("segment: new file: %w", err)
	}
	if err := s.syncDir(s.dir); err != nil {
		return nil, fmt.Errorf("segment: new file: %w", err)
	}
	s.next++
	s.files[f.number], s.open[class] = f, f
	return f, nil
}

// makeRoom sees to it that n more bytes fit. Replicas push out cache, file by file,
// oldest first.
func (s *Store) makeRoom(n int64, class Class) error {
	for s.total+n > s.cfg.Space {
		f := s.evictable()
		if class == Cache || f == nil {
			return fmt.Errorf("segment: %w: %d of %d bytes set aside are used", ErrFull, s.total, s.cfg.Space)
		}
		if err := s.evict(f); err != nil {
			return err
		}
	}
	return nil
}

// evictable returns the oldest file of cache, or nil.
func (s *Store) evictable() (oldest *file) {
	for _, f := range s.files {
		if f.class == Cache && (oldest == nil || f.number < oldest.number) {
			oldest = f
		}
	}
	return oldest
}

// evict forgets all chunks in a file of cache and deletes it.
func (s *Store) evict(f *file) error {
	if err := s.reopen(f); err != nil {
		return err
	}
	tx := s.kv.Begin()
	defer tx.Discard()
	err := scan(f.f, f.size, func(off int64, h header, _ []byte) error {
		if p, ok := s.pending[h.ref]; ok {
			if p.segment == f.number && p.offset == off {
				s.unlive(p.place)
				delete(s.pending, h.ref)
				s.order = slices.DeleteFunc(s.order, func(r store.Ref) bool { return r == h.ref })
			}
			return nil
		}
		p, err := s.indexed(h.ref)
		if err != nil || p.segment != f.number || p.offset != off {
			//nolint:nilerr // an entry that is gone or damaged leads nowhere
			return nil // dead already
		}
		s.unlive(p)
		return tx.Delete(refKey(h.ref))
	})
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	// The entries go first: an entry without its file is dropped at the next Open,
	// a file without entries is deleted there.
	if err := tx.Commit(false); err != nil {
		return fmt.Errorf("segment: evict: %w", err)
	}
	return s.remove(f)
}

// reopen makes f readable.
func (s *Store) reopen(f *file) (err error) {
	if f.f == nil {
		if f.f, err = s.fs.Open(s.name(f)); err != nil {
			return fmt.Errorf("segment: %w", err)
		}
	}
	return nil
}

// find returns where ref lies.
func (s *Store) find(ref store.Ref) (place, error) {
	if p, ok := s.pending[ref]; ok {
		return p.place, nil
	}
	return s.indexed(ref)
}

func (s *Store) indexed(ref store.Ref) (place, error) {
	b, err := s.kv.Get(refKey(ref))
	if err != nil {
		return place{}, err
	}
	return parsePlace(b)
}

// Has reports whether the chunk ref is here.
func (s *Store) Has(ref store.Ref) bool {
	s.mu.Lock()
	_, ok := s.pending[ref]
	s.mu.Unlock()
	if ok {
		return true
	}
	_, err := s.indexed(ref)
	return err == nil
}

// Get returns the body of the chunk ref, checked against its checksum. It fails
// with store.ErrNotFound, or ErrCorrupt with the file and the offset.
func (s *Store) Get(ref store.Ref) ([]byte, error) {
	s.mu.Lock()
	p, err := s.find(ref)
	var f *file
	if err == nil {
		if f = s.files[p.segment]; f == nil {
			err = store.ErrNotFound
		} else {
			err = s.reopen(f)
		}
	}
	if err == nil {
		f.users++
	}
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("segment: chunk %.8s: %w", ref, err)
	}
	defer s.release(f)
	b := make([]byte, p.length)
	if _, err := f.f.ReadAt(b, p.offset); err != nil {
		return nil, fmt.Errorf("segment: chunk %.8s in %s at %d: %w", ref, s.name(f), p.offset, err)
	}
	h, body, err := parseRecord(b)
	if err == nil && h.ref != ref {
		err = fmt.Errorf("%w: another chunk", ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("segment: chunk %.8s in %s at %d: %w", ref, s.name(f), p.offset, err)
	}
	return body, nil
}

// Delete forgets the chunk ref; its record is dead. Deleting what is not there is
// no error.
func (s *Store) Delete(ref store.Ref) error {
	if err := s.Sync(); err != nil { // so that it is not pending
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.indexed(ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("segment: delete: %w", err)
	}
	tx := s.kv.Begin()
	defer tx.Discard()
	if err := errors.Join(tx.Delete(refKey(ref)), tx.Commit(false)); err != nil {
		return fmt.Errorf("segment: delete: %w", err)
	}
	s.unlive(p)
	if f := s.files[p.segment]; f != nil && f.live == 0 && s.open[f.class] != f {
		return s.remove(f)
	}
	return nil
}

// Scrub reads every record of every file, live or dead, and calls found for each
// file with what is wrong in it; found's error ends it.
func (s *Store) Scrub(ctx context.Context, found func(name string, err error) error) error {
	s.mu.Lock()
	var all []*file
	for _, f := range s.files {
		all = append(all, f)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *file) int { return int(a.number) - int(b.number) })
	for _, f := range all {
		s.mu.Lock()
		if f.gone {
			s.mu.Unlock()
			continue
		}
		size := f.size
		err := s.reopen(f)
		f.users++
		s.mu.Unlock()
		if err == nil {
			err = scan(f.f, size, func(int64, header, []byte) error { return ctx.Err() })
		}
		s.release(f)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if err := found(s.name(f), err); err != nil {
				return err
			}
		}
	}
	return nil
}
