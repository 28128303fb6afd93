//go:build linux

package mount_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Operations by chance on the drive and on the local file system end alike, and leave
// the same trees. AETHER_TREES_OPS says how many.
func TestTrees(t *testing.T) {
	drive, again := remountable(t)
	s, n := seed(t, "AETHER_TREES_SEED"), int(setting(t, "AETHER_TREES_OPS", 6000))
	// Links may point two directories up.
	roots := [2]string{filepath.Join(t.TempDir(), "in", "side"), filepath.Join(drive, "in", "side")}
	for _, root := range roots {
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	x := &twins{rng: rand.New(rand.NewPCG(s, 2)), roots: roots, links: hasLinks(t, drive)}
	for i := range n {
		if err := x.step(); err != nil {
			t.Fatalf("operation %d: %v; the last were\n%s", i, err, strings.Join(x.last, "\n"))
		}
		if i%200 == 199 || i == n-1 {
			if err := x.same(); err != nil {
				t.Fatalf("after operation %d: %v; the last were\n%s", i, err, strings.Join(x.last, "\n"))
			}
		}
	}
	t.Logf("%d of %d operations did something", x.done, n)
	if x.done < n/5 {
		t.Error("too few to tell something")
	}
	for len(x.open) > 0 {
		if err := x.shut(); err != nil {
			t.Fatal(err)
		}
	}
	again()
	if err := x.same(); err != nil {
		t.Fatalf("after mounting again: %v", err)
	}
}

// twins are two trees to which the same is done.
type twins struct {
	rng   *rand.Rand
	roots [2]string // the oracle, the drive
	links bool      // files can have several names
	open  []twinFile
	last  []string
	done  int // operations that did something
}

// twinFile is a file that is open in both.
type twinFile struct {
	name string
	fds  [2]int
}

// twinOps are the operations and how often each comes.
var twinOps = []struct {
	weight int
	do     func(x *twins) error
}{
	{14, (*twins).create},
	{8, (*twins).hold},
	{10, (*twins).writeHeld},
	{6, (*twins).readHeld},
	{5, (*twins).shut},
	{10, (*twins).mkdir},
	{16, (*twins).rename},
	{8, (*twins).unlink},
	{5, (*twins).rmdir},
	{6, (*twins).link},
	{5, (*twins).symlink},
	{6, (*twins).chmod},
	{3, (*twins).chown},
	{4, (*twins).touch},
	{6, (*twins).truncate},
	{6, (*twins).xattr},
	{3, (*twins).list},
	{2, (*twins).removeAll},
}

func (x *twins) step() error {
	total := 0
	for _, op := range twinOps {
		total += op.weight
	}
	at := x.rng.IntN(total)
	for _, op := range twinOps {
		if at -= op.weight; at < 0 {
			return op.do(x)
		}
	}
	return nil
}

// name returns a path of up to four short names: often one that was used before.
func (x *twins) name() string {
	parts := make([]string, 1+min(x.rng.IntN(4), x.rng.IntN(4)))
	for i := range parts {
		parts[i] = string(rune('a' + x.rng.IntN(4)))
	}
	return strings.Join(parts, "/")
}

// both does something to both trees and compares how it ended.
func (x *twins) both(what string, do func(i int, root string) error) error {
	if len(x.last) == 30 {
		x.last = x.last[1:]
	}
	var ends [2]string
	for i, root := range x.roots {
		ends[i] = errnoName(do(i, root+"/"))
	}
	x.last = append(x.last, fmt.Sprintf("%s: %s", what, ends[0]))
	if !strings.HasPrefix(ends[0], "E") {
		x.done++
	}
	if ends[0] != ends[1] {
		return fmt.Errorf("%s ended with %s instead of %s", what, ends[1], ends[0])
	}
	return nil
}

// text returns something that no other operation writes.
func (x *twins) text() []byte {
	n := x.rng.IntN(3000)
	if x.rng.IntN(8) == 0 {
		n = x.rng.IntN(300_000)
	}
	mark := fmt.Sprintf("%08x.", x.rng.Uint32())
	return []byte(strings.Repeat(mark, n/len(mark)+1))
}

func (x *twins) create() error {
	name, text := x.name(), x.text()
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_CLOEXEC | []int{0, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND}[x.rng.IntN(4)]
	return x.both(fmt.Sprintf("write %d to %s, flags %x", len(text), name, flags), func(_ int, root string) error {
		fd, err := unix.Open(root+name, flags, 0o666)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, text)
		return errors.Join(err, unix.Close(fd))
	})
}

