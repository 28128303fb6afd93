//go:build linux

package mount_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dirent is an entry as getdents64(2) gives it.
type dirent struct {
	name string
	ino  uint64
	next int64 // where the reading goes on behind it
	kind byte
}

// dirents reads the next entries of an open directory, as many as fit into size bytes.
func (p *probe) dirents(fd, size int) (list []dirent) {
	b := make([]byte, size)
	n, err := unix.Getdents(fd, b)
	p.must(err)
	for b = b[:n]; len(b) > 0; {
		length := binary.NativeEndian.Uint16(b[16:])
		name, _, _ := strings.Cut(string(b[19:length]), "\x00")
		list = append(list, dirent{name, binary.NativeEndian.Uint64(b), int64(binary.NativeEndian.Uint64(b[8:])), b[18]})
		b = b[length:]
	}
	return list
}

// allDirents reads a directory from where it stands to its end.
func (p *probe) allDirents(fd, size int) (list []dirent) {
	for {
		more := p.dirents(fd, size)
		if len(more) == 0 {
			return list
		}
		list = append(list, more...)
	}
}

// noteNames notes the names of entries: how many there are, and whether one is double.
func (p *probe) noteNames(what string, list []dirent) {
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.name)
	}
	slices.Sort(names)
	all := len(names)
	names = slices.Compact(names)
	p.note("%s: %d, %d doubled", what, len(names), all-len(names))
	if len(names) < 20 {
		p.note("%q", names)
	}
}

// fill makes n files in a directory.
func (p *probe) fill(dir string, n int) {
	for i := range n {
		p.must(unix.Mknod(p.at(fmt.Sprintf("%s/f%05d", dir, i)), unix.S_IFREG|0o644, 0))
	}
}

func (p *probe) openDir(name string) int { return p.open(name, unix.O_RDONLY|unix.O_DIRECTORY) }

