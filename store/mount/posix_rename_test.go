//go:build linux

package mount_test

import (
	"os"

	"golang.org/x/sys/unix"
)

// rename notes how renameat2 ended.
func (p *probe) rename(from, to string, flags uint) {
	p.err("rename "+from+" "+to, unix.Renameat2(unix.AT_FDCWD, p.at(from), unix.AT_FDCWD, p.at(to), flags))
}

// kinds makes one of each kind: f, g files, d, e empty directories, full and full2
// directories with something in them, l a link to f.
func (p *probe) kinds() {
	p.t.Helper()
	p.file("f", "f")
	p.file("g", "other g")
	p.mkdir("d", "e", "full", "full2")
	p.file("full/x", "x")
	p.file("full2/y", "y")
	p.must(os.Symlink("f", p.at("l")))
	p.must(os.Symlink("nothing", p.at("m")))
}

// renamed is a case of one rename among kinds.
func renamed(what, from, to string, flags uint) posixCase {
	return posixCase{what, func(p *probe) {
		p.kinds()
		p.rename(from, to, flags)
		p.tree()
	}}
}

var renameCases = []posixCase{
	renamed("to a new name", "f", "new", 0),
	renamed("a directory to a new name", "full", "new", 0),
	renamed("a link to a new name", "l", "new", 0),
	renamed("into a directory", "f", "d/f", 0),
	renamed("out of a directory", "full/x", "x", 0),
	renamed("between directories", "full/x", "full2/z", 0),
	renamed("file over file", "f", "g", 0),
	renamed("file over link", "f", "l", 0),
	renamed("link over file", "l", "g", 0),
	renamed("link over what it points to", "l", "f", 0),
	renamed("link over link", "l", "m", 0),
	renamed("link over directory", "l", "d", 0),
	renamed("directory over link", "d", "l", 0),
	renamed("file over directory", "f", "d", 0),
	renamed("file over full directory", "f", "full", 0),
	renamed("directory over file", "d", "f", 0),
	renamed("directory over empty directory", "full", "d", 0),
	renamed("directory over full directory", "d", "full", 0),
	renamed("full directory over full directory", "full", "full2", 0),
	renamed("directory into itself", "full", "full/new", 0),
	renamed("directory over a part of itself", "full", "full/x", 0),
	renamed("directory over its parent", "full/x", "full", 0),
	renamed("to itself", "f", "f", 0),
	renamed("directory to itself", "full", "full", 0),
	renamed("what is not there", "nothing", "new", 0),
	renamed("what is not there over a file", "nothing", "f", 0),
	renamed("to a directory that is not there", "f", "nothing/f", 0),
	renamed("below a file", "f", "g/f", 0),
	renamed("by another case", "f", "F", 0),
	renamed("without replacing, to a new name", "f", "new", unix.RENAME_NOREPLACE),
	renamed("without replacing, over a file", "f", "g", unix.RENAME_NOREPLACE),
	renamed("without replacing, over an empty directory", "e", "d", unix.RENAME_NOREPLACE),
	renamed("without replacing, to itself", "f", "f", unix.RENAME_NOREPLACE),
	renamed("without replacing, what is not there", "nothing", "new", unix.RENAME_NOREPLACE),
	renamed("without replacing, over a dangling link", "f", "m", unix.RENAME_NOREPLACE),
	renamed("exchange files", "f", "g", unix.RENAME_EXCHANGE),
	renamed("exchange a file and a directory", "f", "full", unix.RENAME_EXCHANGE),
	renamed("exchange full directories", "full", "full2", unix.RENAME_EXCHANGE),
	renamed("exchange with what is not there", "f", "new", unix.RENAME_EXCHANGE),
	renamed("exchange with itself", "f", "f", unix.RENAME_EXCHANGE),
	renamed("exchange with a part of itself", "full", "full/x", unix.RENAME_EXCHANGE),
	renamed("exchange a file and a link", "f", "l", unix.RENAME_EXCHANGE),
	renamed("exchange between directories", "full/x", "full2/y", unix.RENAME_EXCHANGE),
	renamed("exchange and do not replace", "f", "g", unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE),
	renamed("with flags that are none", "f", "g", 1<<20),
	{"deep into itself", func(p *probe) {
		p.must(os.MkdirAll(p.at("a/b/c/d"), 0o755))
		p.rename("a", "a/b/c/d/a", 0)
		p.rename("a/b", "a/b/c/x", 0)
		p.rename("a/b/c/d", "d", 0)
		p.rename("a", "d/a", 0)
		p.tree()
	}},
	{"a file that is open", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "before ")
		p.rename("f", "g", 0)
		p.put(fd, "after")
		p.text("g")
		p.shut(fd)
		p.tree()
	}},
	{"over a file that is open", func(p *probe) {
		p.kinds()
		fd := p.open("g", unix.O_RDWR)
		p.rename("f", "g", 0)
		p.read(fd, 20, 0)
		p.write(fd, "mine", 0)
		p.fstat(fd)
		p.err("fsync", unix.Fsync(fd))
		p.read(fd, 20, 0)
		p.shut(fd)
		p.text("g")
	}},
	{"over a file that was written and not closed", func(p *probe) {
		p.file("f", "f")
		fd := p.open("g", readWrite)
		p.put(fd, "unsaved")
		p.rename("f", "g", 0)
		p.put(fd, " still")
		p.shut(fd)
		p.tree()
	}},
	{"a written file over a file, then close", func(p *probe) {
		p.file("f", "old")
		fd := p.open("f.new", readWrite)
		p.put(fd, "new")
		p.rename("f.new", "f", 0)
		p.text("f")
		p.shut(fd)
		p.tree()
	}},
	{"a directory with an open file", func(p *probe) {
		p.mkdir("d", "e")
		fd := p.open("d/f", readWrite)
		p.rename("d", "e/moved", 0)
		p.put(fd, "text")
		p.shut(fd)
		p.tree()
	}},
	{"an open directory", func(p *probe) {
		p.kinds()
		fd := p.open("full", unix.O_RDONLY|unix.O_DIRECTORY)
		p.rename("full", "d/moved", 0)
		p.openat(fd, "new", readWrite)
		p.tree()
	}},
	{"over an open empty directory", func(p *probe) {
		p.kinds()
		fd := p.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		p.rename("full", "d", 0)
		p.openat(fd, "new", readWrite)
		p.tree()
	}},
	{"one name of a file over another", func(p *probe) {
		p.file("f", "text")
		p.link("f", "g")
		p.rename("f", "g", 0)
		p.tree()
		p.rename("f", "g", unix.RENAME_EXCHANGE)
		p.tree()
	}},
	{"over one name of a file", func(p *probe) {
		p.file("f", "text")
		p.link("f", "g")
		p.file("h", "other")
		p.rename("h", "g", 0)
		p.tree()
	}},
	{"keeps the number and the time", func(p *probe) {
		p.kinds()
		for _, n := range []string{"f", "full", "l"} {
			before := p.stat(n)
			p.rename(n, n+" moved", 0)
			after := p.stat(n + " moved")
			p.note("same number %v, same time %v", before.Ino == after.Ino, before.Mtim == after.Mtim)
		}
	}},
	{"back and forth", func(p *probe) {
		p.kinds()
		for range 20 {
			p.rename("full/x", "full2/x", 0)
			p.rename("full", "d/full", 0)
			p.rename("d/full", "full", 0)
			p.rename("full2/x", "full/x", 0)
		}
		p.tree()
	}},
	{"names in a circle", func(p *probe) {
		p.file("a", "a")
		p.file("b", "b")
		p.rename("a", "t", 0)
		p.rename("b", "a", 0)
		p.rename("t", "b", 0)
		p.tree()
	}},
}