// hold opens a file and leaves it open.
func (x *twins) hold() error {
	if len(x.open) > 20 {
		return x.shut()
	}
	f := twinFile{name: x.name(), fds: [2]int{-1, -1}}
	err := x.both("open "+f.name, func(i int, root string) (err error) {
		f.fds[i], err = unix.Open(root+f.name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o640)
		return err
	})
	if f.fds[0] >= 0 && f.fds[1] >= 0 {
		x.open = append(x.open, f)
	}
	return err
}

// held returns a file that is open; ok is false where there is none.
func (x *twins) held() (f twinFile, ok bool) {
	if len(x.open) == 0 {
		return f, false
	}
	return x.open[x.rng.IntN(len(x.open))], true
}

func (x *twins) writeHeld() error {
	f, ok := x.held()
	if !ok {
		return nil
	}
	text, at := x.text(), int64(x.rng.IntN(200_000))
	return x.both(fmt.Sprintf("write %d at %d to the open %s", len(text), at, f.name), func(i int, _ string) error {
		_, err := unix.Pwrite(f.fds[i], text, at)
		return err
	})
}

func (x *twins) readHeld() error {
	f, ok := x.held()
	if !ok {
		return nil
	}
	at := int64(x.rng.IntN(200_000))
	return x.both(fmt.Sprintf("read at %d from the open %s", at, f.name), func(i int, _ string) error {
		var st unix.Stat_t
		b := make([]byte, 50_000)
		n, err := unix.Pread(f.fds[i], b, at)
		if err = errors.Join(err, unix.Fstat(f.fds[i], &st)); err != nil {
			return err
		}
		return fmt.Errorf("%d bytes, %x, size %d, mode %o, %d names", n, sha256.Sum256(b[:n]), st.Size, st.Mode, st.Nlink)
	})
}

func (x *twins) shut() error {
	if len(x.open) == 0 {
		return nil
	}
	at := x.rng.IntN(len(x.open))
	f := x.open[at]
	x.open = slices.Delete(x.open, at, at+1)
	return x.both("close "+f.name, func(i int, _ string) error { return unix.Close(f.fds[i]) })
}

func (x *twins) mkdir() error {
	name := x.name()
	return x.both("mkdir "+name, func(_ int, root string) error { return unix.Mkdir(root+name, 0o777) })
}

