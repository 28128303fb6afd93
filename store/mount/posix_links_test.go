//go:build linux

package mount_test

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// link gives a file a second name, and ends the case where files have only one.
func (p *probe) link(from, to string) {
	err := unix.Link(p.at(from), p.at(to))
	if err == unix.EPERM {
		panic(lacking("hard links"))
	}
	p.err("link "+from+" "+to, err)
}

var linkCases = []posixCase{
	{"two names", func(p *probe) {
		p.file("f", "text")
		p.link("f", "g")
		p.note("same number %v", p.stat("f").Ino == p.stat("g").Ino)
		fd := p.open("g", unix.O_WRONLY)
		p.write(fd, "TEXT and more", 0)
		p.text("f")
		p.shut(fd)
		p.tree()
	}},
	{"remove one of two names", func(p *probe) {
		p.file("f", "text")
		p.link("f", "g")
		fd := p.open("f", unix.O_RDWR)
		p.err("unlink", unix.Unlink(p.at("f")))
		p.fstat(fd)
		p.write(fd, "T", 0)
		p.shut(fd)
		p.tree()
		p.err("unlink", unix.Unlink(p.at("g")))
		p.tree()
	}},
	{"in other directories", func(p *probe) {
		p.mkdir("d", "e")
		p.file("d/f", "text")
		p.link("d/f", "e/f")
		p.link("e/f", "g")
		p.err("remove d", os.RemoveAll(p.at("d")))
		p.tree()
	}},
	{"many names", func(p *probe) {
		p.file("f", "text")
		for i := range 100 {
			p.link("f", fmt.Sprint("name", i))
		}
		p.stat("f")
		for i := range 99 {
			p.must(os.Remove(p.at(fmt.Sprint("name", i))))
		}
		p.tree()
	}},
	{"over something", func(p *probe) {
		p.kinds()
		p.link("f", "fresh")
		for _, to := range []string{"f", "g", "d", "l", "m"} {
			p.link("f", to)
		}
		p.tree()
	}},
	{"of what is not there", func(p *probe) {
		p.file("f", "")
		p.err("link", unix.Link(p.at("nothing"), p.at("g")))
		p.err("link", unix.Link(p.at("f"), p.at("nothing/g")))
		p.err("link", unix.Link(p.at("f"), p.at("f/g")))
	}},
	{"of a directory", func(p *probe) {
		p.mkdir("d")
		p.err("link", unix.Link(p.at("d"), p.at("e")))
		p.list(".")
	}},
	{"of a link", func(p *probe) {
		p.kinds()
		p.link("l", "l2") // not what it points to
		p.stat("l2")
		p.err("linkat", unix.Linkat(unix.AT_FDCWD, p.at("l"), unix.AT_FDCWD, p.at("f2"), unix.AT_SYMLINK_FOLLOW))
		p.stat("f2")
		p.stat("f")
	}},
	{"share rights, times and attributes", func(p *probe) {
		p.file("f", "text")
		p.link("f", "g")
		p.must(os.Chmod(p.at("f"), 0o600))
		p.stat("g")
		p.must(unix.UtimesNano(p.at("g"), []unix.Timespec{{Sec: 5}, {Sec: 7, Nsec: 9}}))
		p.mtime("f")
		p.must(os.Truncate(p.at("f"), 2))
		p.stat("g")
		p.text("g")
	}},
	{"symbolic, relative and absolute", func(p *probe) {
		p.mkdir("d")
		p.file("d/f", "text")
		for i, target := range []string{"d/f", "./d/../d/f", p.at("d/f"), "d", "d/", ".", "..", "/", "nothing", " ", "ü☃"} {
			l := fmt.Sprint("l", i)
			p.err("symlink", unix.Symlink(target, p.at(l)))
			p.readlink(l)
			var st unix.Stat_t
			p.must(unix.Lstat(p.at(l), &st))
			p.note("mode %o, size is length %v", st.Mode, st.Size == int64(len(target)))
			_, err := os.Stat(p.at(l))
			p.err("follow", err)
		}
		p.text("l0")
		p.text("l3/f")
	}},
	{"symbolic, long", func(p *probe) {
		for _, n := range []int{1, 59, 60, 61, 255, 256, 1000, 4094, 4095, 4096, 5000} {
			l := fmt.Sprint("l", n)
			p.err("symlink", unix.Symlink(strings.Repeat("t", n), p.at(l)))
			p.stat(l)
			p.readlink(l)
		}
	}},
	{"symbolic, empty", func(p *probe) {
		p.err("symlink", unix.Symlink("", p.at("l")))
		p.list(".")
	}},
	{"symbolic, over something", func(p *probe) {
		p.kinds()
		for _, to := range []string{"f", "d", "l", "m", "full/x", "nothing/x"} {
			p.err("symlink "+to, unix.Symlink("t", p.at(to)))
		}
	}},
	{"symbolic, in a circle", func(p *probe) {
		p.must(os.Symlink("b", p.at("a")))
		p.must(os.Symlink("a", p.at("b")))
		p.must(os.Symlink("self", p.at("self")))
		p.open("a", unix.O_RDONLY)
		p.open("self", readWrite)
		p.open("self/x", unix.O_RDONLY)
		p.stat("a")
		p.err("unlink", unix.Unlink(p.at("a")))
		p.err("chmod", unix.Chmod(p.at("self"), 0o600))
	}},
	{"symbolic, in a chain", func(p *probe) {
		p.file("l0", "end")
		for i := range 45 {
			p.must(os.Symlink(fmt.Sprint("l", i), p.at(fmt.Sprint("l", i+1))))
		}
		p.open("l40", unix.O_RDONLY)
		p.open("l41", unix.O_RDONLY)
	}},
	{"readlink of what is none", func(p *probe) {
		p.kinds()
		b := make([]byte, 10)
		for _, n := range []string{"f", "d", "nothing", "f/x"} {
			_, err := unix.Readlink(p.at(n), b)
			p.err("readlink "+n, err)
		}
	}},
	{"readlink into little room", func(p *probe) {
		p.must(os.Symlink("0123456789", p.at("l")))
		b := make([]byte, 4)
		n, err := unix.Readlink(p.at("l"), b)
		p.note("%d %q %s", n, b, errnoName(err))
	}},
	{"a link replaced while it is kept", func(p *probe) {
		p.file("a", "a")
		p.file("b", "b")
		p.must(os.Symlink("a", p.at("l")))
		p.text("l")
		p.must(os.Symlink("b", p.at("l.new")))
		p.rename("l.new", "l", 0)
		p.readlink("l")
		p.text("l")
	}},
	{"unlink", func(p *probe) {
		p.kinds()
		for _, n := range []string{"f", "f", "d", "full", "l", "m", "nothing/x", "g/x"} {
			p.err("unlink "+n, unix.Unlink(p.at(n)))
		}
		p.tree()
	}},
	{"remove a directory with links in it", func(p *probe) {
		p.mkdir("d", "kept")
		p.file("kept/f", "text")
		p.must(os.Symlink("../kept", p.at("d/l")))
		p.err("remove", os.RemoveAll(p.at("d")))
		p.tree()
	}},
}
