package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
)

// page is how many entries are read from the index at once.
const page = 1024

// Each calls f for what the store holds with a ref over after, ascending by ref, until
// f returns false; size is the length of the body in bytes. The zero Ref comes before
// all others and is not reported. What is put or deleted meanwhile may or may not be. f may use the
// Store. Memory is had for a page of the index and for the refs that have not been
// synced.
func (s *Store) Each(after store.Ref, f func(ref store.Ref, size int64, class Class) bool) error {
	s.mu.Lock()
	waits := slices.SortedFunc(maps.Keys(s.pending), compareRefs)
	s.mu.Unlock()
	next := func(upTo *store.Ref) (ref store.Ref, ok bool) {
		for len(waits) > 0 && compareRefs(waits[0], after) <= 0 {
			waits = waits[1:]
		}
		if len(waits) == 0 || upTo != nil && compareRefs(waits[0], *upTo) > 0 {
			return store.Ref{}, false
		}
		return waits[0], true
	}
	call := func(ref store.Ref) (bool, error) {
		after = ref
		p, err := s.lookup(ref)
		if errors.Is(err, store.ErrNotFound) {
			return true, nil
		}
		return err == nil && f(ref, int64(p.length), p.class), err
	}
	for more := true; more; {
		refs, err := s.page(after)
		if err != nil {
			return fmt.Errorf("segment: each: %w", err)
		}
		more = len(refs) == page
		for i := 0; i <= len(refs); i++ {
			var upTo *store.Ref
			if i < len(refs) {
				upTo = &refs[i]
			} else if more {
				break
			}
			for ref, ok := next(upTo); ok; ref, ok = next(upTo) {
				if goOn, err := call(ref); !goOn {
					return err
				}
			}
			if upTo == nil || compareRefs(*upTo, after) <= 0 {
				continue
			}
			if goOn, err := call(*upTo); !goOn {
				return err
			}
		}
	}
	return nil
}

func compareRefs(a, b store.Ref) int { return bytes.Compare(a[:], b[:]) }

// page returns the next refs of the index.
func (s *Store) page(after store.Ref) (refs []store.Ref, err error) {
	from, to := append(refKey(after), 0), []byte{store.PrefixSegment, 'r' + 1}
	err = s.kv.Scan(from, to, func(k, _ []byte) bool {
		if len(k) == len(from)-1 {
			refs = append(refs, store.Ref(k[2:]))
		}
		return len(refs) < page
	})
	return refs, err
}

// Logs calls f for the bodies of class [Log] in the order in which they were put, also
// after the index was lost. What is put or deleted meanwhile may or may not be
// reported. f may use the Store and keep body. An error of f ends it. Bodies that
// cannot be read are left out; the error then wraps that of the first. Memory is had
// for a page of the index and for what has not been synced.
func (s *Store) Logs(f func(ref store.Ref, body []byte) error) error {
	var broken error
	call := func(all []record) error {
		for _, rec := range all {
			body, err := s.Get(rec.ref)
			switch {
			case errors.Is(err, store.ErrNotFound):
				continue
			case errors.Is(err, ErrCorrupt):
				if broken == nil {
					broken = err
				}
				continue
			case err == nil:
				err = f(rec.ref, body)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	// What waits now has numbers over those in the index, but for some that were
	// put at the same time.
	waits := s.waitingLogs()
	var last record
	for {
		all, err := s.logPage(last)
		if err != nil {
			return fmt.Errorf("segment: logs: %w", err)
		}
		full := len(all) == page
		if len(all) > 0 {
			last = all[len(all)-1]
		}
		i := len(waits)
		if full {
			var found bool
			if i, found = slices.BinarySearchFunc(waits, last, compareLogs); found {
				i++
			}
		}
		all = append(all, waits[:i]...)
		waits = waits[i:]
		slices.SortFunc(all, compareLogs)
		if err := call(slices.Compact(all)); err != nil {
			return err
		}
		if !full {
			return broken
		}
	}
}

func compareLogs(a, b record) int {
	if a.order != b.order {
		if a.order < b.order {
			return -1
		}
		return 1
	}
	return compareRefs(a.ref, b.ref)
}

// waitingLogs returns order and ref of what is not in the index.
func (s *Store) waitingLogs() (all []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, p := range s.pending {
		if p.class == Log {
			all = append(all, record{ref, place{order: p.order}})
		}
	}
	slices.SortFunc(all, compareLogs)
	return all
}

// logPage returns order and ref of the next Logs of the index.
func (s *Store) logPage(after record) (all []record, err error) {
	from, to := append(logKey(after.order, after.ref), 0), []byte{store.PrefixSegment, 'l' + 1}
	err = s.kv.Scan(from, to, func(k, _ []byte) bool {
		if len(k) == len(from)-1 {
			all = append(all, record{store.Ref(k[10:]), place{order: binary.BigEndian.Uint64(k[2:])}})
		}
		return len(all) < page
	})
	return all, err
}
