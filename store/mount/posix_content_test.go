//go:build linux

package mount_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var contentCases = []posixCase{
	{"beyond the end", func(p *probe) {
		p.file("f", "0123456789")
		fd := p.open("f", unix.O_RDWR)
		p.read(fd, 5, 8)
		p.read(fd, 5, 10)
		p.read(fd, 5, 11)
		p.read(fd, 5, 1<<40)
		p.read(fd, 5, -1)
		p.read(fd, 0, 0)
		p.write(fd, "", 100)
		p.fstat(fd)
		p.write(fd, "x", -1)
		p.write(fd, "far", 1<<20)
		p.fstat(fd)
		p.read(fd, 1<<20, 5)
		p.shut(fd)
		p.text("f")
	}},
	{"far beyond 32 bits", func(p *probe) {
		fd := p.open("f", readWrite)
		p.write(fd, "x", 1<<43)
		p.fstat(fd)
		p.read(fd, 2, 1<<43-1)
	}},
	{"in pieces", func(p *probe) {
		fd := p.open("f", readWrite)
		n, err := unix.Writev(fd, [][]byte{[]byte("one "), []byte(""), []byte("two "), []byte("three")})
		p.note("writev %d %s", n, errnoName(err))
		n, err = unix.Pwritev(fd, [][]byte{[]byte("ONE "), []byte("TWO")}, 0)
		p.note("pwritev %d %s", n, errnoName(err))
		a, b := make([]byte, 3), make([]byte, 100)
		n, err = unix.Preadv(fd, [][]byte{a, b}, 0)
		p.note("preadv %d %s %q %q", n, errnoName(err), a, b[:10])
	}},
	{"seek", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, "0123456789")
		for _, s := range [][2]int64{{3, 0}, {2, 1}, {-5, 1}, {-1, 2}, {5, 2}, {-100, 2}, {-1, 0}, {1 << 41, 0}, {0, 9}} {
			at, err := unix.Seek(fd, s[0], int(s[1]))
			p.note("seek %v: %d %s", s, at, errnoName(err))
		}
	}},
	{"in steps that do not fit pages", func(p *probe) {
		fd := p.open("f", readWrite)
		for i := range 500 {
			_, err := unix.Pwrite(fd, []byte(fmt.Sprintf("%d,", i)), int64(i*997))
			p.must(err)
		}
		p.fstat(fd)
		p.shut(fd)
		p.text("f")
		b, err := os.ReadFile(p.at("f"))
		p.must(err)
		p.note("%q %q", b[997*100:997*100+5], b[997*499:])
	}},
	{"overwrite within", func(p *probe) {
		p.file("f", strings.Repeat("0123456789", 100_000))
		fd := p.open("f", unix.O_RDWR)
		p.write(fd, "HERE", 4094)
		p.write(fd, "THERE", 131070)
		p.shut(fd)
		b, err := os.ReadFile(p.at("f"))
		p.must(err)
		p.note("%d %q %q %d", len(b), b[4090:4100], b[131066:131080], bytes.Count(b, []byte("0123456789")))
	}},
	{"written by one, read by another", func(p *probe) {
		w, r := p.open("f", readWrite), p.open("f", unix.O_RDONLY)
		for i := range 5 {
			p.put(w, fmt.Sprint("part ", i, " "))
			p.read(r, 100, 0)
			p.fstat(r)
		}
		p.text("f")
	}},
	{"much, then read by another", func(p *probe) {
		w := p.open("f", readWrite)
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
		n, err := unix.Write(w, big)
		p.note("write %d %s", n, errnoName(err))
		b, err := os.ReadFile(p.at("f"))
		p.note("same %v %s", bytes.Equal(b, big), errnoName(err))
		p.must(unix.Ftruncate(w, 1<<20+5))
		b, err = os.ReadFile(p.at("f"))
		p.note("same %v %s", bytes.Equal(b, big[:1<<20+5]), errnoName(err))
		p.must(unix.Ftruncate(w, 1<<21))
		b, err = os.ReadFile(p.at("f"))
		p.note("zero behind %v %s", bytes.Equal(b[1<<20+5:], make([]byte, 1<<20-5)), errnoName(err))
	}},
	{"fsync and fdatasync", func(p *probe) {
		fd := p.open("f", readWrite)
		p.err("fsync", unix.Fsync(fd))
		p.put(fd, "text")
		p.err("fdatasync", unix.Fdatasync(fd))
		p.err("fsync", unix.Fsync(fd))
		p.err("syncfs", unix.Syncfs(fd))
		p.err("range", unix.SyncFileRange(fd, 0, 4, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER))
		p.err("advise", unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
		p.text("f")
		r := p.open("f", unix.O_RDONLY)
		p.err("fsync of a reader", unix.Fsync(r))
	}},
	{"from the disk", func(p *probe) {
		fd := p.open("f", readWrite)
		p.put(fd, strings.Repeat("x", 300_000))
		p.must(unix.Fsync(fd))
		p.must(unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
		p.read(fd, 400_000, 0)
	}},
	{"around the page cache", func(p *probe) {
		fd, err := unix.Open(p.at("f"), readWrite|unix.O_DIRECT|unix.O_CLOEXEC, 0o644)
		if err == unix.EINVAL {
			panic(lacking("O_DIRECT"))
		}
		p.must(err)
		p.fds = append(p.fds, fd)
		b := aligned(64 << 10)
		copy(b, "direct")
		n, err := unix.Pwrite(fd, b, 4096)
		p.note("pwrite %d %s", n, errnoName(err))
		p.fstat(fd)
		p.text("f")
		n, err = unix.Pread(fd, b, 0)
		p.note("pread %d %s %q", n, errnoName(err), b[4096:4102])
	}},
	{"copy_file_range", func(p *probe) {
		p.file("a", strings.Repeat("0123456789", 50_000))
		in, out := p.open("a", unix.O_RDONLY), p.open("b", readWrite)
		from, to := int64(100_001), int64(7)
		for left := 300_000; left > 0; {
			n, err := unix.CopyFileRange(in, &from, out, &to, left, 0)
			if n == 0 || err != nil {
				p.note("%d left %s", left, errnoName(err))
				break
			}
			left -= n
		}
		p.note("from %d to %d", from, to)
		p.shut(out)
		p.text("b")
	}},
	{"sendfile", func(p *probe) {
		p.file("a", strings.Repeat("0123456789", 1000))
		in, out := p.open("a", unix.O_RDONLY), p.open("b", readWrite)
		off := int64(5)
		n, err := unix.Sendfile(out, in, &off, 5000)
		p.note("sendfile %d %s, at %d", n, errnoName(err), off)
		p.text("b")
	}},
	{"splice", func(p *probe) {
		p.file("a", strings.Repeat("0123456789", 1000))
		in, out := p.open("a", unix.O_RDONLY), p.open("b", readWrite)
		var pipe [2]int
		p.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
		p.fds = append(p.fds, pipe[:]...)
		n, err := unix.Splice(in, nil, pipe[1], nil, 4096, 0)
		p.note("into %d %s", n, errnoName(err))
		n, err = unix.Splice(pipe[0], nil, out, nil, 4096, 0)
		p.note("out of %d %s", n, errnoName(err))
		p.text("b")
	}},
	{"replaced by saving", func(p *probe) {
		p.file("f", "version 0")
		r := p.open("f", unix.O_RDONLY)
		for i := range 3 {
			p.file("f.new", fmt.Sprint("version ", i+1))
			p.rename("f.new", "f", 0)
			p.text("f")
		}
		p.read(r, 20, 0)
		p.fstat(r)
	}},
	{"empty", func(p *probe) {
		p.file("f", "")
		p.stat("f")
		p.text("f")
		fd := p.open("f", unix.O_RDWR)
		p.read(fd, 1, 0)
		p.err("fsync", unix.Fsync(fd))
		p.must(unix.Ftruncate(fd, 1))
		p.must(unix.Ftruncate(fd, 0))
		p.shut(fd)
		p.stat("f")
	}},
	{"shrunk and grown holds nothing old", func(p *probe) {
		for _, size := range []int64{0, 1, 4095, 4096, 4097, 65536, 70000} {
			p.file("f", strings.Repeat("secret", 20_000))
			fd := p.open("f", unix.O_RDWR)
			p.must(unix.Ftruncate(fd, size))
			p.must(unix.Ftruncate(fd, 120_000))
			b := make([]byte, 120_000)
			n, err := unix.Pread(fd, b, 0)
			p.note("%d %s, zero from %d on: %v", n, errnoName(err), size, bytes.Equal(b[size:], make([]byte, 120_000-size)))
			p.shut(fd)
			p.text("f")
		}
	}},
}

// aligned returns n bytes that begin where a page does.
func aligned(n int) []byte {
	b := make([]byte, n+4096)
	for i := range b {
		if uintptr(unsafe.Pointer(&b[i]))%4096 == 0 {
			return b[i : i+n]
		}
	}
	return nil
}

// holes notes what SEEK_DATA and SEEK_HOLE must say: where there is text there is
// data, a hole holds nothing but zeroes, and the end is a hole.
func (p *probe) holes(fd int, size int64) {
	b := make([]byte, size)
	_, err := unix.Pread(fd, b, 0)
	p.must(err)
	for at := int64(0); at < size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			data = size
		} else {
			p.must(err)
		}
		if len(bytes.Trim(b[at:data], "\x00")) > 0 {
			p.note("a hole from %d to %d has something in it", at, data)
		}
		if data == size {
			break
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		p.must(err)
		if hole <= data || hole > size {
			p.note("from %d the next hole is at %d", data, hole)
			return
		}
		at = hole
	}
	for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
		_, err := unix.Seek(fd, size, whence)
		p.err("from the end", err)
		_, err = unix.Seek(fd, -1, whence)
		p.err("from before the beginning", err)
	}
}

