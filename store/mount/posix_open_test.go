//go:build linux

package mount_test

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const readWrite = unix.O_RDWR | unix.O_CREAT

var openCases = []posixCase{
	{"missing", func(p *probe) { p.open("f", unix.O_RDONLY) }},
	{"in a directory that is not there", func(p *probe) { p.open("d/f", readWrite) }},
	{"in a directory that is a file", func(p *probe) { p.file("d", ""); p.open("d/f", readWrite) }},
	{"create", func(p *probe) {
		p.fstat(p.open("f", readWrite))
		p.stat("f")
	}},
	{"create exclusively", func(p *probe) {
		p.open("f", readWrite|unix.O_EXCL)
		p.open("f", readWrite|unix.O_EXCL)
	}},
	{"create exclusively over a directory", func(p *probe) { p.mkdir("d"); p.open("d", readWrite|unix.O_EXCL) }},
	{"create exclusively over a dangling link", func(p *probe) {
		p.must(os.Symlink("nothing", p.at("l")))
		p.open("l", readWrite|unix.O_EXCL)
		p.stat("nothing")
	}},
	{"create through a dangling link", func(p *probe) {
		p.must(os.Symlink("there", p.at("l")))
		p.open("l", readWrite)
		p.tree()
	}},
	{"create over a directory", func(p *probe) { p.mkdir("d"); p.open("d", unix.O_RDONLY|unix.O_CREAT) }},
	{"create with a slash at the end", func(p *probe) { p.open("f/", readWrite) }},
	{"a file with a slash at the end", func(p *probe) { p.file("f", ""); p.open("f/", unix.O_RDONLY) }},
	{"create what must be a directory", func(p *probe) { p.open("f", readWrite|unix.O_DIRECTORY); p.list(".") }},
	{"create without rights", func(p *probe) {
		fd := p.openMode("f", readWrite, 0)
		p.put(fd, "still writable")
		p.fstat(fd)
		p.shut(fd)
		p.text("f")
	}},
	{"create read-only and write", func(p *probe) {
		fd := p.openMode("f", readWrite|unix.O_EXCL, 0o444)
		p.put(fd, "like git and cp do")
		p.shut(fd)
		p.stat("f")
		p.text("f")
	}},
	{"create with all bits of rights", func(p *probe) {
		p.openMode("f", readWrite, 0o7777)
		p.stat("f")
	}},
	{"truncate", func(p *probe) {
		p.file("f", "before")
		fd := p.open("f", unix.O_WRONLY|unix.O_TRUNC)
		p.fstat(fd)
		p.put(fd, "a")
		p.shut(fd)
		p.text("f")
	}},
	{"truncate while others have it open", func(p *probe) {
		p.file("f", "before")
		fd := p.open("f", unix.O_RDONLY)
		p.read(fd, 10, 0)
		p.open("f", unix.O_WRONLY|unix.O_TRUNC)
		p.read(fd, 10, 0)
		p.fstat(fd)
	}},
	{"truncate and create exclusively", func(p *probe) {
		p.open("f", readWrite|unix.O_TRUNC|unix.O_EXCL)
		p.stat("f")
	}},
	{"truncate a directory", func(p *probe) { p.mkdir("d"); p.open("d", unix.O_WRONLY|unix.O_TRUNC) }},
	{"write to a directory", func(p *probe) { p.mkdir("d"); p.open("d", unix.O_WRONLY); p.open("d", unix.O_RDWR) }},
	{"read a directory", func(p *probe) {
		p.mkdir("d")
		fd := p.open("d", unix.O_RDONLY)
		p.fstat(fd)
		p.read(fd, 10, 0)
	}},
	{"a directory that must be one", func(p *probe) {
		p.mkdir("d")
		p.file("f", "")
		p.must(os.Symlink("d", p.at("l")))
		p.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		p.open("f", unix.O_RDONLY|unix.O_DIRECTORY)
		p.open("l", unix.O_RDONLY|unix.O_DIRECTORY)
		p.open("l", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	}},
	{"do not follow", func(p *probe) {
		p.file("f", "")
		p.must(os.Symlink("f", p.at("l")))
		p.open("f", unix.O_RDONLY|unix.O_NOFOLLOW)
		p.open("l", unix.O_RDONLY|unix.O_NOFOLLOW)
		p.open("l", readWrite|unix.O_NOFOLLOW)
	}},
	{"append from two descriptors", func(p *probe) {
		one := p.open("f", unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND)
		two := p.open("f", unix.O_WRONLY|unix.O_APPEND)
		for i := range 6 {
			p.put([]int{one, two}[i%2], fmt.Sprint(i, ";"))
		}
		p.text("f")
	}},
	{"append behind what another wrote", func(p *probe) {
		one := p.open("f", unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND)
		p.put(one, "ab")
		two := p.open("f", unix.O_RDWR)
		p.write(two, "far", 100)
		p.put(one, "end")
		p.must(unix.Ftruncate(two, 3))
		p.put(one, "again")
		p.text("f")
	}},
	{"append ignores where", func(p *probe) {
		p.file("f", "0123456789")
		fd := p.open("f", unix.O_RDWR|unix.O_APPEND)
		p.write(fd, "x", 2)
		_, err := unix.Seek(fd, 1, 0)
		p.err("seek", err)
		p.put(fd, "y")
		at, err := unix.Seek(fd, 0, 1)
		p.note("at %d %s", at, errnoName(err))
		p.text("f")
	}},
	{"write what is open to be read", func(p *probe) {
		p.file("f", "text")
		fd := p.open("f", unix.O_RDONLY)
		p.put(fd, "x")
		p.err("ftruncate", unix.Ftruncate(fd, 1))
		p.text("f")
	}},
	{"read what is open to be written", func(p *probe) {
		p.file("f", "text")
		p.read(p.open("f", unix.O_WRONLY), 4, 0)
	}},
	{"a temporary file without a name", func(p *probe) {
		fd, err := unix.Open(p.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		p.may("O_TMPFILE", err)
		p.fds = append(p.fds, fd)
		p.put(fd, "hidden")
		p.fstat(fd)
		p.list(".")
		p.err("linkat", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, p.at("f"), unix.AT_SYMLINK_FOLLOW))
		p.tree()
	}},
	{"a path only", func(p *probe) {
		p.file("f", "text")
		fd := p.open("f", unix.O_PATH)
		p.fstat(fd)
		p.read(fd, 4, 0)
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		p.err("open again", err)
		p.read(again, 4, 0)
		p.must(unix.Close(again))
		p.must(os.Remove(p.at("f")))
		p.fstat(fd)
	}},
	{"a path of a link", func(p *probe) {
		p.must(os.Symlink("nothing", p.at("l")))
		p.fstat(p.open("l", unix.O_PATH|unix.O_NOFOLLOW))
	}},
	{"relative to a directory", func(p *probe) {
		p.mkdir("d")
		p.file("d/f", "in d")
		d := p.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		p.must(os.Rename(p.at("d"), p.at("e")))
		fd := p.openat(d, "f", unix.O_RDWR)
		p.read(fd, 10, 0)
		p.err("mkdirat", unix.Mkdirat(d, "new", 0o755))
		p.err("unlinkat", unix.Unlinkat(d, "f", 0))
		p.openat(d, "../e/new", unix.O_RDONLY)
		p.tree()
	}},
	{"relative to a file", func(p *probe) {
		p.file("f", "")
		p.openat(p.open("f", unix.O_RDONLY), "g", readWrite)
	}},
	{"beneath a directory", func(p *probe) {
		p.mkdir("d")
		p.file("f", "")
		d := p.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		_, err := unix.Openat2(d, "../f", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
		p.err("openat2", err)
	}},
	{"synchronously", func(p *probe) {
		for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC} {
			fd := p.open("f", readWrite|flag)
			p.put(fd, "safe")
			p.text("f")
		}
	}},
	{"two descriptors share an offset", func(p *probe) {
		fd := p.open("f", readWrite)
		two, err := unix.Dup(fd)
		p.must(err)
		p.fds = append(p.fds, two)
		p.put(fd, "ab")
		p.put(two, "cd")
		p.text("f")
	}},
	{"again by the descriptor's path", func(p *probe) {
		p.file("f", "text")
		fd := p.open("f", unix.O_RDONLY)
		p.must(os.Remove(p.at("f")))
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
		p.err("open again", err)
		p.fds = append(p.fds, again)
		p.write(again, "T", 0)
		p.read(fd, 4, 0)
	}},
	{"unlinked and still used", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "before ")
		p.err("unlink", unix.Unlink(p.at("f")))
		p.put(fd, "after")
		p.fstat(fd)
		p.read(fd, 20, 0)
		p.err("fsync", unix.Fsync(fd))
		p.err("ftruncate", unix.Ftruncate(fd, 3))
		p.fstat(fd)
		p.err("fchmod", unix.Fchmod(fd, 0o600))
		p.fstat(fd)
		p.shut(fd)
		p.list(".")
	}},
	{"unlinked and made anew", func(p *probe) {
		old := p.open("f", readWrite)
		p.put(old, "old")
		p.must(unix.Unlink(p.at("f")))
		fresh := p.open("f", readWrite|unix.O_EXCL)
		p.put(fresh, "fresh")
		p.read(old, 9, 0)
		p.read(fresh, 9, 0)
		p.fstat(old)
		p.fstat(fresh)
		p.shut(old)
		p.text("f")
	}},
	{"unlinked, from two descriptors", func(p *probe) {
		p.file("f", "text")
		one, two := p.open("f", unix.O_RDWR), p.open("f", unix.O_RDWR)
		p.must(unix.Unlink(p.at("f")))
		p.shut(one)
		p.write(two, "more", 4)
		p.read(two, 9, 0)
		p.fstat(two)
	}},
	{"linked again after it was unlinked", func(p *probe) {
		p.file("f", "text")
		fd := p.open("f", unix.O_RDWR)
		p.must(unix.Unlink(p.at("f")))
		p.err("linkat", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, p.at("g"), unix.AT_SYMLINK_FOLLOW))
		p.tree()
	}},
}