var directoryCases = []posixCase{
	{"make", func(p *probe) {
		p.err("mkdir", unix.Mkdir(p.at("d"), 0o755))
		p.err("mkdir again", unix.Mkdir(p.at("d"), 0o755))
		p.err("mkdir in nothing", unix.Mkdir(p.at("x/y"), 0o755))
		p.file("f", "")
		p.err("mkdir over a file", unix.Mkdir(p.at("f"), 0o755))
		p.err("mkdir in a file", unix.Mkdir(p.at("f/d"), 0o755))
		p.must(os.Symlink("nothing", p.at("l")))
		p.err("mkdir over a dangling link", unix.Mkdir(p.at("l"), 0o755))
		p.tree()
	}},
	{"make with rights", func(p *probe) {
		for _, mode := range []uint32{0, 0o700, 0o777, 0o1777, 0o2755, 0o7777} {
			p.err("mkdir", unix.Mkdir(p.at(fmt.Sprintf("d%o", mode)), mode))
			p.stat(fmt.Sprintf("d%o", mode))
		}
	}},
	{"remove", func(p *probe) {
		p.kinds()
		for _, n := range []string{"d", "d", "full", "f", "l", "full/x", "f/x", "nothing/x"} {
			p.err("rmdir "+n, unix.Rmdir(p.at(n)))
		}
		p.tree()
	}},
	{"remove and make anew", func(p *probe) {
		for range 10 {
			p.must(unix.Mkdir(p.at("d"), 0o755))
			p.file("d/f", "")
			p.must(os.RemoveAll(p.at("d")))
		}
		p.tree()
	}},
	{"remove while it is open", func(p *probe) {
		p.mkdir("d")
		fd := p.openDir("d")
		p.must(unix.Rmdir(p.at("d")))
		p.fstat(fd)
		p.openat(fd, "f", readWrite)
		p.err("mkdirat", unix.Mkdirat(fd, "e", 0o755))
		p.mkdir("d")
		p.file("d/f", "")
		p.openat(fd, "f", unix.O_RDONLY)
	}},
	{"a file where a directory was", func(p *probe) {
		p.mkdir("x")
		p.file("x/f", "")
		p.must(os.RemoveAll(p.at("x")))
		p.file("x", "now a file")
		p.stat("x/f")
		p.tree()
		p.must(os.Remove(p.at("x")))
		p.mkdir("x")
		p.stat("x/f")
		p.tree()
	}},
	{"rmdir by unlinkat", func(p *probe) {
		p.kinds()
		p.err("of a file", unix.Unlinkat(unix.AT_FDCWD, p.at("f"), unix.AT_REMOVEDIR))
		p.err("of a directory", unix.Unlinkat(unix.AT_FDCWD, p.at("d"), unix.AT_REMOVEDIR))
		p.err("of a full one", unix.Unlinkat(unix.AT_FDCWD, p.at("full"), unix.AT_REMOVEDIR))
	}},
	{"entries have numbers and kinds", func(p *probe) {
		p.kinds()
		p.must(unix.Mkfifo(p.at("pipe"), 0o644))
		for _, e := range p.allDirents(p.openDir("."), 4096) {
			var st unix.Stat_t
			p.must(unix.Lstat(p.at(e.name), &st))
			if e.name != ".." { // of which the directory of a mount may say what it likes
				p.note("same number %v, same kind %v", e.ino == st.Ino, uint32(e.kind)<<12 == st.Mode&unix.S_IFMT)
			}
		}
	}},
	{"dots are entries", func(p *probe) {
		p.mkdir("d")
		p.noteNames("entries", p.allDirents(p.openDir("d"), 4096))
	}},
	{"begin anew", func(p *probe) {
		p.fill(".", 10)
		fd := p.openDir(".")
		p.noteNames("first", p.allDirents(fd, 4096))
		p.noteNames("at the end", p.allDirents(fd, 4096))
		p.file("new", "")
		_, err := unix.Seek(fd, 0, 0)
		p.err("rewind", err)
		p.noteNames("anew", p.allDirents(fd, 4096))
	}},
	{"go back to an entry", func(p *probe) {
		p.fill(".", 500)
		fd := p.openDir(".")
		all := p.allDirents(fd, 512)
		for _, i := range []int{0, 1, 2, 250, len(all) - 2} {
			_, err := unix.Seek(fd, all[i].next, 0)
			p.err("seek", err)
			rest := p.allDirents(fd, 2048)
			p.note("goes on as before %v", slices.EqualFunc(rest, all[i+1:], func(a, b dirent) bool { return a.name == b.name }))
		}
	}},
	{"10000 entries", func(p *probe) {
		p.fill(".", 10_000)
		p.noteNames("entries", p.allDirents(p.openDir("."), 32<<10))
		p.stat("f09999")
		p.stat("f10000")
	}},
	{"remove all while reading", func(p *probe) {
		p.fill(".", 3000)
		fd := p.openDir(".")
		var seen []dirent
		for list := p.dirents(fd, 4096); len(list) > 0; list = p.dirents(fd, 4096) {
			seen = append(seen, list...)
			for _, e := range list {
				if e.name[0] != '.' {
					p.must(os.Remove(p.at(e.name)))
				}
			}
		}
		p.noteNames("seen", seen)
		p.list(".")
		p.must(os.Remove(p.dir))
		p.must(os.Mkdir(p.dir, 0o755))
	}},
	{"make more while reading", func(p *probe) {
		p.fill(".", 2000)
		fd := p.openDir(".")
		var old []dirent
		made := 0
		more := func(n int) {
			for ; made < n; made++ {
				p.must(unix.Mknod(p.at(fmt.Sprintf("%c%05d", "aez"[made%3], made)), unix.S_IFREG|0o644, 0))
			}
		}
		for list := p.dirents(fd, 4096); len(list) > 0; list = p.dirents(fd, 4096) {
			for _, e := range list {
				if e.name[0] == 'f' {
					old = append(old, e)
				}
			}
			more(min(made+20, 400))
		}
		more(400)
		p.noteNames("old", old)
		p.noteNames("all", p.allDirents(p.openDir("."), 32<<10))
	}},
	{"rename while reading", func(p *probe) {
		p.fill(".", 1000)
		p.mkdir("away")
		fd := p.openDir(".")
		var seen []dirent
		for list := p.dirents(fd, 4096); len(list) > 0; list = p.dirents(fd, 4096) {
			for _, e := range list {
				if e.name[0] == 'f' {
					seen = append(seen, e)
					p.must(os.Rename(p.at(e.name), p.at("away/"+e.name)))
				}
			}
		}
		p.noteNames("seen", seen)
		p.noteNames("away", p.allDirents(p.openDir("away"), 32<<10))
	}},
	{"a listing does not see what others removed", func(p *probe) {
		p.fill(".", 100)
		p.noteNames("before", p.allDirents(p.openDir("."), 32<<10))
		for i := range 50 {
			p.must(os.Remove(p.at(fmt.Sprintf("f%05d", i))))
		}
		p.noteNames("after", p.allDirents(p.openDir("."), 32<<10))
	}},
	{"fsync", func(p *probe) {
		fd := p.openDir(".")
		p.file("f", "")
		p.err("fsync", unix.Fsync(fd))
		p.err("fdatasync", unix.Fdatasync(fd))
		p.err("syncfs", unix.Syncfs(fd))
	}},
	{"what does not go with one", func(p *probe) {
		p.mkdir("d")
		fd := p.openDir("d")
		p.err("truncate", unix.Truncate(p.at("d"), 0))
		p.err("ftruncate", unix.Ftruncate(fd, 0))
		_, err := unix.Write(fd, []byte("x"))
		p.err("write", err)
		_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		p.err("mmap", err)
	}},
	{"its time goes with its entries", func(p *probe) {
		p.mkdir("d", "d/sub")
		p.file("d/f", "text")
		p.moves("make a file", "d", func() { p.file("d/g", "") })
		p.moves("write a file", "d", func() { p.file("d/g", "text") })
		p.moves("make a directory", "d", func() { p.mkdir("d/e") })
		p.moves("make a link", "d", func() { p.must(os.Symlink("x", p.at("d/l"))) })
		p.moves("rename", "d", func() { p.rename("d/g", "d/h", 0) })
		p.moves("move away", "d", func() { p.rename("d/h", "h", 0) })
		p.moves("move here", "d", func() { p.rename("h", "d/h", 0) })
		p.moves("replace", "d", func() { p.rename("d/h", "d/f", 0) })
		p.moves("unlink", "d", func() { p.must(os.Remove(p.at("d/f"))) })
		p.moves("rmdir", "d", func() { p.must(os.Remove(p.at("d/e"))) })
		p.moves("something deeper", "d", func() { p.file("d/sub/f", "") })
		p.moves("rights", "d", func() { p.must(os.Chmod(p.at("d"), 0o700)) })
	}},
}

// moves notes whether something sets the time of a file or directory.
func (p *probe) moves(what, name string, do func()) {
	p.t.Helper()
	p.must(unix.UtimesNano(p.at(name), []unix.Timespec{{Sec: 1000}, {Sec: 1000}}))
	do()
	var st unix.Stat_t
	p.must(unix.Lstat(p.at(name), &st))
	p.note("%s: the time of %s moves: %v", what, name, st.Mtim.Sec != 1000)
}
