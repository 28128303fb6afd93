package index

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// KeySize is the bytes of a [Config.Key].
const KeySize = 32

// A sealed file begins with a header of this shape, in the clear:
//
//	0   4  magic "AEix"
//	4   1  version, 1
//	5  11  zero
//	16 16  salt, random, from which the file's key is derived
//	32 32  HMAC-SHA-256 of the 32 bytes before
//
// The rest is AES-256-CTR with the offset behind the header as its position.
// 64 bytes lie in one sector, so a crash leaves a header whole or not at all.
const (
	headerMagic   = "AEix"
	headerVersion = 1
	saltOffset    = 16
	saltSize      = 16
	macOffset     = saltOffset + saltSize
	headerSize    = macOffset + sha256.Size
)

// sealedFS encrypts what lies in the files of the file system below it; names,
// directories and locks are as below. Every file has a key of its own, and so
// has every new beginning of one: the header is made at the first write after
// Create or ReuseForWrite, so no keystream is used for two texts. For the same
// reason files only grow: OpenReadWrite and WriteAt fail, which Pebble does not
// call for the files it uses here.
//
// A file without a header (empty, shorter than one, or beginning with zeros, as
// a crash can leave it) reads as empty.
type sealedFS struct {
	vfs.FS
	keys *headerKeys
}

// headerKeys makes headers, checks them, and derives the key of a file.
type headerKeys struct{ file, mac []byte }

// newHeaderKeys derives what headers need from a key of [KeySize] bytes.
func newHeaderKeys(key []byte) (*headerKeys, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("%w: a key has %d bytes, not %d", ErrKey, KeySize, len(key))
	}
	file, err := hkdf.Key(sha256.New, key, nil, "aether index files", KeySize)
	if err != nil {
		return nil, err
	}
	mac, err := hkdf.Key(sha256.New, key, nil, "aether index headers", KeySize)
	if err != nil {
		return nil, err
	}
	return &headerKeys{file: file, mac: mac}, nil
}

// header returns a header with a fresh salt.
func (k *headerKeys) header() [headerSize]byte {
	var h [headerSize]byte
	copy(h[:], headerMagic)
	h[len(headerMagic)] = headerVersion
	rand.Read(h[saltOffset:macOffset]) // never fails (crypto/rand)
	copy(h[macOffset:], k.sum(h[:macOffset]))
	return h
}

func (k *headerKeys) sum(b []byte) []byte {
	m := hmac.New(sha256.New, k.mac)
	m.Write(b)
	return m.Sum(nil)
}

// made reports whether h was made with this key.
func (k *headerKeys) made(h *[headerSize]byte) bool {
	return looksSealed(h[:]) && hmac.Equal(h[macOffset:], k.sum(h[:macOffset]))
}

// block returns the cipher of the file with the header h.
func (k *headerKeys) block(h *[headerSize]byte) (cipher.Block, error) {
	key, err := hkdf.Key(sha256.New, k.file, h[saltOffset:macOffset], "", KeySize)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}

// looksSealed reports whether a file that begins with b is encrypted, whatever
// the key. A plain file of Pebble begins with a checksum or with text.
func looksSealed(b []byte) bool { return bytes.HasPrefix(b, []byte(headerMagic)) }

// readHeader reads the header of f. It returns io.EOF where f has none and reads
// as empty.
func readHeader(f io.Reader) (h [headerSize]byte, err error) {
	switch _, err := io.ReadFull(f, h[:]); {
	case err == io.ErrUnexpectedEOF || err == nil && h == [headerSize]byte{}:
		return h, io.EOF
	default:
		return h, err
	}
}

// checkKey looks at the files of dir for a sign that they were written with
// another key than keys, nil for none, before anything is changed. One header made
// with the right key is enough: what is wrong with other files is damage.
func checkKey(fsys vfs.FS, dir string, keys *headerKeys) error {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var wrong error
	for _, name := range names {
		h, err := headerOf(fsys, fsys.PathJoin(dir, name))
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		switch sealed := looksSealed(h[:]); {
		case keys != nil && keys.made(&h):
			return nil
		case keys == nil && !sealed:
		case keys == nil:
			return fmt.Errorf("%w: %s is encrypted and no key was given", ErrKey, name)
		case sealed:
			wrong = fmt.Errorf("%w: %s was encrypted with another one", ErrKey, name)
		case wrong == nil:
			wrong = fmt.Errorf("%w: %s is not encrypted", ErrKey, name)
		}
	}
	return wrong
}

// headerOf returns the first bytes of a file, io.EOF where it is no regular file or
// has too few.
func headerOf(fsys vfs.FS, name string) (h [headerSize]byte, err error) {
	st, err := fsys.Stat(name)
	if err != nil {
		return h, err
	}
	if !st.Mode().IsRegular() || st.Size() < headerSize {
		return h, io.EOF
	}
	f, err := fsys.Open(name)
	if err != nil {
		return h, err
	}
	defer f.Close()
	return readHeader(f)
}

// Create implements vfs.FS.
func (s *sealedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	sealed := s.fresh(f)
	sealed.table = strings.HasSuffix(name, ".sst")
	return sealed, nil
}

// ReuseForWrite implements vfs.FS. The old header and text stay in place until the
// first write; what is left of them behind it reads as noise, which the reader of
// a log takes for its end.
func (s *sealedFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		return nil, err
	}
	return s.fresh(f), nil
}

func (s *sealedFS) fresh(f vfs.File) *sealedFile { return &sealedFile{File: f, keys: s.keys} }

// Open implements vfs.FS.
func (s *sealedFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if st.IsDir() {
		return f, nil
	}
	sealed := &sealedFile{File: f, keys: s.keys, empty: true, done: errReadOnly}
	h, err := readHeader(f)
	if errors.Is(err, io.EOF) {
		return sealed, nil
	}
	if err == nil && !s.keys.made(&h) {
		err = fmt.Errorf("%w: %s has no header of this key", ErrDamaged, name)
	}
	if err == nil {
		sealed.block, err = s.keys.block(&h)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	sealed.empty = false
	return sealed, nil
}

// OpenReadWrite implements vfs.FS. It fails, because to write over a text is to use
// its keystream twice.
func (s *sealedFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, &os.PathError{Op: "open for reading and writing", Path: name, Err: errors.ErrUnsupported}
}

// Stat implements vfs.FS.
func (s *sealedFS) Stat(name string) (vfs.FileInfo, error) { return withoutHeader(s.FS.Stat(name)) }

// Unwrap implements vfs.FS.
func (s *sealedFS) Unwrap() vfs.FS { return s.FS }

func withoutHeader(st vfs.FileInfo, err error) (vfs.FileInfo, error) {
	if err != nil || st.IsDir() {
		return st, err
	}
	return textStat{st}, nil
}

// textStat is what is known of a sealed file, less its header.
type textStat struct{ vfs.FileInfo }

// Size implements os.FileInfo.
func (i textStat) Size() int64 { return max(0, i.FileInfo.Size()-headerSize) }
