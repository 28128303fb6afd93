//go:build linux

package mount_test

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// named is a case that makes a file of a name, and looks whether it is there under
// that name and no other.
func named(what, name string) posixCase {
	return posixCase{what, func(p *probe) {
		fd := p.open(name, readWrite|unix.O_EXCL)
		if fd < 0 {
			p.err("mkdir", unix.Mkdir(p.at(name), 0o755))
			p.err("symlink", unix.Symlink("x", p.at(name)))
			p.file("other", "")
			p.err("link", unix.Link(p.at("other"), p.at(name)))
			p.err("rename", unix.Rename(p.at("other"), p.at(name)))
			p.err("unlink", unix.Unlink(p.at(name)))
			p.err("rmdir", unix.Rmdir(p.at(name)))
			return
		}
		p.put(fd, "text")
		p.shut(fd)
		p.tree()
		p.err("rename", os.Rename(p.at(name), p.at("short")))
		p.stat(name)
		p.err("rename back", os.Rename(p.at("short"), p.at(name)))
		p.err("unlink", unix.Unlink(p.at(name)))
		p.err("mkdir", unix.Mkdir(p.at(name), 0o755))
		p.tree()
		p.err("rmdir", unix.Rmdir(p.at(name)))
		p.list(".")
	}}
}

// apart is a case of names that are not the same.
func apart(what string, names ...string) posixCase {
	return posixCase{what, func(p *probe) {
		for _, n := range names {
			p.shut(p.open(n, readWrite|unix.O_EXCL))
			p.file(n, n)
		}
		p.tree()
		for _, n := range names {
			p.err("rename "+n, unix.Renameat2(unix.AT_FDCWD, p.at(n), unix.AT_FDCWD, p.at(n+"2"), unix.RENAME_NOREPLACE))
		}
		p.tree()
		p.err("remove", os.Remove(p.at(names[0]+"2")))
		p.tree()
	}}
}

