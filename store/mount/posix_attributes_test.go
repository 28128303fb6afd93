//go:build linux

package mount_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mtime notes the time of a file to the nanosecond.
func (p *probe) mtime(name string) {
	var st unix.Stat_t
	err := unix.Lstat(p.at(name), &st)
	p.note("mtime of %s: %d.%09d %s", name, st.Mtim.Sec, st.Mtim.Nsec, errnoName(err))
}

// utimes sets the time of a file; its access time is left alone.
func (p *probe) utimes(name string, mtime unix.Timespec, flags int) {
	p.err("utimensat "+name, unix.UtimesNanoAt(unix.AT_FDCWD, p.at(name), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}, flags))
}

// recent notes whether the time of a file is within a minute of now.
func (p *probe) recent(name string) {
	var st unix.Stat_t
	p.must(unix.Lstat(p.at(name), &st))
	p.note("mtime of %s is recent: %v", name, time.Since(time.Unix(st.Mtim.Unix())).Abs() < time.Minute)
	p.note("ctime of %s is recent: %v", name, time.Since(time.Unix(st.Ctim.Unix())).Abs() < time.Minute)
}

var attributeCases = []posixCase{
	{"rights of files", func(p *probe) {
		p.file("f", "text")
		for _, mode := range []uint32{0, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1644, 0o7777, 0o6000} {
			p.err("chmod", unix.Chmod(p.at("f"), mode))
			p.stat("f")
		}
	}},
	{"rights of directories", func(p *probe) {
		p.mkdir("d")
		for _, mode := range []uint32{0, 0o700, 0o755, 0o1777, 0o2775, 0o7777} {
			p.err("chmod", unix.Chmod(p.at("d"), mode))
			p.stat("d")
		}
	}},
	{"rights of an open file", func(p *probe) {
		fd := p.open("f", readWrite)
		p.err("fchmod", unix.Fchmod(fd, 0o600))
		p.fstat(fd)
		p.put(fd, "text")
		p.err("fchmod", unix.Fchmod(fd, 0o4750))
		p.shut(fd)
		p.stat("f")
	}},
	{"rights through a link", func(p *probe) {
		p.kinds()
		p.err("chmod", unix.Chmod(p.at("l"), 0o600))
		p.err("chmod", unix.Chmod(p.at("m"), 0o600))
		p.stat("f")
		p.stat("l")
	}},
	{"rights of what is not there", func(p *probe) {
		p.file("f", "")
		p.err("chmod", unix.Chmod(p.at("nothing"), 0o600))
		p.err("chmod", unix.Chmod(p.at("f/x"), 0o600))
	}},
	{"rights stay when the content changes", func(p *probe) {
		p.file("f", "text")
		p.must(unix.Chmod(p.at("f"), 0o751))
		fd := p.open("f", unix.O_WRONLY|unix.O_TRUNC)
		p.put(fd, "other")
		p.shut(fd)
		p.stat("f")
		p.must(os.Truncate(p.at("f"), 100))
		p.stat("f")
		p.rename("f", "g", 0)
		p.stat("g")
	}},
	{"mask", func(p *probe) {
		for _, mask := range []int{0, 0o002, 0o077, 0o777} {
			old := unix.Umask(mask)
			p.err("mkdir", unix.Mkdir(p.at(fmt.Sprintf("d%o", mask)), 0o777))
			p.shut(p.openMode(fmt.Sprintf("f%o", mask), readWrite, 0o666))
			p.err("mkfifo", unix.Mkfifo(p.at(fmt.Sprintf("p%o", mask)), 0o666))
			unix.Umask(old)
		}
		p.tree()
	}},
	{"owner", func(p *probe) {
		p.kinds()
		for _, o := range [][2]int{{1234, 5678}, {-1, 7}, {8, -1}, {-1, -1}, {0, 0}, {65534, 65534}, {1<<32 - 2, 1}} {
			p.err("chown", unix.Chown(p.at("f"), o[0], o[1]))
			p.stat("f")
		}
		p.err("chown of a directory", unix.Chown(p.at("full"), 9, 10))
		p.stat("full")
		p.err("lchown", unix.Lchown(p.at("l"), 11, 12))
		p.stat("l")
		p.stat("f")
		p.err("chown of nothing", unix.Chown(p.at("nothing"), 1, 1))
	}},
	{"owner of an open file", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "text")
		p.err("fchown", unix.Fchown(fd, 1234, 5678))
		p.fstat(fd)
		p.shut(fd)
		p.stat("f")
	}},
	{"a change of owner drops bits", func(p *probe) {
		p.file("f", "text")
		for _, mode := range []uint32{0o4755, 0o2755, 0o2745, 0o6777} {
			p.must(unix.Chmod(p.at("f"), mode))
			p.err("chown", unix.Chown(p.at("f"), 1234, 5678))
			p.stat("f")
		}
	}},
	{"a change of owner that changes nothing", func(p *probe) {
		p.mkdir("d")
		p.file("f", "text")
		for _, mode := range []uint32{0o644, 0o4755, 0o2755, 0o2745, 0o6777} {
			for _, n := range []string{"f", "d"} {
				p.must(unix.Chmod(p.at(n), mode))
				p.moves("chown", n, func() { p.err("chown", unix.Chown(p.at(n), -1, -1)) })
				p.stat(n)
			}
		}
	}},
	{"writing what has bits", func(p *probe) {
		for _, c := range []struct {
			what string
			do   func(fd int) error
		}{
			{"write", func(fd int) error { _, err := unix.Pwrite(fd, []byte("T"), 0); return err }},
			{"truncate", func(fd int) error { return unix.Ftruncate(fd, 2) }},
			{"allocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, 100) }},
		} {
			for _, mode := range []uint32{0o4777, 0o2777, 0o2767, 0o6777} {
				p.file("f", "text")
				p.must(unix.Chmod(p.at("f"), mode))
				for _, who := range []int{1000, 0} {
					var left string
					p.as(who, who, func() {
						fd, err := unix.Open(p.at("f"), unix.O_RDWR|unix.O_CLOEXEC, 0)
						p.must(err)
						err = c.do(fd)
						p.must(unix.Close(fd))
						var st unix.Stat_t
						p.must(unix.Stat(p.at("f"), &st))
						left = fmt.Sprintf("%o %s", st.Mode, errnoName(err))
					})
					p.note("%s of a file of %o by %d: %s", c.what, mode, who, left)
				}
				p.must(os.Remove(p.at("f")))
			}
		}
	}},
	{"the group of a directory is handed down", func(p *probe) {
		p.mkdir("d")
		p.err("chown", unix.Chown(p.at("d"), -1, 4321))
		p.err("chmod", unix.Chmod(p.at("d"), 0o2775))
		p.file("d/f", "")
		p.mkdir("d/e")
		p.must(os.Symlink("x", p.at("d/l")))
		p.tree()
	}},
	{"size by truncate", func(p *probe) {
		p.file("f", "0123456789")
		for _, size := range []int64{20, 5, 0, 3, 1 << 20, 10} {
			p.err("truncate", unix.Truncate(p.at("f"), size))
			p.stat("f")
			p.text("f")
		}
		p.err("negative", unix.Truncate(p.at("f"), -1))
		p.err("of nothing", unix.Truncate(p.at("nothing"), 0))
		p.err("of a directory", unix.Truncate(p.dir, 0))
		p.err("below a file", unix.Truncate(p.at("f/x"), 0))
	}},
	{"size beyond 32 bits", func(p *probe) {
		p.file("f", "begin")
		for _, size := range []int64{1<<31 - 1, 1 << 31, 1<<32 + 1, 1 << 40} {
			p.err("truncate", unix.Truncate(p.at("f"), size))
			p.stat("f")
		}
		fd := p.open("f", unix.O_RDWR)
		p.write(fd, "far", 1<<40-3)
		p.read(fd, 10, 1<<40-5)
		p.read(fd, 10, 1<<39)
		p.shut(fd)
		p.err("truncate", unix.Truncate(p.at("f"), 5))
		p.text("f")
	}},
	{"size by truncate of an open file", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "0123456789")
		p.err("ftruncate", unix.Ftruncate(fd, 4))
		p.put(fd, "after") // at 10: the offset stays
		p.fstat(fd)
		p.read(fd, 100, 0)
		p.err("negative", unix.Ftruncate(fd, -1))
		p.err("to its size", unix.Ftruncate(fd, 15))
		p.shut(fd)
		p.text("f")
	}},
	{"truncated by name while it is open and unsaved", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, strings.Repeat("x", 100_000))
		p.err("truncate", unix.Truncate(p.at("f"), 7))
		p.read(fd, 100, 0)
		p.err("truncate", unix.Truncate(p.at("f"), 20))
		p.read(fd, 100, 0)
		p.shut(fd)
		p.text("f")
	}},
	{"access", func(p *probe) {
		p.kinds()
		p.must(unix.Chmod(p.at("g"), 0))
		p.must(unix.Chmod(p.at("d"), 0))
		for _, n := range []string{"f", "g", "d", "l", "m", "nothing", "f/x"} {
			for _, mode := range []uint32{unix.F_OK, unix.R_OK, unix.W_OK, unix.X_OK} {
				p.err(fmt.Sprint("access ", n, " ", mode), unix.Access(p.at(n), mode))
			}
		}
	}},
	{"statx", func(p *probe) {
		p.file("f", "text")
		var st unix.Statx_t
		p.err("statx", unix.Statx(unix.AT_FDCWD, p.at("f"), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st))
		p.note("mode %o size %d nlink %d", st.Mode, st.Size, st.Nlink)
		p.err("synchronously", unix.Statx(unix.AT_FDCWD, p.at("f"), unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE, &st))
		p.note("size %d", st.Size)
	}},
	{"statfs", func(p *probe) {
		var st unix.Statfs_t
		p.err("statfs", unix.Statfs(p.dir, &st))
		p.note("names of %d bytes; blocks %v, free %v, files %v", st.Namelen, st.Blocks > 0 && st.Bsize >= 512,
			st.Bfree > 0 && st.Bavail <= st.Bfree && st.Bfree <= st.Blocks, st.Ffree > 0 && st.Ffree <= st.Files)
		_, err := os.Stat("/proc/self")
		p.must(err)
		fd := p.openDir(".")
		p.err("fstatfs", unix.Fstatfs(fd, &st))
	}},
}

