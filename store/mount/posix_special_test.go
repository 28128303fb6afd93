//go:build linux

package mount_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// lockRole tries to lock args[1] for writing, from byte args[2] on for as many bytes
// as args[3] says, by fcntl or flock (args[0]). It prints how that ended.
func lockRole(args []string) error {
	fd, err := unix.Open(args[1], unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	start, err1 := strconv.ParseInt(args[2], 10, 64)
	length, err2 := strconv.ParseInt(args[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if args[0] == "flock" {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	} else {
		err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: length})
	}
	fmt.Print(errnoName(err))
	return nil
}

// lockElsewhere notes whether another process gets a lock.
func (p *probe) lockElsewhere(kind, name string, start, length int64) {
	out, err := role("lock", kind, p.at(name), fmt.Sprint(start), fmt.Sprint(length)).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	p.must(err)
	p.note("%s by another process, %d bytes from %d: %s", kind, length, start, out)
}

// lock notes how a lock by fcntl ended.
func (p *probe) lock(fd int, kind int16, start, length int64) {
	err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: kind, Start: start, Len: length})
	p.err(fmt.Sprintf("fcntl lock %d, %d bytes from %d", kind, length, start), err)
}

var lockCases = []posixCase{
	{"flock", func(p *probe) {
		p.file("f", "")
		one, two := p.open("f", unix.O_RDWR), p.open("f", unix.O_RDONLY)
		p.err("exclusive", unix.Flock(one, unix.LOCK_EX|unix.LOCK_NB))
		p.err("shared by another", unix.Flock(two, unix.LOCK_SH|unix.LOCK_NB))
		p.lockElsewhere("flock", "f", 0, 0)
		p.err("shared", unix.Flock(one, unix.LOCK_SH|unix.LOCK_NB))
		p.err("shared by another", unix.Flock(two, unix.LOCK_SH|unix.LOCK_NB))
		p.err("exclusive", unix.Flock(one, unix.LOCK_EX|unix.LOCK_NB))
		p.shut(two)
		p.err("exclusive", unix.Flock(one, unix.LOCK_EX|unix.LOCK_NB))
		p.err("unlock", unix.Flock(one, unix.LOCK_UN))
		p.lockElsewhere("flock", "f", 0, 0)
	}},
	{"flock goes with the last close", func(p *probe) {
		p.file("f", "")
		one := p.open("f", unix.O_RDWR)
		two, err := unix.Dup(one)
		p.must(err)
		p.fds = append(p.fds, two)
		p.err("flock", unix.Flock(one, unix.LOCK_EX|unix.LOCK_NB))
		p.shut(one)
		p.lockElsewhere("flock", "f", 0, 0)
		p.shut(two)
		p.lockElsewhere("flock", "f", 0, 0)
	}},
	{"flock of a directory", func(p *probe) {
		p.mkdir("d")
		one, two := p.openDir("d"), p.openDir("d")
		p.err("one", unix.Flock(one, unix.LOCK_EX|unix.LOCK_NB))
		p.err("two", unix.Flock(two, unix.LOCK_EX|unix.LOCK_NB))
	}},
	{"fcntl", func(p *probe) {
		fd := p.open("f", readWrite)
		p.lock(fd, unix.F_WRLCK, 10, 10)
		for _, at := range []int64{0, 5, 10, 15, 19, 20} {
			p.lockElsewhere("fcntl", "f", at, 6)
		}
		p.lock(fd, unix.F_UNLCK, 12, 2)
		p.lockElsewhere("fcntl", "f", 12, 2)
		p.lockElsewhere("fcntl", "f", 12, 3)
		p.lock(fd, unix.F_RDLCK, 0, 0)
		p.lockElsewhere("fcntl", "f", 1<<40, 1)
		p.shut(p.open("f", unix.O_RDONLY)) // which ends all locks of this process
		p.lockElsewhere("fcntl", "f", 0, 0)
	}},
	{"fcntl without the right", func(p *probe) {
		p.file("f", "")
		p.lock(p.open("f", unix.O_RDONLY), unix.F_WRLCK, 0, 1)
		p.lock(p.open("f", unix.O_WRONLY), unix.F_RDLCK, 0, 1)
	}},
	{"who holds it", func(p *probe) {
		fd := p.open("f", readWrite)
		p.lock(fd, unix.F_WRLCK, 3, 4)
		l := unix.Flock_t{Type: unix.F_WRLCK}
		p.err("by itself", unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &l))
		p.note("%d", l.Type)
		l = unix.Flock_t{Type: unix.F_WRLCK}
		p.err("by an open file", unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &l))
		p.note("%d %d %d %v", l.Type, l.Start, l.Len, int(l.Pid) == os.Getpid())
	}},
	{"of open files", func(p *probe) {
		one, two := p.open("f", readWrite), p.open("f", unix.O_RDWR)
		set := func(fd int, kind int16) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Len: 5})
		}
		p.err("one", set(one, unix.F_WRLCK))
		p.err("two", set(two, unix.F_WRLCK))
		p.err("one shared", set(one, unix.F_RDLCK))
		p.err("two shared", set(two, unix.F_RDLCK))
		p.shut(one)
		p.err("two", set(two, unix.F_WRLCK))
	}},
	{"of a file without a name", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(os.Remove(p.at("f")))
		p.err("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
		p.lock(fd, unix.F_WRLCK, 0, 0)
	}},
	{"stay through a rename", func(p *probe) {
		fd := p.open("f", readWrite)
		p.err("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
		p.rename("f", "g", 0)
		p.lockElsewhere("flock", "g", 0, 0)
		p.file("f", "")
		p.lockElsewhere("flock", "f", 0, 0)
	}},
}

