package log

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/paxos"
)

// A snapshot file is, after the magic, the state's keys and values in order, each
// with its length before it, and ends with its description, the length of that and
// a CRC-32C of the description. Its sum is the SHA-256 of what stands before that.
const magic = "aether paxos snapshot 1\n"

// maxPair bounds a key and a value of the state in a snapshot.
const maxPair = 2 * paxos.MaxValue

func snapshotName(s paxos.Slot) string { return "snapshot-" + s.String() }

// Snapshot writes the state as it is now to a file, and returns its description. The
// state may change while it does: what is written is that of one slot. Older
// snapshots are deleted.
func (l *Log) Snapshot() (paxos.Snapshot, error) {
	if l.closed.Load() || !l.use.begin() {
		return paxos.Snapshot{}, named("snapshot", ErrClosed)
	}
	defer l.use.end()
	at := l.db.NewSnapshot() // copy on write: nobody waits for the file
	defer at.Close()
	s := *l.applied.Load()
	g := l.generation.Load()
	if b, closer, err := at.Get(keyApplied(g)); err == nil { // of the same instant as the rest
		v, err := unchecked(keyApplied(g), append([]byte(nil), b...))
		if err == nil {
			s, err = paxos.ParseSnapshot(v)
		}
		if err = errors.Join(err, closer.Close()); err != nil {
			return s, l.heard("snapshot", err)
		}
	}
	s, err := l.writeSnapshot(s, func(put func(k, v []byte) bool) error { return scan(at, g, nil, nil, put) })
	if err == nil {
		err = l.removeSnapshots(s.Slot)
	}
	return s, l.heard("snapshot", err)
}

func (l *Log) writeSnapshot(s paxos.Snapshot, each func(put func(k, v []byte) bool) error) (paxos.Snapshot, error) {
	temp := l.path(snapshotName(s.Slot) + ".new")
	f, err := l.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return s, err
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(f, 256<<10)
	both := &counter{w: io.MultiWriter(w, sum)}
	_, err = io.WriteString(both, magic)
	if err == nil {
		err = each(func(k, v []byte) bool {
			head := binary.AppendUvarint(nil, uint64(len(k)))
			head = append(append(head, k...), binary.AppendUvarint(nil, uint64(len(v)))...)
			if l.closed.Load() { // nobody waits for it any more
				err = ErrClosed
				return false
			}
			if _, err = both.Write(head); err == nil {
				_, err = both.Write(v)
			}
			return err == nil
		})
	}
	s.Size, s.Sum = both.n, [32]byte(sum.Sum(nil))
	foot := s.Append(nil)
	foot = checked(nil, binary.BigEndian.AppendUint32(foot, uint32(len(foot))))
	_, werr := w.Write(foot)
	err = errors.Join(err, both.err, werr, w.Flush(), f.Sync(), f.Close())
	if err == nil {
		err = errors.Join(l.fs.Rename(temp, l.path(snapshotName(s.Slot))), syncDir(l.fs, l.cfg.Dir))
	}
	if err != nil {
		_ = l.fs.Remove(temp)
	}
	return s, err
}

// counter counts what goes through it.
type counter struct {
	w   io.Writer
	n   uint64
	err error
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += uint64(n)
	c.err = errors.Join(c.err, err)
	return n, err
}

// removeSnapshots deletes all snapshots but that of keep, and what is left of others
// that were being written or fetched.
func (l *Log) removeSnapshots(keep paxos.Slot) error {
	names, err := l.fs.List(l.cfg.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if (strings.HasPrefix(name, "snapshot-") || strings.HasPrefix(name, "incoming-")) && name != snapshotName(keep) {
			err = errors.Join(err, l.fs.Remove(l.path(name)))
		}
	}
	return err
}

// loadSnapshot finds the newest snapshot that can be offered. One that is damaged is
// deleted: it can be made again.
func (l *Log) loadSnapshot() error {
	names, err := l.fs.List(l.cfg.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, "snapshot-"), 10, 64)
		if err != nil || !strings.HasPrefix(name, "snapshot-") {
			continue
		}
		s, err := l.describe(l.path(name))
		switch {
		case err != nil || s.Slot != paxos.Slot(n) || s.Slot > l.state.Applied.Slot:
			if err := l.fs.Remove(l.path(name)); err != nil {
				return err
			}
		case s.Slot > l.state.Snapshot.Slot:
			l.state.Snapshot = s
		}
	}
	return nil
}