var timeCases = []posixCase{
	{"to the nanosecond", func(p *probe) {
		p.kinds()
		for _, ts := range []unix.Timespec{{Sec: 1_700_000_000, Nsec: 123_456_789}, {Sec: 1, Nsec: 999_999_999}, {Sec: 0, Nsec: 1}, {Nsec: 0}} {
			for _, n := range []string{"f", "full", "l"} {
				p.utimes(n, ts, unix.AT_SYMLINK_NOFOLLOW)
				p.mtime(n)
			}
		}
	}},
	{"before 1970 and after 2038", func(p *probe) {
		p.file("f", "")
		for _, sec := range []int64{-1, -1_000_000, -1<<31 + 1, 1<<31 - 1, 1 << 31, 1<<32 + 5, 10_000_000_000} {
			p.utimes("f", unix.Timespec{Sec: sec, Nsec: 5}, 0)
			p.mtime("f")
		}
	}},
	{"now and not at all", func(p *probe) {
		p.file("f", "")
		p.utimes("f", unix.Timespec{Sec: 5, Nsec: 6}, 0)
		p.utimes("f", unix.Timespec{Nsec: unix.UTIME_OMIT}, 0)
		p.mtime("f")
		p.utimes("f", unix.Timespec{Nsec: unix.UTIME_NOW}, 0)
		p.recent("f")
		p.utimes("f", unix.Timespec{Sec: 5}, 0)
		p.err("both now", unix.UtimesNanoAt(unix.AT_FDCWD, p.at("f"), nil, 0))
		p.recent("f")
		p.utimes("f", unix.Timespec{Sec: 5, Nsec: 1 << 31}, 0)
		p.utimes("f", unix.Timespec{Sec: 5, Nsec: -1}, 0)
	}},
	{"through a link", func(p *probe) {
		p.kinds()
		p.utimes("l", unix.Timespec{Sec: 5}, 0)
		p.mtime("f")
		p.utimes("m", unix.Timespec{Sec: 5}, 0)
		p.utimes("nothing", unix.Timespec{Sec: 5}, 0)
		p.utimes("f/x", unix.Timespec{Sec: 5}, 0)
	}},
	{"set, then closed", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "text")
		p.err("futimens", unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{{Sec: 5}, {Sec: 6, Nsec: 7}}, 0))
		p.mtime("f")
		p.err("fsync", unix.Fsync(fd))
		p.mtime("f")
		p.shut(fd)
		p.mtime("f")
		p.text("f")
		p.mtime("f")
	}},
	{"set, then written", func(p *probe) {
		p.file("f", "text")
		p.utimes("f", unix.Timespec{Sec: 5}, 0)
		fd := p.open("f", unix.O_RDWR)
		p.mtime("f")
		p.put(fd, "T")
		p.recent("f")
		p.shut(fd)
		p.recent("f")
	}},
	{"written by another descriptor, then set", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "text")
		p.utimes("f", unix.Timespec{Sec: 5, Nsec: 3}, 0)
		p.shut(fd)
		p.mtime("f")
	}},
	{"what moves it", func(p *probe) {
		p.file("f", "text")
		p.moves("chmod", "f", func() { p.must(os.Chmod(p.at("f"), 0o600)) })
		p.moves("rename", "f", func() { p.rename("f", "g", 0); p.rename("g", "f", 0) })
		p.moves("read", "f", func() { p.text("f") })
		p.moves("write", "f", func() { p.file("f", "more") })
		p.moves("truncate", "f", func() { p.must(os.Truncate(p.at("f"), 1)) })
		p.moves("open to write", "f", func() { p.shut(p.open("f", unix.O_RDWR)) })
		p.moves("open to truncate", "f", func() { p.shut(p.open("f", unix.O_RDWR|unix.O_TRUNC)) })
		p.moves("write nothing", "f", func() { fd := p.open("f", unix.O_RDWR); p.put(fd, ""); p.shut(fd) })
	}},
	{"of what is made", func(p *probe) {
		p.kinds()
		for _, n := range []string{"f", "d", "l", "full"} {
			p.recent(n)
		}
	}},
	{"of a change of names or rights", func(p *probe) {
		p.file("f", "text")
		for what, do := range map[string]func() error{
			"chmod":  func() error { return os.Chmod(p.at("f"), 0o600) },
			"rename": func() error { return os.Rename(p.at("f"), p.at("f")) },
			"utimes": func() error { return unix.UtimesNano(p.at("f"), []unix.Timespec{{Sec: 5}, {Sec: 5}}) },
		} {
			p.must(do())
			var st unix.Stat_t
			p.must(unix.Lstat(p.at("f"), &st))
			if time.Since(time.Unix(st.Ctim.Unix())).Abs() > time.Minute {
				p.note("ctime after %s is %d", what, st.Ctim.Sec)
			}
		}
	}},
}