var specialCases = []posixCase{
	{"pipe", func(p *probe) {
		p.err("mkfifo", unix.Mkfifo(p.at("pipe"), 0o640))
		p.stat("pipe")
		p.open("pipe", unix.O_WRONLY|unix.O_NONBLOCK)
		fd := p.open("pipe", unix.O_RDWR)
		p.put(fd, "through the pipe")
		b := make([]byte, 20)
		n, err := unix.Read(fd, b)
		p.noteBytes("read", b[:max(0, n)], err)
		p.shut(fd)
		p.rename("pipe", "pipe2", 0)
		p.stat("pipe2")
		p.err("unlink", unix.Unlink(p.at("pipe2")))
		p.list(".")
	}},
	{"socket", func(p *probe) {
		server, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		p.must(err)
		client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		p.must(err)
		p.fds = append(p.fds, server, client)
		// The path of a socket is short; that of a descriptor always fits.
		name := &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/socket", p.openDir("."))}
		p.err("bind", unix.Bind(server, name))
		p.stat("socket")
		p.err("listen", unix.Listen(server, 1))
		p.err("connect", unix.Connect(client, name))
		p.open("socket", unix.O_RDONLY)
		p.err("unlink", unix.Unlink(p.at("socket")))
		p.list(".")
	}},
	{"regular by mknod", func(p *probe) {
		p.err("mknod", unix.Mknod(p.at("f"), unix.S_IFREG|0o640, 0))
		p.err("mknod without a kind", unix.Mknod(p.at("g"), 0o600, 0))
		p.err("mknod again", unix.Mknod(p.at("f"), unix.S_IFREG|0o640, 0))
		p.err("mknod of a directory", unix.Mknod(p.at("d"), unix.S_IFDIR|0o755, 0))
		p.tree()
	}},
	{"ioctl that files do not know", func(p *probe) {
		_, err := unix.IoctlGetInt(p.open("f", readWrite), unix.TIOCINQ+1000)
		p.err("ioctl", err)
		_, err = unix.IoctlGetTermios(p.open("f", readWrite), unix.TCGETS)
		p.err("is it a terminal", err)
	}},
	{"clone", func(p *probe) {
		p.file("a", "text")
		err := unix.IoctlFileClone(p.open("b", readWrite), p.open("a", unix.O_RDONLY))
		p.err("clone", err)
	}},
	{"swap of names under a reader", func(p *probe) {
		p.file("a", "one of two")
		p.file("b", "two of two")
		for range 50 {
			p.must(unix.Renameat2(unix.AT_FDCWD, p.at("a"), unix.AT_FDCWD, p.at("b"), unix.RENAME_EXCHANGE))
			for _, n := range []string{"a", "b"} {
				b, err := os.ReadFile(p.at(n))
				p.must(err)
				if len(b) != 10 {
					p.note("%s is %q", n, b)
				}
			}
		}
		p.tree()
	}},
}