var sparseCases = []posixCase{
	{"holes", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 8<<20))
		p.write(fd, "one", 1<<20)
		p.write(fd, "two", 5<<20)
		p.holes(fd, 8<<20)
		p.must(unix.Fsync(fd))
		p.holes(fd, 8<<20)
		p.shut(fd)
		p.text("f")
	}},
	{"all hole", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 4<<20))
		p.holes(fd, 4<<20)
		p.shut(fd)
		p.text("f")
	}},
	{"no hole", func(p *probe) {
		p.file("f", strings.Repeat("x", 1<<20))
		fd := p.open("f", unix.O_RDONLY)
		at, err := unix.Seek(fd, 0, unix.SEEK_HOLE)
		p.note("hole at %d %s", at, errnoName(err))
		at, err = unix.Seek(fd, 77, unix.SEEK_DATA)
		p.note("text at %d %s", at, errnoName(err))
		p.holes(fd, 1<<20)
	}},
	{"empty", func(p *probe) {
		fd := p.open("f", readWrite)
		p.holes(fd, 0)
	}},
	{"allocate", func(p *probe) {
		p.file("f", "text")
		fd := p.open("f", unix.O_RDWR)
		p.may("fallocate", unix.Fallocate(fd, 0, 0, 100_000))
		p.fstat(fd)
		p.may("fallocate", unix.Fallocate(fd, 0, 10, 20))
		p.fstat(fd)
		p.may("fallocate and keep the size", unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20))
		p.fstat(fd)
		p.err("nothing", unix.Fallocate(fd, 0, 0, 0))
		p.err("negative", unix.Fallocate(fd, 0, -1, 10))
		p.shut(fd)
		p.text("f")
	}},
	{"allocate what is open to be read", func(p *probe) {
		p.file("f", "text")
		p.err("fallocate", unix.Fallocate(p.open("f", unix.O_RDONLY), 0, 0, 10))
	}},
	{"punch", func(p *probe) {
		p.file("f", strings.Repeat("x", 300_000))
		fd := p.open("f", unix.O_RDWR)
		p.may("punch", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1000, 200_000))
		p.fstat(fd)
		p.read(fd, 300_000, 0)
		p.may("punch beyond the end", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 290_000, 200_000))
		p.fstat(fd)
		p.holes(fd, 300_000)
		p.shut(fd)
		p.text("f")
	}},
	{"zero", func(p *probe) {
		p.file("f", strings.Repeat("x", 100_000))
		fd := p.open("f", unix.O_RDWR)
		p.may("zero", unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 50_000, 100_000))
		p.fstat(fd)
		p.shut(fd)
		p.text("f")
	}},
	{"written into a hole", func(p *probe) {
		p.must(os.WriteFile(p.at("f"), nil, 0o644))
		p.must(os.Truncate(p.at("f"), 3<<20))
		fd := p.open("f", unix.O_RDWR)
		p.write(fd, strings.Repeat("y", 70_000), 1<<20+13)
		p.shut(fd)
		p.text("f")
		fd = p.open("f", unix.O_RDWR)
		p.holes(fd, 3<<20)
	}},
	{"size of a sparse file counts no holes", func(p *probe) {
		p.must(os.WriteFile(p.at("f"), []byte("x"), 0o644))
		p.must(os.Truncate(p.at("f"), 1<<30))
		var st unix.Stat_t
		p.must(unix.Stat(p.at("f"), &st))
		p.note("takes less than its size: %v", st.Blocks*512 < 1<<30)
	}},
}

