package segment

import (
	"errors"
	"io/fs"

	"github.com/aether-lan/aether/store"
)

// evict drops the cache in f, and f with it when nothing else lives there. The
// caller holds mover.
func (s *Store) evict(f *file) error {
	if err := s.settle(f); err != nil {
		return err
	}
	for from := uint32(0); ; {
		refs, next, err := s.refs(f.number, from)
		if err == nil {
			err = s.evictAll(f, refs)
		}
		if err != nil {
			return err
		}
		if from = next; len(refs) == 0 {
			break
		}
	}
	s.mu.Lock()
	dead := f.alive() == 0
	s.mu.Unlock()
	if !dead {
		return nil
	}
	return s.retire(f)
}

// evictAll drops what is cache of refs, which lie in f.
func (s *Store) evictAll(f *file, refs []at) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	txn := s.txn()
	defer txn.Discard()
	var sum int64
	for _, r := range refs {
		p, err := indexed(s.kv, r.ref)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && p.class == Cache && p.at(place{segment: f.number, offset: r.offset}) {
			record{r.ref, p}.unset(txn)
			sum += p.size()
		}
	}
	if sum == 0 {
		return nil
	}
	s.mu.Lock()
	f.saved[Cache] -= sum
	s.save(txn, f.number)
	s.mu.Unlock()
	err := txn.Commit(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		f.saved[Cache] += sum
		return err
	}
	f.live[Cache] -= sum
	return nil
}

// retire removes the file of f, in which nothing lives and to which nothing is
// written any more. That nothing lives there is made durable first, and its entry
// goes last: an Open in between must not take in what lies there. The caller holds
// mover.
func (s *Store) retire(f *file) error {
	if s.mover.file == f {
		s.mover.file = nil
	}
	if err := s.syncIndex(); err != nil {
		return err
	}
	s.syncing.Lock() // no sync of it
	s.behind.forget(f.number)
	s.mu.Lock()
	delete(s.dirty, f.number)
	delete(s.ahead, f.number)
	s.mu.Unlock()
	s.syncing.Unlock()
	// Removing a large file takes 10 ms, for which nobody shall wait.
	if err := s.files.remove(f.number); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	delete(s.space.files, f.number)
	s.space.used -= f.size
	err := s.keepRoom(0)
	s.mu.Unlock()
	return errors.Join(err, s.forget(f.number))
}

// forget removes the entry of segment n, whose file is gone. Its number is not given
// again: what an older index, after a crash, says of it must not be taken to be about
// another file.
func (s *Store) forget(n uint32) error {
	txn := s.txn()
	defer txn.Discard()
	_ = txn.Delete(segmentKey(n)) // what fails here fails the commit
	s.mu.Lock()
	s.save(txn)
	s.mu.Unlock()
	return txn.Commit(false)
}