var rightsCases = []posixCase{
	{"of the owner, the group and others", func(p *probe) {
		p.file("f", "text")
		for _, mode := range []uint32{0o400, 0o200, 0o040, 0o020, 0o004, 0o002, 0o666, 0} {
			p.must(unix.Chown(p.at("f"), 1000, 2000))
			p.must(unix.Chmod(p.at("f"), mode))
			for _, who := range [][2]int{{1000, 1}, {1, 2000}, {1, 1}} {
				p.as(who[0], who[1], func() {
					p.open("f", unix.O_RDONLY)
					p.open("f", unix.O_WRONLY)
				})
			}
		}
	}},
	{"to go through a directory", func(p *probe) {
		p.mkdir("d")
		p.file("d/f", "text")
		for _, mode := range []uint32{0o755, 0o744, 0o711, 0o700} {
			p.must(unix.Chmod(p.at("d"), mode))
			p.as(1000, 1000, func() {
				p.text("d/f")
				p.list("d")
				p.stat("d/f")
			})
		}
	}},
	{"to change a directory", func(p *probe) {
		p.mkdir("d", "open")
		p.file("d/f", "text")
		p.must(unix.Chmod(p.at("open"), 0o777))
		p.as(1000, 1000, func() {
			p.open("d/new", readWrite)
			p.err("unlink", unix.Unlink(p.at("d/f")))
			p.err("mkdir", unix.Mkdir(p.at("d/e"), 0o755))
			p.rename("d/f", "open/f", 0)
			p.err("link", unix.Symlink("x", p.at("d/l")))
			p.shut(p.open("open/new", readWrite))
			p.err("mkdir", unix.Mkdir(p.at("open/e"), 0o755))
			p.err("symlink", unix.Symlink("x", p.at("open/l")))
		})
		p.tree()
	}},
	{"in a directory for all", func(p *probe) {
		p.mkdir("tmp")
		p.must(unix.Chmod(p.at("tmp"), 0o1777))
		p.as(1000, 1000, func() { p.shut(p.open("tmp/mine", readWrite)) })
		p.as(2000, 2000, func() {
			p.err("unlink", unix.Unlink(p.at("tmp/mine")))
			p.rename("tmp/mine", "tmp/yours", 0)
			p.shut(p.open("tmp/own", readWrite))
			p.rename("tmp/own", "tmp/mine", 0)
		})
		p.as(1000, 1000, func() { p.err("unlink", unix.Unlink(p.at("tmp/mine"))) })
		p.tree()
	}},
	{"to change attributes", func(p *probe) {
		p.file("f", "text")
		p.must(unix.Chmod(p.at("f"), 0o666))
		p.must(unix.Chown(p.at("f"), 1000, 1000))
		for _, uid := range []int{2000, 1000} {
			p.as(uid, uid, func() {
				p.err("chmod", unix.Chmod(p.at("f"), 0o646))
				p.utimes("f", unix.Timespec{Sec: 5}, 0)
				p.err("touch", unix.UtimesNanoAt(unix.AT_FDCWD, p.at("f"), nil, 0))
				p.err("chown", unix.Chown(p.at("f"), 2000, -1))
				p.err("truncate", unix.Truncate(p.at("f"), 2))
				p.may("xattr", unix.Setxattr(p.at("f"), "user.a", []byte("v"), 0))
			})
			p.stat("f")
		}
	}},
	{"a write drops bits", func(p *probe) {
		for _, mode := range []uint32{0o4777, 0o2777, 0o2767, 0o6777, 0o1777} {
			p.file("f", "text")
			p.must(unix.Chmod(p.at("f"), mode))
			p.as(1000, 1000, func() {
				fd := p.open("f", unix.O_WRONLY)
				p.put(fd, "T")
				p.shut(fd)
			})
			p.stat("f")
		}
	}},
	{"a truncation drops bits", func(p *probe) {
		p.file("f", "text")
		p.must(unix.Chmod(p.at("f"), 0o6777))
		p.as(1000, 1000, func() { p.err("truncate", unix.Truncate(p.at("f"), 1)) })
		p.stat("f")
		p.must(unix.Chmod(p.at("f"), 0o6777))
		p.as(1000, 1000, func() { p.shut(p.open("f", unix.O_WRONLY|unix.O_TRUNC)) })
		p.stat("f")
	}},
	{"to read is not asked again of who has it open", func(p *probe) {
		p.file("f", "text")
		fd := p.open("f", unix.O_RDWR)
		p.must(unix.Chmod(p.at("f"), 0))
		p.read(fd, 4, 0)
		p.put(fd, "more")
		p.shut(fd)
	}},
}

