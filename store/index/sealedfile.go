package index

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var errReadOnly = errors.New("index: the file was opened for reading")

// sealedFile is a file of a [sealedFS]. Offsets and lengths are those of the text.
// Like any vfs.File it has one writer or one sequential reader at a time, and any
// number of ReadAt beside them once there is a header.
type sealedFile struct {
	vfs.File
	keys  *headerKeys
	block cipher.Block // nil: no header was written or read yet
	empty bool         // it has no header and reads as empty
	done  error        // why it takes no more writes
	table bool         // it is a table, which is written when nobody waits for it

	stream keystream // of Write and of Read
	// ahead is a keystream that the last ReadAt left at its end: who reads a file
	// from front to back in pieces makes one only.
	ahead atomic.Pointer[keystream]
}

// keystream is a cipher.Stream that knows where it is.
type keystream struct {
	cipher.Stream
	at      int64
	counter [aes.BlockSize]byte // scratch for seek
}

// seek sets s to the offset off. It allocates, because a cipher.Stream can only go
// forward.
func (s *keystream) seek(b cipher.Block, off int64) {
	s.at = off
	clear(s.counter[:])
	binary.BigEndian.PutUint64(s.counter[8:], uint64(off)/aes.BlockSize)
	s.Stream = cipher.NewCTR(b, s.counter[:])
	skip := s.counter[:off%aes.BlockSize]
	s.XORKeyStream(skip, skip)
}

// pieces are buffers of Write, which may not spoil its argument: Pebble keeps
// blocks that it has written.
var pieces = sync.Pool{New: func() any { return new([headerSize + 64<<10]byte) }}

// Write implements vfs.File. The first write carries the header with it. A write
// that failed is the last one: to write other text where a part of it may lie
// would use the keystream twice.
func (f *sealedFile) Write(p []byte) (n int, err error) {
	if f.done != nil {
		return 0, f.done
	}
	buf := pieces.Get().(*[headerSize + 64<<10]byte)
	defer pieces.Put(buf)
	for len(p) > 0 {
		out := buf[:0]
		if f.block == nil {
			if out, err = f.begin(out); err != nil {
				return n, err
			}
		}
		text := p[:min(len(p), 64<<10)]
		head := len(out)
		out = buf[:head+len(text)]
		f.stream.XORKeyStream(out[head:], text)
		w, err := f.File.Write(out)
		n += max(0, w-head)
		if err == nil && w < len(out) {
			err = io.ErrShortWrite
		}
		if err != nil {
			f.done = err
			return n, err
		}
		p = p[len(text):]
	}
	if f.table {
		runtime.Gosched() // else it may be 10 ms until others have their turn
	}
	return n, nil
}

// begin makes the file's header and key, and appends the header to b.
func (f *sealedFile) begin(b []byte) ([]byte, error) {
	h := f.keys.header()
	block, err := f.keys.block(&h)
	if err != nil {
		return nil, err
	}
	f.block = block
	f.stream.seek(block, 0)
	return append(b, h[:]...), nil
}

// WriteAt implements vfs.File. It fails like OpenReadWrite of the file system.
func (f *sealedFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

// Read implements vfs.File. A file that is being written has nothing to read from
// the start of.
func (f *sealedFile) Read(p []byte) (int, error) {
	if f.block == nil {
		return 0, io.EOF
	}
	n, err := f.File.Read(p)
	if f.stream.Stream == nil {
		f.stream.seek(f.block, 0)
	}
	f.stream.XORKeyStream(p[:n], p[:n])
	return n, err
}

// ReadAt implements vfs.File.
func (f *sealedFile) ReadAt(p []byte, off int64) (int, error) {
	if f.block == nil {
		return 0, io.EOF
	}
	n, err := f.File.ReadAt(p, off+headerSize)
	if n > 0 {
		s := f.ahead.Swap(nil)
		if s == nil {
			s = &keystream{at: -1}
		}
		if s.at != off {
			s.seek(f.block, off)
		}
		s.XORKeyStream(p[:n], p[:n])
		s.at += int64(n)
		f.ahead.Store(s)
	}
	return n, err
}

// Preallocate implements vfs.File.
func (f *sealedFile) Preallocate(offset, length int64) error {
	return f.File.Preallocate(offset+headerSize, length)
}

// SyncTo implements vfs.File.
func (f *sealedFile) SyncTo(length int64) (bool, error) { return f.File.SyncTo(length + headerSize) }

// Prefetch implements vfs.File.
func (f *sealedFile) Prefetch(offset, length int64) error {
	return f.File.Prefetch(offset+headerSize, length)
}

// Stat implements vfs.File.
func (f *sealedFile) Stat() (vfs.FileInfo, error) {
	st, err := withoutHeader(f.File.Stat())
	if err == nil && f.empty {
		return emptyStat{st}, nil
	}
	return st, err
}

// emptyStat is what is known of a file that reads as empty.
type emptyStat struct{ vfs.FileInfo }

// Size implements os.FileInfo.
func (emptyStat) Size() int64 { return 0 }
