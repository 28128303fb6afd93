//go:build linux

package mount_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// setting returns the number in an environment variable, or what stands for none.
func setting(t *testing.T, name string, none uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return none
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// seed returns the seed of a test that goes by chance, which it prints: that of the
// environment variable, or one of the clock.
func seed(t *testing.T, name string) uint64 {
	t.Helper()
	s := setting(t, name, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d", name, s)
	return s
}

// Operations by chance on one file leave in it what they leave in a slice of bytes.
// AETHER_FSX_OPS says how many.
func TestFSX(t *testing.T) {
	dir, again := remountable(t)
	x := newFSX(filepath.Join(dir, "f"), seed(t, "AETHER_FSX_SEED"))
	if err := x.run(int(setting(t, "AETHER_FSX_OPS", 1000))); err != nil {
		t.Fatal(err)
	}
	again()
	if err := x.whole(); err != nil {
		t.Fatal("after mounting again: ", err)
	}
}

// The same with several files at once.
func TestFSX_ManyFiles(t *testing.T) {
	const files = 6
	dir, again := remountable(t)
	s, ops := seed(t, "AETHER_FSX_SEED"), int(setting(t, "AETHER_FSX_OPS", 1000))
	var all []*fsx
	var jobs sync.WaitGroup
	for i := range uint64(files) {
		x := newFSX(filepath.Join(dir, fmt.Sprint("f", i)), s+i)
		all = append(all, x)
		jobs.Go(func() {
			if err := x.run(ops / files); err != nil {
				t.Errorf("seed %d: %v", s+i, err)
			}
		})
	}
	jobs.Wait()
	if t.Failed() {
		return
	}
	again()
	for _, x := range all {
		if err := x.whole(); err != nil {
			t.Error("after mounting again: ", err)
		}
	}
}

const (
	fsxLargest = 8 << 20
	fsxKept    = 30 // operations that a failure tells
)

// fsx is a file and what it must hold.
type fsx struct {
	path  string
	rng   *rand.Rand
	model []byte
	fd    int
	last  []string // the last operations
	n     int
	lacks map[string]bool
}

func newFSX(path string, seed uint64) *fsx {
	return &fsx{path: path, rng: rand.New(rand.NewPCG(seed, 1)), fd: -1, lacks: map[string]bool{}}
}

// fsxOp is an operation.
type fsxOp struct {
	weight int
	do     func(x *fsx) error
}

// fsxOps are the operations and how often each comes.
var fsxOps = []fsxOp{
	{20, (*fsx).write},
	{20, (*fsx).read},
	{6, (*fsx).appendTo},
	{5, (*fsx).truncate},
	{5, (*fsx).truncateOpen},
	{8, (*fsx).mapRead},
	{8, (*fsx).mapWrite},
	{3, (*fsx).sync},
	{4, (*fsx).reopen},
	{3, (*fsx).allocate},
	{4, (*fsx).punch},
	{3, (*fsx).zero},
	{3, (*fsx).seekHoles},
	{3, (*fsx).copyRange},
	{2, (*fsx).dropCache},
	{2, (*fsx).size},
	{1, (*fsx).whole},
}

// run makes n operations. Its error tells the last of them.
func (x *fsx) run(n int) (err error) {
	total := 0
	for _, op := range fsxOps {
		total += op.weight
	}
	if err := x.open(unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(x.fd)) }()
	for range n {
		at := x.rng.IntN(total)
		i := slices.IndexFunc(fsxOps, func(op fsxOp) bool {
			at -= op.weight
			return at < 0
		})
		if err := fsxOps[i].do(x); err != nil {
			return fmt.Errorf("%s: operation %d: %w; the last were\n%s", x.path, x.n, err, strings.Join(x.last, "\n"))
		}
	}
	return x.whole()
}

// told notes an operation.
func (x *fsx) told(format string, args ...any) {
	x.n++
	if len(x.last) == fsxKept {
		x.last = x.last[1:]
	}
	x.last = append(x.last, fmt.Sprintf("%6d %s (%d bytes long)", x.n, fmt.Sprintf(format, args...), len(x.model)))
}

// position returns a place up to most, often close to where pages, chunks or requests
// begin or end.
func (x *fsx) position(most int64) int64 {
	if most <= 0 {
		return 0
	}
	at := x.rng.Int64N(most + 1)
	if x.rng.IntN(3) > 0 {
		unit := []int64{512, 4096, 64 << 10, 128 << 10, 1 << 20}[x.rng.IntN(5)]
		at = (at+unit/2)/unit*unit + []int64{0, 0, 0, -1, 1, 17}[x.rng.IntN(6)]
	}
	return min(max(at, 0), most)
}

// length returns how many bytes an operation takes, at least one.
func (x *fsx) length() int64 {
	switch x.rng.IntN(6) {
	case 0:
		return 1 + x.rng.Int64N(100)
	case 1:
		return 4096 << x.rng.IntN(6)
	case 2:
		return 1 + x.rng.Int64N(1<<20)
	default:
		return 1 + x.rng.Int64N(40_000)
	}
}

// span returns a part of the file, empty where that is.
func (x *fsx) span() (from, to int64) {
	from = x.position(int64(len(x.model)))
	return from, min(from+x.length(), int64(len(x.model)))
}

// grow makes the model at least n long.
func (x *fsx) grow(n int64) {
	if more := n - int64(len(x.model)); more > 0 {
		x.model = append(x.model, make([]byte, more)...)
	}
}

// bytes returns n bytes unlike those of other operations.
func (x *fsx) bytes(n int64) []byte {
	b := make([]byte, n)
	mark := fmt.Sprintf("<%d>", x.n)
	if x.rng.IntN(4) > 0 {
		for i := 0; i < len(b); i += len(mark) {
			copy(b[i:], mark)
		}
		return b
	}
	for i := range b {
		b[i] = byte(x.rng.Uint32())
	}
	return b
}

// compare says where got is not what the model has from at on.
func (x *fsx) compare(got []byte, at int64) error {
	want := x.model[min(at, int64(len(x.model))):]
	want = want[:min(len(want), len(got))]
	for i := range want {
		if got[i] != want[i] {
			wrong := 0
			for j := range want {
				if got[j] != want[j] {
					wrong++
				}
			}
			return fmt.Errorf("%d bytes differ, first at %d: %q instead of %q", wrong, at+int64(i), got[i:min(i+16, len(got))], want[i:min(i+16, len(want))])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d bytes at %d instead of %d", len(got), at, len(want))
	}
	return nil
}

func (x *fsx) open(flags int) (err error) {
	x.fd, err = unix.Open(x.path, flags|unix.O_CLOEXEC, 0o644)
	return err
}

func (x *fsx) write() error {
	at, b := x.position(fsxLargest/8<<x.rng.IntN(4)), x.bytes(x.length())
	b = b[:min(int64(len(b)), fsxLargest-at)]
	if len(b) == 0 {
		return nil
	}
	x.told("write %d at %d", len(b), at)
	n, err := unix.Pwrite(x.fd, b, at)
	if err != nil || n != len(b) {
		return fmt.Errorf("wrote %d: %w", n, err)
	}
	x.grow(at + int64(n))
	copy(x.model[at:], b)
	return nil
}

func (x *fsx) appendTo() error {
	b := x.bytes(x.length())
	b = b[:min(len(b), fsxLargest-len(x.model))]
	x.told("append %d", len(b))
	fd, err := unix.Open(x.path, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, b)
	x.model = append(x.model, b...)
	return errors.Join(err, unix.Close(fd))
}

func (x *fsx) read() error {
	at, n := x.position(int64(len(x.model))), x.length()
	x.told("read %d at %d", n, at)
	b := make([]byte, n)
	got, err := unix.Pread(x.fd, b, at)
	if err != nil {
		return err
	}
	if want := min(n, int64(len(x.model))-at); int64(got) != want {
		return fmt.Errorf("read %d instead of %d", got, want)
	}
	return x.compare(b[:got], at)
}

// newSize returns a size to truncate to, and makes the model that long.
func (x *fsx) newSize() int64 {
	n := x.position(fsxLargest)
	if x.rng.IntN(2) == 0 {
		n = x.position(int64(len(x.model)))
	}
	return n
}

func (x *fsx) resize(n int64) {
	x.grow(n)
	x.model = x.model[:n:n]
}

func (x *fsx) truncate() error {
	n := x.newSize()
	x.told("truncate to %d by name", n)
	x.resize(n)
	return unix.Truncate(x.path, n)
}

func (x *fsx) truncateOpen() error {
	n := x.newSize()
	x.told("truncate to %d", n)
	x.resize(n)
	return unix.Ftruncate(x.fd, n)
}

// mapped calls do with a map that has the byte from of the file at m[skip].
func (x *fsx) mapped(from, to int64, rights int, do func(m []byte, skip int64) error) error {
	page := from &^ 4095
	m, err := unix.Mmap(x.fd, page, int(to-page), rights, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	return errors.Join(do(m, from-page), unix.Munmap(m))
}

func (x *fsx) mapRead() error {
	from, to := x.span()
	if from == to {
		return nil
	}
	x.told("read %d at %d by a map", to-from, from)
	return x.mapped(from, to, unix.PROT_READ, func(m []byte, skip int64) error { return x.compare(m[skip:], from) })
}

func (x *fsx) mapWrite() error {
	from, to := x.span()
	if from == to {
		return nil
	}
	sync := x.rng.IntN(2) == 0
	x.told("write %d at %d by a map, msync %v", to-from, from, sync)
	b := x.bytes(to - from)
	copy(x.model[from:], b)
	return x.mapped(from, to, unix.PROT_READ|unix.PROT_WRITE, func(m []byte, skip int64) error {
		copy(m[skip:], b)
		if sync {
			return unix.Msync(m, unix.MS_SYNC)
		}
		return nil
	})
}

func (x *fsx) sync() error {
	if x.rng.IntN(2) == 0 {
		x.told("fdatasync")
		return unix.Fdatasync(x.fd)
	}
	x.told("fsync")
	return unix.Fsync(x.fd)
}

func (x *fsx) reopen() error {
	x.told("close and open")
	if err := unix.Close(x.fd); err != nil {
		return err
	}
	return x.open(unix.O_RDWR)
}

// optional returns an error of an operation that a file system need not have, and
// whether it was done.
func (x *fsx) optional(what string, err error) (done bool, _ error) {
	if errors.Is(err, unix.EOPNOTSUPP) {
		x.lacks[what] = true
		return false, nil
	}
	return err == nil, err
}

func (x *fsx) allocate() error {
	at, n := x.position(fsxLargest/2), x.length()
	x.told("allocate %d at %d", n, at)
	done, err := x.optional("fallocate", unix.Fallocate(x.fd, 0, at, n))
	if done {
		x.grow(at + n)
	}
	return err
}

func (x *fsx) punch() error {
	at, n := x.position(int64(len(x.model))), x.length()
	x.told("punch %d at %d", n, at)
	done, err := x.optional("holes", unix.Fallocate(x.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n))
	if done {
		clear(x.model[at:min(at+n, int64(len(x.model)))])
	}
	return err
}

func (x *fsx) zero() error {
	at, n := x.position(fsxLargest/2), x.length()
	x.told("zero %d at %d", n, at)
	done, err := x.optional("zeroing", unix.Fallocate(x.fd, unix.FALLOC_FL_ZERO_RANGE, at, n))
	if done {
		x.grow(at + n)
		clear(x.model[at : at+n])
	}
	return err
}

// seekHoles looks whether what is said to be a hole is one.
func (x *fsx) seekHoles() error {
	at := x.position(int64(len(x.model)))
	x.told("look for what is behind %d", at)
	end := int64(len(x.model))
	data, err := unix.Seek(x.fd, at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data, err = end, nil
	}
	if err != nil {
		return fmt.Errorf("SEEK_DATA: %w", err)
	}
	if data < at || data > end || len(bytes.Trim(x.model[at:data], "\x00")) > 0 {
		return fmt.Errorf("the hole from %d to %d has something in it", at, data)
	}
	hole, err := unix.Seek(x.fd, at, unix.SEEK_HOLE)
	if at == end {
		if !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("SEEK_HOLE at the end: %w", err)
		}
		return nil
	}
	if err != nil || hole < at || hole > end {
		return fmt.Errorf("the hole behind %d is at %d: %w", at, hole, err)
	}
	return nil
}

func (x *fsx) copyRange() error {
	from, to := x.span()
	at := x.position(fsxLargest - (to - from))
	if from == to || at < to && from < at+to-from {
		return nil // parts that overlap are refused
	}
	x.told("copy %d from %d to %d", to-from, from, at)
	in, out := from, at
	for left := int(to - from); left > 0; {
		n, err := unix.CopyFileRange(x.fd, &in, x.fd, &out, left, 0)
		if err != nil || n == 0 {
			return fmt.Errorf("%d left: %w", left, err)
		}
		left -= n
	}
	x.grow(at + to - from)
	copy(x.model[at:], x.model[from:to])
	return nil
}

func (x *fsx) dropCache() error {
	x.told("drop what is cached")
	return errors.Join(unix.Fdatasync(x.fd), unix.Fadvise(x.fd, 0, 0, unix.FADV_DONTNEED))
}

func (x *fsx) size() error {
	x.told("stat")
	var one, two unix.Stat_t
	if err := errors.Join(unix.Fstat(x.fd, &one), unix.Stat(x.path, &two)); err != nil {
		return err
	}
	if one.Size != int64(len(x.model)) || two.Size != one.Size {
		return fmt.Errorf("it is %d and %d bytes long instead of %d", one.Size, two.Size, len(x.model))
	}
	return nil
}

// whole compares all of the file, as another program sees it.
func (x *fsx) whole() error {
	x.told("read it whole")
	b, err := os.ReadFile(x.path)
	if err != nil {
		return err
	}
	if len(b) != len(x.model) {
		return fmt.Errorf("it is %d bytes long instead of %d", len(b), len(x.model))
	}
	return x.compare(b, 0)
}