// listxattr notes the names of extended attributes. Those that the system adds by
// itself are left out.
func (p *probe) listxattr(name string) {
	b := make([]byte, 64<<10)
	n, err := unix.Listxattr(p.at(name), b)
	names := strings.Split(string(b[:max(0, n)]), "\x00")
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" || strings.HasPrefix(s, "security.") })
	slices.Sort(names)
	p.note("listxattr %s: %q %s", name, names, errnoName(err))
}

func (p *probe) getxattr(name, attribute string) {
	b := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(p.at(name), attribute, b)
	p.noteBytes("getxattr "+name+" "+attribute, b[:max(0, n)], err)
}

func (p *probe) setxattr(name, attribute, value string, flags int) {
	err := unix.Lsetxattr(p.at(name), attribute, []byte(value), flags)
	p.err(fmt.Sprintf("setxattr %s %.20s, %d bytes", name, attribute, len(value)), err)
}

var xattrCases = []posixCase{
	{"set, get, list, remove", func(p *probe) {
		p.kinds()
		for _, n := range []string{"f", "full"} {
			p.setxattr(n, "user.a", "value", 0)
			p.setxattr(n, "user.b", "other\x00value", 0)
			p.setxattr(n, "user.a", "longer than before", 0)
			p.getxattr(n, "user.a")
			p.getxattr(n, "user.b")
			p.listxattr(n)
			p.err("remove", unix.Removexattr(p.at(n), "user.a"))
			p.err("remove again", unix.Removexattr(p.at(n), "user.a"))
			p.getxattr(n, "user.a")
			p.listxattr(n)
		}
	}},
	{"create and replace", func(p *probe) {
		p.file("f", "")
		p.setxattr("f", "user.a", "v", unix.XATTR_REPLACE)
		p.setxattr("f", "user.a", "v", unix.XATTR_CREATE)
		p.setxattr("f", "user.a", "w", unix.XATTR_CREATE)
		p.setxattr("f", "user.a", "x", unix.XATTR_REPLACE)
		p.getxattr("f", "user.a")
	}},
	{"sizes", func(p *probe) {
		p.file("f", "")
		for _, n := range []int{0, 1, 100, 3000} {
			p.setxattr("f", "user.a", strings.Repeat("v", n), 0)
			p.getxattr("f", "user.a")
		}
		p.setxattr("f", "user.a", strings.Repeat("v", 65537), 0)
		p.getxattr("f", "user.a")
	}},
	{"room for the answer", func(p *probe) {
		p.file("f", "")
		p.setxattr("f", "user.abc", "0123456789", 0)
		for _, room := range []int{0, 1, 9, 10, 11} {
			n, err := unix.Getxattr(p.at("f"), "user.abc", make([]byte, room))
			p.note("getxattr into %d: %d %s", room, n, errnoName(err))
		}
		n, err := unix.Listxattr(p.at("f"), make([]byte, 5))
		p.note("listxattr into 5: %d %s", n, errnoName(err))
	}},
	{"names", func(p *probe) {
		p.file("f", "")
		for _, n := range []string{"", "user.", "user", "a", "other.a", "user.ü", "user. ", "user.a.b.c", "user." + strings.Repeat("n", 250), "user." + strings.Repeat("n", 251)} {
			p.setxattr("f", n, "v", 0)
		}
		p.listxattr("f")
	}},
	{"of what is no file", func(p *probe) {
		p.kinds()
		p.must(unix.Mkfifo(p.at("pipe"), 0o644))
		for _, n := range []string{"l", "m", "pipe", "nothing"} {
			p.setxattr(n, "user.a", "v", 0)
			p.getxattr(n, "user.a")
		}
	}},
	{"trusted", func(p *probe) {
		p.file("f", "")
		p.setxattr("f", "trusted.a", "v", 0)
		p.getxattr("f", "trusted.a")
		p.listxattr("f")
		p.as(1000, 1000, func() { p.getxattr("f", "trusted.a") })
	}},
	{"many", func(p *probe) {
		p.file("f", "")
		for i := range 40 {
			p.setxattr("f", fmt.Sprintf("user.a%02d", i), fmt.Sprint(i), 0)
		}
		p.listxattr("f")
		p.getxattr("f", "user.a39")
	}},
	{"stay with the file", func(p *probe) {
		p.file("f", "text")
		p.setxattr("f", "user.a", "v", 0)
		p.rename("f", "g", 0)
		p.file("g", "other text")
		p.must(os.Chmod(p.at("g"), 0o600))
		p.must(os.Truncate(p.at("g"), 3))
		p.getxattr("g", "user.a")
		p.file("h", "")
		p.rename("h", "g", 0)
		p.listxattr("g")
	}},
	{"of an open file", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "text")
		p.err("fsetxattr", unix.Fsetxattr(fd, "user.a", []byte("v"), 0))
		p.must(os.Remove(p.at("f")))
		b := make([]byte, 10)
		n, err := unix.Fgetxattr(fd, "user.a", b)
		p.note("fgetxattr: %d %s", n, errnoName(err))
		p.err("fsetxattr", unix.Fsetxattr(fd, "user.b", []byte("v"), 0))
		p.err("fremovexattr", unix.Fremovexattr(fd, "user.a"))
	}},
	{"of a file without rights", func(p *probe) {
		p.file("f", "")
		p.setxattr("f", "user.a", "v", 0)
		p.must(unix.Chmod(p.at("f"), 0o644))
		p.as(1000, 1000, func() {
			p.getxattr("f", "user.a")
			p.setxattr("f", "user.a", "w", 0)
			p.err("remove", unix.Removexattr(p.at("f"), "user.a"))
		})
		p.must(unix.Chmod(p.at("f"), 0o600))
		p.as(1000, 1000, func() { p.getxattr("f", "user.a") })
	}},
}
