package segment

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/time/rate"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/store"
)

// ErrLost reports a body whose entry Open had to drop, since its segment was missing
// or too short.
var ErrLost = errors.New("segment: lost with its segment")

// ScrubConfig says how to look at what is stored. Its zero value looks at everything,
// as fast as the disk can.
type ScrubConfig struct {
	// Rate limits the bytes read in a second; 0 means no limit.
	Rate int64
	// Resume goes on where a scrub stopped that did not come to the end; false
	// begins anew.
	Resume bool
	// Check looks at a body whose checksum is right, which it must not keep; nil
	// means that the checksum is enough. It finds what came from another pool.
	Check func(ref store.Ref, body []byte) error
	// Found is told of what is damaged; nil means that only the result counts it.
	// It may call Repair and Delete.
	Found func(Damage)
	// Progress is told of bytes looked at and to look at, the latter as they were at the
	// beginning; nil means nobody is.
	Progress func(done, total int64)
}

// Damage is a body that cannot be read, or is not what it should be.
type Damage struct {
	Ref     store.Ref
	Segment uint32
	Offset  int64 // of the record in the file, in bytes
	Class   Class
	Err     error // wraps ErrCorrupt, ErrLost, or what Check returned
}

// ScrubResult is what a scrub looked at, with what the scrubs did that it resumed.
type ScrubResult struct {
	Bodies  int64 // records read
	Bytes   int64 // their length, with heads
	Damaged int64 // of them, or lost by Open
}

// cursorEvery is how many bytes a scrub reads before it notes where it stands.
const cursorEvery = 64 << 20

// cursor is where a scrub stands.
type cursor struct {
	segment, offset uint32
	result          ScrubResult
}

func cursorKey() []byte { return []byte{store.PrefixSegment, 'c'} }