// describe reads the description at the end of a snapshot file.
func (l *Log) describe(path string) (s paxos.Snapshot, err error) {
	f, err := l.fs.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	end := make([]byte, min(info.Size(), 64<<10))
	if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
		return s, err
	}
	if len(end) < 8 {
		return s, ErrSnapshot
	}
	n := int(binary.BigEndian.Uint32(end[len(end)-8:]))
	if n > len(end)-8 {
		return s, ErrSnapshot
	}
	foot, err := unchecked(nil, end[len(end)-8-n:])
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s, err = paxos.ParseSnapshot(foot[:n]); err != nil || s.Size != uint64(info.Size()-int64(n)-8) {
		return s, errors.Join(ErrSnapshot, err)
	}
	return s, nil
}

// ReadSnapshot reads from the bytes of the snapshot of slot at offset, of which
// Snapshot.Size are sent to whoever fetches it. The bytes are verified when the first
// are read. The error is ErrSnapshot when there is no such snapshot any more, or when
// it is damaged: it is deleted then.
func (l *Log) ReadSnapshot(slot paxos.Slot, p []byte, offset int64) (int, error) {
	f, err := l.fs.Open(l.path(snapshotName(slot)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, named("read snapshot", fmt.Errorf("%w: none of slot %v", ErrSnapshot, slot))
	}
	if err != nil {
		return 0, named("read snapshot", err)
	}
	defer f.Close()
	if offset == 0 && l.verified.Load() != uint64(slot) {
		if err := l.verify(f, slot); err != nil {
			return 0, named("read snapshot", err)
		}
	}
	n, err := f.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, named("read snapshot", err)
	}
	return n, nil
}

// verify compares the bytes of a snapshot with its sum, once, and deletes it when they
// differ.
func (l *Log) verify(f vfs.File, slot paxos.Slot) error {
	path := l.path(snapshotName(slot))
	s, err := l.describe(path)
	if err == nil {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(f, 0, int64(s.Size))); err != nil {
			return err
		}
		if [32]byte(sum.Sum(nil)) != s.Sum {
			err = fmt.Errorf("%w: that of slot %v is damaged", ErrSnapshot, slot)
		}
	}
	if errors.Is(err, ErrSnapshot) {
		return errors.Join(err, l.fs.Remove(path))
	}
	if err == nil {
		l.verified.Store(uint64(slot))
	}
	return err
}

// Incoming is a snapshot that is being fetched, piece by piece.
type Incoming struct {
	l    *Log
	s    paxos.Snapshot
	file vfs.File
	have int64
}

