//go:build linux

package mount_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// posixCase does something in an empty directory and notes what came of it. What it
// notes on the drive must be what it notes on the local file system.
type posixCase struct {
	name string
	run  func(p *probe)
}

// The drive answers like the local file system, which is the oracle.
func TestPOSIX(t *testing.T) {
	drive := mounted(t)
	defer unix.Umask(unix.Umask(0o022))
	reachable(t, drive)
	for _, group := range posixGroups {
		for i, c := range group.cases {
			t.Run(group.name+"/"+c.name, func(t *testing.T) {
				dir := t.TempDir()
				reachable(t, dir)
				want, here := probed(t, dir, c)
				if !here {
					t.Skipf("the local file system has no %s", want[0])
				}
				dir = filepath.Join(drive, fmt.Sprint(group.name, i))
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				got, there := probed(t, dir, c)
				if !there {
					t.Skipf("the drive has no %s", got[0])
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the local file system (-) and the drive (+) differ:\n%s", diff)
				}
			})
		}
	}
}

// reachable lets other users come to dir, which lies in a directory of the test's.
func reachable(t *testing.T, dir string) {
	t.Helper()
	for up := filepath.Dir(dir); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// posixGroups are all cases.
var posixGroups = []struct {
	name  string
	cases []posixCase
}{
	{"open", openCases},
	{"names", nameCases},
	{"rename", renameCases},
	{"links", linkCases},
	{"directories", directoryCases},
	{"attributes", attributeCases},
	{"times", timeCases},
	{"rights", rightsCases},
	{"xattr", xattrCases},
	{"content", contentCases},
	{"sparse", sparseCases},
	{"mmap", mmapCases},
	{"locks", lockCases},
	{"special", specialCases},
}

// probed runs a case in dir and returns what it noted; ok is false, and the note says
// what is missing, where the file system lacks something it may lack.
func probed(t *testing.T, dir string, c posixCase) (notes []string, ok bool) {
	t.Helper()
	p := &probe{t: t, dir: dir}
	defer p.close()
	defer func() {
		if r := recover(); r != nil {
			what, is := r.(lacking)
			if !is {
				panic(r)
			}
			notes, ok = []string{string(what)}, false
		}
	}()
	c.run(p)
	return p.notes, true
}

// lacking is what a file system may lack.
type lacking string

// probe is the directory that a case works in, and its notes.
type probe struct {
	t     *testing.T
	dir   string
	notes []string
	fds   []int
}

func (p *probe) close() {
	for _, fd := range p.fds {
		_ = unix.Close(fd)
	}
}

// at returns the path of a name, which is left as it is.
func (p *probe) at(name string) string { return p.dir + "/" + name }

// note notes a line.
func (p *probe) note(format string, args ...any) {
	p.notes = append(p.notes, strings.ReplaceAll(fmt.Sprintf(format, args...), p.dir, "DIR"))
}

// err notes how something ended.
func (p *probe) err(what string, err error) { p.note("%s: %s", what, errnoName(err)) }

// errnoName returns "ok", the symbol of an errno, or what else an error says.
func errnoName(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// must ends the test where what a case builds on fails.
func (p *probe) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", p.dir, err)
	}
}

// may ends the case where err says that a file system lacks what.
func (p *probe) may(what string, err error) {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		panic(lacking(what))
	}
	p.err(what, err)
}

// open opens a file, notes how that ended, and returns its descriptor, or -1.
func (p *probe) open(name string, flags int) int { return p.openMode(name, flags, 0o644) }

func (p *probe) openMode(name string, flags int, mode uint32) int {
	fd, err := unix.Open(p.at(name), flags|unix.O_CLOEXEC, mode)
	p.err("open "+name, err)
	if err != nil {
		return -1
	}
	p.fds = append(p.fds, fd)
	return fd
}

// openat is open of a name in an open directory.
func (p *probe) openat(dir int, name string, flags int) int {
	fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0o644)
	p.err(fmt.Sprintf("openat %.20s", name), err)
	if err != nil {
		return -1
	}
	p.fds = append(p.fds, fd)
	return fd
}

// shut closes a descriptor of open.
func (p *probe) shut(fd int) {
	p.fds = slices.DeleteFunc(p.fds, func(f int) bool { return f == fd })
	p.err("close", unix.Close(fd))
}