var nameCases = []posixCase{
	named("of 255 bytes", strings.Repeat("n", 255)),
	named("of 255 bytes in 85 letters", strings.Repeat("☃", 85)),
	named("of 256 bytes", strings.Repeat("n", 256)),
	named("of 258 bytes in 86 letters", strings.Repeat("☃", 86)),
	named("of one letter", "n"),
	named("with a new line", "a\nb"),
	named("with control characters", "a\x01\x1b[31m\x7f"),
	named("with a backslash", `a\b`),
	named("with what Windows refuses", `a:b*c?d"e<f>g|h`),
	named("that Windows keeps for itself", "CON"),
	named("that ends with a dot", "a."),
	named("that ends with a space", "a "),
	named("that begins with a space", " a"),
	named("that begins with a minus", "-rf"),
	named("of three dots", "..."),
	named("that begins with two dots", "..a"),
	named("of emoji", "👩‍🚀🏳️‍🌈"),
	named("that is written from right to left", "שלום مرحبا"),
	named("with a character of no width", "a\u200bb"),
	named("like that of a conflict copy", "a (conflict 2026-01-02 laptop).txt"),
	named("that an editor hides", ".a.swp"),
	apart("that differ by case", "readme", "README", "ReadMe"),
	apart("that differ by case beyond ASCII", "straße", "STRASSE", "ÄÖ", "äö"),
	apart("that differ by normal form", "é", "e\u0301"),
	apart("that look alike", "a", "а"), // the second is Cyrillic
	apart("that differ by a space at the end", "a", "a "),
	{"dots", func(p *probe) {
		p.mkdir("d", "d/e")
		for _, n := range []string{".", "d/e/..", "d/.", "d/..", "d/e/../.", ""} {
			p.stat(n)
			p.err("mkdir "+n, unix.Mkdir(p.at(n), 0o755))
			p.err("rmdir "+n, unix.Rmdir(p.at(n)))
			p.err("unlink "+n, unix.Unlink(p.at(n)))
			p.err("rename from "+n, unix.Rename(p.at(n), p.at("x")))
			p.err("rename to "+n, unix.Rename(p.at("d"), p.at(n)))
		}
		p.tree()
	}},
	{"empty", func(p *probe) {
		_, err := unix.Open("", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		p.err("open", err)
		p.err("mkdir", unix.Mkdir("", 0o755))
	}},
	{"slashes at the end", func(p *probe) {
		p.err("mkdir", unix.Mkdir(p.at("d/"), 0o755))
		p.err("mkdir again", unix.Mkdir(p.at("d//"), 0o755))
		p.stat("d/")
		p.file("f", "")
		p.stat("f/")
		p.err("rename f/", unix.Rename(p.at("f/"), p.at("g")))
		p.err("rename to g/", unix.Rename(p.at("f"), p.at("g/")))
		p.err("rename d/", unix.Rename(p.at("d/"), p.at("e/")))
		p.err("link g/", unix.Link(p.at("f"), p.at("g/")))
		p.err("symlink g/", unix.Symlink("f", p.at("g/")))
		p.err("unlink f/", unix.Unlink(p.at("f/")))
		p.err("rmdir e/", unix.Rmdir(p.at("e///")))
		p.tree()
	}},
	{"slashes behind links", func(p *probe) {
		p.mkdir("d")
		p.must(os.Symlink("d", p.at("l")))
		p.must(os.Symlink("nothing", p.at("m")))
		p.stat("l/")
		p.err("rmdir l/", unix.Rmdir(p.at("l/")))
		p.err("unlink l/", unix.Unlink(p.at("l/")))
		p.err("rename l/", unix.Rename(p.at("l/"), p.at("x")))
		p.err("mkdir m/", unix.Mkdir(p.at("m/"), 0o755))
		p.err("mkdir m", unix.Mkdir(p.at("m"), 0o755))
		p.tree()
	}},
	{"paths that are too long", func(p *probe) {
		p.stat(strings.Repeat("d/", unix.PathMax/2))
		p.err("mkdir", unix.Mkdir(p.at(strings.Repeat("./", unix.PathMax/2)+"d"), 0o755))
		p.mkdir("d")
		_, err := os.Stat(p.at(strings.Repeat("d/../", (unix.PathMax-len(p.dir)-8)/5) + "d"))
		p.err("nearly too long", err)
	}},
	{"deeper than a path can say", deep},
	{"the working directory", func(p *probe) {
		p.mkdir("d", "d/e")
		p.within("d/e", func() {
			p.cwd()
			p.must(os.Rename(p.at("d"), p.at("moved")))
			p.cwd()
			p.err("relative", unix.Mkdir("../f", 0o755))
			p.must(os.Remove(p.at("moved/e")))
			p.cwd()
			p.err("mkdir in what is gone", unix.Mkdir("x", 0o755))
			_, err := unix.Open("x", readWrite|unix.O_CLOEXEC, 0o644)
			p.err("open in what is gone", err)
			p.err("symlink in what is gone", unix.Symlink("x", "y"))
			_, err = os.ReadDir(".")
			p.err("list", err)
		})
		p.tree()
	}},
}

// within does something in a working directory of its own.
func (p *probe) within(name string, do func()) {
	back, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	p.must(err)
	defer unix.Close(back)
	p.must(unix.Chdir(p.at(name)))
	defer func() { p.must(unix.Fchdir(back)) }()
	do()
}

func (p *probe) cwd() {
	dir, err := unix.Getwd()
	p.note("working directory %s %s", dir, errnoName(err))
}

// deep makes directories within each other until their path is far longer than
// PATH_MAX, and takes them away.
func deep(p *probe) {
	const levels = 50
	name := strings.Repeat("d", 200)
	fd := p.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	for range levels {
		p.must(unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		p.must(err)
		p.fds = append(p.fds, next)
		fd = next
	}
	f := p.openat(fd, "f", readWrite)
	p.put(f, "deep")
	p.read(f, 9, 0)
	p.openat(fd, strings.Repeat("../", levels)+name, unix.O_PATH)
	p.err("remove", os.RemoveAll(p.at(name)))
	p.list(".")
	p.note("%s", fmt.Sprint(p.fstat(f).Nlink))
}