func (c cursor) value() []byte {
	b := binary.BigEndian.AppendUint32(nil, c.segment)
	b = binary.BigEndian.AppendUint32(b, c.offset)
	for _, n := range []int64{c.result.Bodies, c.result.Bytes, c.result.Damaged} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func parseCursor(b []byte) (c cursor, err error) {
	r := wire.NewReader(b)
	c.segment, c.offset = r.Uint32(), r.Uint32()
	c.result = ScrubResult{int64(r.Uint64()), int64(r.Uint64()), int64(r.Uint64())}
	if c.result.Bodies < 0 || c.result.Bytes < 0 || c.result.Damaged < 0 {
		r.Fail(errors.New("negative count"))
	}
	return c, r.End()
}

// lostKey has the place of a body that Open found lost, until it is put or deleted.
func lostKey(ref store.Ref) []byte {
	return append([]byte{store.PrefixSegment, 'x'}, ref[:]...)
}

// scrub is a scrub under way.
type scrub struct {
	*Store
	ScrubConfig
	at      cursor
	noted   int64 // bytes when the cursor was noted
	total   int64
	missing error // the file of the segment at which it is cannot be had
	limiter *rate.Limiter
}

// Scrub reads every body that has been synced, in the order of the files, and tells of
// those that are damaged: bits that changed, records at the wrong place, files that are
// cut short or missing. It reads from the disk, not from what the system remembers of
// it, where that can be said. Where it stands is noted every 64 MiB and when ctx ends,
// for Resume. Damage is no error; errors wrap that of ctx or those of the index.
func (s *Store) Scrub(ctx context.Context, c ScrubConfig) (ScrubResult, error) {
	u := s.Usage()
	b := scrub{Store: s, ScrubConfig: c, total: u.Replicas + u.Cache}
	if c.Rate > 0 {
		b.limiter = rate.NewLimiter(rate.Limit(c.Rate), int(min(max(c.Rate/10, 4<<10), 1<<30)))
	}
	err := b.run(ctx)
	if err != nil {
		return b.at.result, fmt.Errorf("segment: scrub: %w", err)
	}
	return b.at.result, nil
}

func (s *scrub) run(ctx context.Context) error {
	if s.Resume {
		v, err := s.kv.Get(cursorKey())
		if err == nil {
			s.at, err = parseCursor(v)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s.noted = s.at.result.Bytes
	}
	if s.at.segment == 0 {
		if err := s.lost(); err != nil {
			return err
		}
	}
	for done := false; !done; {
		var err error
		if done, err = s.page(ctx); err != nil {
			return errors.Join(err, s.note())
		}
		if s.at.result.Bytes-s.noted >= cursorEvery {
			if err := s.note(); err != nil {
				return err
			}
		}
	}
	return s.edit(func(txn store.Txn) { _ = txn.Delete(cursorKey()) })
}

// edit commits a change of the index that may be lost.
func (s *Store) edit(f func(txn store.Txn)) error {
	txn := s.txn()
	defer txn.Discard()
	f(txn) // what fails there fails the commit
	return txn.Commit(false)
}

func (s *scrub) note() error {
	s.noted = s.at.result.Bytes
	return s.edit(func(txn store.Txn) { _ = txn.Set(cursorKey(), s.at.value()) })
}

// lost tells of what Open found lost and nobody has put since.
func (s *scrub) lost() error {
	for after := (store.Ref{}); ; {
		var all []record
		from, to := append(lostKey(after), 0), []byte{store.PrefixSegment, 'x' + 1}
		err := s.kv.Scan(from, to, func(k, v []byte) bool {
			if p, err := parsePlace(v); err == nil && len(k) == len(from)-1 {
				all = append(all, record{store.Ref(k[2:]), p})
			}
			return len(all) < page
		})
		if err != nil {
			return err
		}
		for _, rec := range all {
			after = rec.ref
			if s.Has(rec.ref) {
				if err := s.edit(func(txn store.Txn) { _ = txn.Delete(lostKey(rec.ref)) }); err != nil {
					return err
				}
				continue
			}
			s.damaged(rec, ErrLost)
		}
		if len(all) < page {
			return nil
		}
	}
}

func (s *scrub) damaged(rec record, err error) {
	s.at.result.Damaged++
	if s.Found != nil {
		s.Found(Damage{rec.ref, rec.segment, int64(rec.offset), rec.class, err})
	}
}

// page looks at the next records, and reports whether there were none.
func (s *scrub) page(ctx context.Context) (done bool, err error) {
	type entry struct {
		at
		segment uint32
	}
	var all []entry
	from, to := orderKey(s.at.segment, s.at.offset), []byte{store.PrefixSegment, 'o' + 1}
	err = s.kv.Scan(from, to, func(k, v []byte) bool {
		if n, offset, err := parseOrderKey(k); err == nil && len(v) == len(store.Ref{}) {
			all = append(all, entry{at{store.Ref(v), offset}, n})
		}
		return len(all) < sliceRecords
	})
	if err != nil {
		return false, err
	}
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if e.segment != s.at.segment || s.at.offset == 0 {
			_, s.missing = s.files.fs.Stat(s.files.path(e.segment))
		}
		s.at.segment, s.at.offset = e.segment, e.offset
		if err := s.look(ctx, e.ref, place{segment: e.segment, offset: e.offset}); err != nil {
			return false, err
		}
		s.at.offset = e.offset + 1
	}
	return len(all) == 0, nil
}

// look reads the body of ref if it lies at p.
func (s *scrub) look(ctx context.Context, ref store.Ref, at place) error {
	p, err := s.lookup(ref)
	if errors.Is(err, store.ErrNotFound) || err == nil && !p.at(at) {
		return nil
	}
	if err == nil {
		err = s.wait(ctx, p.size())
	}
	if err != nil {
		return err
	}
	err = s.check(ref, p)
	if err != nil {
		// Compaction may have moved it meanwhile, and checked it then.
		if now, e := s.lookup(ref); errors.Is(e, store.ErrNotFound) || e == nil && !now.at(at) {
			return nil
		}
		if errors.Is(err, ErrClosed) {
			return err
		}
		s.damaged(record{ref, p}, err)
	}
	s.at.result.Bodies++
	s.at.result.Bytes += p.size()
	if s.Progress != nil {
		s.Progress(s.at.result.Bytes, s.total)
	}
	return nil
}

func (s *scrub) check(ref store.Ref, p place) error {
	if errors.Is(s.missing, fs.ErrNotExist) {
		// It may be open still, but will not be again.
		return fmt.Errorf("%w: segment %d is missing: %w", ErrCorrupt, p.segment, s.missing)
	}
	if h, err := s.files.get(p.segment, false); err == nil {
		h.uncache(int64(p.offset), p.size())
		_ = s.files.put(h) // nothing was written
	}
	body, err := s.read(ref, p)
	if err == nil && s.Check != nil {
		err = s.Check(ref, body)
	}
	return err
}

// wait waits until n bytes may be read.
func (s *scrub) wait(ctx context.Context, n int64) error {
	for s.limiter != nil && n > 0 {
		part := min(n, int64(s.limiter.Burst()))
		if err := s.limiter.WaitN(ctx, int(part)); err != nil {
			return err
		}
		n -= part
	}
	return nil
}