// file makes a file.
func (p *probe) file(name, text string) {
	p.t.Helper()
	p.must(os.WriteFile(p.at(name), []byte(text), 0o644))
}

// mkdir makes directories.
func (p *probe) mkdir(names ...string) {
	p.t.Helper()
	for _, n := range names {
		p.must(os.Mkdir(p.at(n), 0o755))
	}
}

// stat notes what lstat says of a file: type, rights, size and number of names. Sizes
// of directories are each file system's own, and so are their numbers of names.
func (p *probe) stat(name string) unix.Stat_t {
	var st unix.Stat_t
	err := unix.Lstat(p.at(name), &st)
	p.noteStat("stat "+name, &st, err)
	return st
}

// fstat is stat of an open file.
func (p *probe) fstat(fd int) unix.Stat_t {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	p.noteStat("fstat", &st, err)
	return st
}

func (p *probe) noteStat(what string, st *unix.Stat_t, err error) {
	switch {
	case err != nil:
		p.err(what, err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		p.note("%s: mode %o uid %d gid %d", what, st.Mode, st.Uid, st.Gid)
	default:
		p.note("%s: mode %o size %d nlink %d uid %d gid %d", what, st.Mode, st.Size, st.Nlink, st.Uid, st.Gid)
	}
}

// text notes what a file holds.
func (p *probe) text(name string) {
	b, err := os.ReadFile(p.at(name))
	p.noteBytes("read "+name, b, err)
}

// noteBytes notes bytes, long ones by their length and where they are not zero.
func (p *probe) noteBytes(what string, b []byte, err error) {
	switch {
	case err != nil:
		p.err(what, err)
	case len(b) <= 64:
		p.note("%s: %q", what, b)
	default:
		p.note("%s: %d bytes, %d of them zero, first other %q", what, len(b), bytes.Count(b, []byte{0}), firstText(b))
	}
}

// firstText returns up to 16 bytes of b from the first that is not zero.
func firstText(b []byte) []byte {
	b = bytes.TrimLeft(b, "\x00")
	return b[:min(16, len(b))]
}

// read notes what pread gives.
func (p *probe) read(fd int, n int, off int64) {
	b := make([]byte, n)
	got, err := unix.Pread(fd, b, off)
	p.noteBytes(fmt.Sprintf("pread %d at %d", n, off), b[:max(0, got)], err)
}

// write notes how pwrite ended.
func (p *probe) write(fd int, text string, off int64) {
	n, err := unix.Pwrite(fd, []byte(text), off)
	p.note("pwrite %q at %d: %d %s", text, off, n, errnoName(err))
}

// put notes how write(2), at the descriptor's offset, ended.
func (p *probe) put(fd int, text string) {
	n, err := unix.Write(fd, []byte(text))
	p.note("write %q: %d %s", text, n, errnoName(err))
}

// list notes the names in a directory, in their order in the alphabet.
func (p *probe) list(name string) {
	entries, err := os.ReadDir(p.at(name))
	if err != nil {
		p.err("list "+name, err)
		return
	}
	for _, e := range entries {
		p.note("%s has %q, %v", name, e.Name(), e.Type())
	}
}

// tree notes all names below the directory of the case, and what the files hold.
func (p *probe) tree() {
	err := filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(p.dir, path)
		if err != nil {
			return err
		}
		p.stat(name)
		switch {
		case e.Type().IsRegular():
			p.text(name)
		case e.Type()&fs.ModeSymlink != 0:
			p.readlink(name)
		}
		return nil
	})
	p.err("walk", err)
}

func (p *probe) readlink(name string) {
	target, err := os.Readlink(p.at(name))
	if err == nil && len(target) > 100 {
		target = fmt.Sprintf("%d bytes, %s", len(target), target[:20])
	}
	p.note("readlink %s: %s %s", name, target, errnoName(err))
}

// as does something with the rights of another user. Only this thread is changed, and
// only what file systems look at: setfsuid(2).
func (p *probe) as(uid, gid int, do func()) {
	if os.Geteuid() != 0 {
		panic(lacking("other users without root"))
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p.must(unix.Setfsgid(gid))
	p.must(unix.Setfsuid(uid))
	defer func() {
		p.must(unix.Setfsuid(0))
		p.must(unix.Setfsgid(0))
	}()
	do()
}