// Receive begins or resumes to fetch s. Those of other slots are forgotten.
func (l *Log) Receive(s paxos.Snapshot) (*Incoming, error) {
	if l.closed.Load() {
		return nil, named("receive", ErrClosed)
	}
	// Another snapshot of the same slot has other bytes, perhaps: the sum names it.
	name := fmt.Sprintf("incoming-%v-%x", s.Slot, s.Sum[:8])
	names, err := l.fs.List(l.cfg.Dir)
	if err != nil {
		return nil, named("receive", err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, "incoming-") && n != name {
			_ = l.fs.Remove(l.path(n))
		}
	}
	f, err := l.fs.OpenReadWrite(l.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, named("receive", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, named("receive", errors.Join(err, f.Close()))
	}
	return &Incoming{l: l, s: s, file: f, have: min(info.Size(), int64(s.Size))}, nil
}

// Have returns how many bytes are there.
func (in *Incoming) Have() int64 { return in.have }

// Write adds the next bytes. The error is ErrSnapshot for more than were announced.
func (in *Incoming) Write(p []byte) (int, error) {
	if in.have+int64(len(p)) > int64(in.s.Size) {
		return 0, named("receive", fmt.Errorf("%w: more bytes than announced", ErrSnapshot))
	}
	n, err := in.file.WriteAt(p, in.have)
	in.have += int64(n)
	return n, named("receive", err)
}

// Close leaves what is there, to be resumed.
func (in *Incoming) Close() error { return in.file.Close() }

// Install verifies the bytes and makes them the state, durably and at once: a crash
// before leaves the old state, and one after the new. Entries to the snapshot's slot
// are forgotten. The error is ErrSnapshot when the bytes are not those announced;
// they are deleted then.
func (in *Incoming) Install() (err error) {
	l := in.l
	defer func() { err = l.heard("install", err) }()
	defer l.caught(&err)
	defer in.file.Close()
	path := l.path(fmt.Sprintf("incoming-%v-%x", in.s.Slot, in.s.Sum[:8]))
	sum := sha256.New()
	if in.have != int64(in.s.Size) {
		return fmt.Errorf("%w: %d of %d bytes", ErrSnapshot, in.have, in.s.Size)
	}
	if _, err := io.Copy(sum, io.NewSectionReader(in.file, 0, in.have)); err != nil {
		return err
	}
	if [32]byte(sum.Sum(nil)) != in.s.Sum {
		return errors.Join(fmt.Errorf("%w: the bytes are not those announced", ErrSnapshot), l.fs.Remove(path))
	}
	g := l.generation.Load() + 1
	if err := l.fill(g, bufio.NewReaderSize(io.NewSectionReader(in.file, 0, in.have), 256<<10)); err != nil {
		return err
	}
	// Its own snapshot to offer, before the entries that it stands for are forgotten.
	_, err = l.writeSnapshot(paxos.Snapshot{Slot: in.s.Slot, Members: in.s.Members}, func(put func(k, v []byte) bool) error {
		return scan(l.db, g, nil, nil, put)
	})
	if err != nil {
		return err
	}
	b := l.db.NewBatch()
	defer b.Close()
	err = errors.Join(
		b.Set(keyGeneration, checked(keyGeneration, binary.BigEndian.AppendUint64(nil, g)), nil),
		b.Set(keyApplied(g), checked(keyApplied(g), paxos.Snapshot{Slot: in.s.Slot, Members: in.s.Members}.Append(nil)), nil),
		b.DeleteRange(keyState(g-1, nil), keyState(g, nil), nil),
		forget(b, in.s.Slot))
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		l.closed.Store(true)
		return err
	}
	l.generation.Store(g)
	l.applied.Store(&paxos.Snapshot{Slot: in.s.Slot, Members: in.s.Members})
	return l.removeSnapshots(in.s.Slot)
}

// fill loads the pairs of a snapshot into a state that is not in use.
func (l *Log) fill(g uint64, r *bufio.Reader) error {
	b := l.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := b.DeleteRange(keyState(g, nil), keyState(g+1, nil), nil); err != nil {
		return err
	}
	err := EachPair(r, func(k, v []byte) error {
		if err := b.Set(keyState(g, k), v, nil); err != nil || b.Len() < 1<<20 {
			return err
		}
		full := b
		b = l.db.NewBatch()
		return errors.Join(full.Commit(pebble.NoSync), full.Close())
	})
	if err != nil {
		return err
	}
	return b.Commit(pebble.NoSync)
}

// EachPair calls f with the keys and values in the bytes of a snapshot, whose sum has
// been verified, in order; they are f's to keep. The errors are ErrSnapshot and f's.
func EachPair(r *bufio.Reader, f func(key, value []byte) error) error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != magic {
		return fmt.Errorf("%w: another format", ErrSnapshot)
	}
	for {
		k, err := readPart(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		v, err := readPart(r)
		if err != nil {
			return fmt.Errorf("%w: it ends within a pair", ErrSnapshot)
		}
		if err := f(k, v); err != nil {
			return err
		}
	}
}

// readPart reads a length and as many bytes; io.EOF only where nothing is left.
func readPart(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil || n > maxPair {
		return nil, fmt.Errorf("%w: a length", ErrSnapshot)
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, fmt.Errorf("%w: it ends within a pair", ErrSnapshot)
	}
	return p, nil
}