func (x *twins) rename() error {
	from, to := x.name(), x.name()
	flags := []uint{0, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[x.rng.IntN(6)]
	return x.both(fmt.Sprintf("rename %s to %s, flags %x", from, to, flags), func(_ int, root string) error {
		return unix.Renameat2(unix.AT_FDCWD, root+from, unix.AT_FDCWD, root+to, flags)
	})
}

func (x *twins) unlink() error {
	name := x.name()
	return x.both("unlink "+name, func(_ int, root string) error { return unix.Unlink(root + name) })
}

func (x *twins) rmdir() error {
	name := x.name()
	return x.both("rmdir "+name, func(_ int, root string) error { return unix.Rmdir(root + name) })
}

func (x *twins) link() error {
	if !x.links {
		return nil
	}
	from, to := x.name(), x.name()
	return x.both("link "+from+" to "+to, func(_ int, root string) error { return unix.Link(root+from, root+to) })
}

func (x *twins) symlink() error {
	target, name := []string{"nothing", "../a", "b", "./a/b", "../../c", "a"}[x.rng.IntN(6)], x.name()
	return x.both("symlink "+target+" from "+name, func(_ int, root string) error { return unix.Symlink(target, root+name) })
}

func (x *twins) chmod() error {
	name, mode := x.name(), x.rng.Uint32N(0o10000)
	return x.both(fmt.Sprintf("chmod %s %o", name, mode), func(_ int, root string) error { return unix.Chmod(root+name, mode) })
}

func (x *twins) chown() error {
	name, uid, gid := x.name(), x.rng.IntN(4)-1, x.rng.IntN(3)
	return x.both(fmt.Sprintf("chown %s %d %d", name, uid, gid), func(_ int, root string) error { return unix.Lchown(root+name, uid, gid) })
}

func (x *twins) touch() error {
	name, ts := x.name(), unix.Timespec{Sec: x.rng.Int64N(4_000_000_000), Nsec: x.rng.Int64N(1e9)}
	return x.both(fmt.Sprintf("touch %s %d", name, ts.Sec), func(_ int, root string) error {
		err := unix.UtimesNanoAt(unix.AT_FDCWD, root+name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
		var st unix.Stat_t
		if err = errors.Join(err, unix.Lstat(root+name, &st)); err == nil && st.Mtim != ts {
			return fmt.Errorf("its time is %d.%d instead of %d.%d", st.Mtim.Sec, st.Mtim.Nsec, ts.Sec, ts.Nsec)
		}
		return err
	})
}

func (x *twins) truncate() error {
	name, size := x.name(), x.rng.Int64N(100_000)
	return x.both(fmt.Sprintf("truncate %s to %d", name, size), func(_ int, root string) error { return unix.Truncate(root+name, size) })
}

func (x *twins) xattr() error {
	name, attribute := x.name(), fmt.Sprint("user.", x.rng.IntN(3))
	if x.rng.IntN(3) == 0 {
		return x.both("removexattr "+name+" "+attribute, func(_ int, root string) error { return unix.Removexattr(root+name, attribute) })
	}
	value, flags := fmt.Sprint(x.rng.Uint32()), x.rng.IntN(3)
	return x.both(fmt.Sprintf("setxattr %s %s, flags %d", name, attribute, flags), func(_ int, root string) error {
		return unix.Setxattr(root+name, attribute, []byte(value), flags)
	})
}

func (x *twins) list() error {
	name := x.name()
	return x.both("list "+name, func(_ int, root string) error {
		entries, err := os.ReadDir(root + name)
		if err != nil {
			return err
		}
		return fmt.Errorf("%v", entries)
	})
}

func (x *twins) removeAll() error {
	name := x.name()
	return x.both("remove all of "+name, func(_ int, root string) error { return os.RemoveAll(root + name) })
}

// same compares the trees.
func (x *twins) same() error {
	var trees [2][]string
	for i, root := range x.roots {
		var err error
		if trees[i], err = described(filepath.Dir(filepath.Dir(root))); err != nil {
			return err
		}
	}
	if diff := cmp.Diff(trees[0], trees[1]); diff != "" {
		return fmt.Errorf("the oracle (-) and the drive (+) differ:\n%s", diff)
	}
	return nil
}

// described returns a line of each file below root: all that can be known of it but
// its times and numbers.
func described(root string) (lines []string, err error) {
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s mode %o owner %d %d", path[len(root):], st.Mode, st.Uid, st.Gid)
		switch {
		case e.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" names %d size %d %.8x", st.Nlink, len(b), sha256.Sum256(b))
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " to " + target
		}
		attributes, err := xattrs(path)
		lines = append(lines, line+attributes)
		return err
	})
	return lines, err
}

// xattrs returns the extended attributes of a file that programs have set.
func xattrs(path string) (string, error) {
	b := make([]byte, 4096)
	n, err := unix.Llistxattr(path, b)
	if err != nil {
		return "", err
	}
	var all []string
	for name := range strings.SplitSeq(string(b[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		all = append(all, fmt.Sprintf(" %s=%s", name, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, ""), nil
}