// mapped maps a file.
func (p *probe) mapped(fd, size, rights, flags int) []byte {
	m, err := unix.Mmap(fd, 0, size, rights, flags)
	p.must(err)
	return m
}

var mmapCases = []posixCase{
	{"read", func(p *probe) {
		p.file("f", "mapped text")
		m := p.mapped(p.open("f", unix.O_RDONLY), 4096, unix.PROT_READ, unix.MAP_SHARED)
		p.noteBytes("mapped", m[:20], nil)
		p.must(unix.Munmap(m))
	}},
	{"sees what is written", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 10_000))
		m := p.mapped(fd, 10_000, unix.PROT_READ, unix.MAP_SHARED)
		p.write(fd, "hello", 5000)
		p.noteBytes("mapped", m[5000:5005], nil)
		p.file("f", "by another")
		p.noteBytes("mapped", m[:10], nil)
		p.must(unix.Munmap(m))
	}},
	{"is seen by read", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 10_000))
		m := p.mapped(fd, 10_000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		copy(m[9000:], "by the map")
		p.read(fd, 20, 8995)
		p.err("msync", unix.Msync(m, unix.MS_SYNC))
		p.must(unix.Munmap(m))
		p.shut(fd)
		p.text("f")
	}},
	{"written after the close", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 8192))
		m := p.mapped(fd, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		p.shut(fd)
		copy(m[4000:], "after the close")
		p.err("msync", unix.Msync(m, unix.MS_SYNC))
		copy(m, "and after msync")
		p.must(unix.Munmap(m))
		p.text("f")
		fd = p.open("f", unix.O_RDWR)
		p.err("fsync", unix.Fsync(fd))
		p.read(fd, 20, 3995)
	}},
	{"written after the unlink", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 8192))
		m := p.mapped(fd, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		p.must(os.Remove(p.at("f")))
		copy(m, "unlinked")
		p.read(fd, 8, 0)
		p.shut(fd)
		p.err("msync", unix.Msync(m, unix.MS_SYNC))
		p.noteBytes("mapped", m[:8], nil)
		p.must(unix.Munmap(m))
		p.list(".")
	}},
	{"private", func(p *probe) {
		p.file("f", "text")
		m := p.mapped(p.open("f", unix.O_RDONLY), 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		copy(m, "mine")
		p.text("f")
		p.must(unix.Munmap(m))
		p.text("f")
	}},
	{"of what is open to be read", func(p *probe) {
		p.file("f", "text")
		_, err := unix.Mmap(p.open("f", unix.O_RDONLY), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		p.err("mmap", err)
	}},
	{"beyond the end", func(p *probe) {
		fd := p.open("f", readWrite)
		p.must(unix.Ftruncate(fd, 100))
		m := p.mapped(fd, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		p.note("in the last page: %s", touched(m, 200))
		p.note("behind it: %s", touched(m, 5000))
		p.must(unix.Ftruncate(fd, 10_000))
		p.note("after it grew: %s", touched(m, 5000))
		m[9999] = 'x'
		p.must(unix.Ftruncate(fd, 10))
		p.note("after it shrank: %s", touched(m, 5000))
		p.must(unix.Munmap(m))
		p.fstat(fd)
	}},
	{"what was mapped stays when a name goes elsewhere", func(p *probe) {
		p.file("f", "old text")
		p.file("g", "new text")
		m := p.mapped(p.open("f", unix.O_RDONLY), 4096, unix.PROT_READ, unix.MAP_SHARED)
		p.rename("g", "f", 0)
		p.noteBytes("mapped", m[:8], nil)
		p.text("f")
		p.must(unix.Munmap(m))
	}},
	{"a program that is run", func(p *probe) {
		b, err := os.ReadFile("/bin/true")
		p.must(err)
		p.must(os.WriteFile(p.at("true"), b, 0o755))
		child, err := os.StartProcess(p.at("true"), []string{"true"}, &os.ProcAttr{})
		p.err("run", err)
		if err == nil {
			state, err := child.Wait()
			p.note("%v %s", state, errnoName(err))
		}
		p.must(os.Chmod(p.at("true"), 0o644))
		_, err = os.StartProcess(p.at("true"), []string{"true"}, &os.ProcAttr{})
		p.err("run without the right", err)
	}},
	{"a script that is run", func(p *probe) {
		p.must(os.WriteFile(p.at("s"), []byte("#!/bin/sh\necho from $1 >\"$2\"\n"), 0o755))
		child, err := os.StartProcess(p.at("s"), []string{"s", "script", p.at("out")}, &os.ProcAttr{Sys: &syscall.SysProcAttr{}})
		p.must(err)
		_, err = child.Wait()
		p.must(err)
		p.text("out")
	}},
}

// touched reads a byte of a mapping and says what happened.
func touched(m []byte, at int) (what string) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			what = "SIGBUS"
		}
	}()
	return fmt.Sprint(m[at])
}
