package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// benchWorks is the table.
func benchWorks() []work {
	return []work{
		{name: "put, durable (plain: cp and sync)", unit: "B/s", target: 0.8, run: benchPut},
		{name: "write in sequence, fsync", unit: "B/s", target: 0.8, mount: true, run: benchWrite},
		{name: "read, warm", unit: "B/s", target: 0.9, mount: true, run: benchReadWarm},
		{name: "read, cold", unit: "B/s", target: 0.7, mount: true, run: benchReadCold},
		{name: "create", unit: "/s", target: 0.25, mount: true, run: benchCreate},
		{name: "stat, again", unit: "/s", target: 0.7, mount: true, run: benchStat},
		{name: "rename", unit: "/s", target: 0.2, mount: true, run: benchRename},
		{name: "create 4 KiB with fsync, 16 at a time", unit: "/s", target: 0.5, mount: true, run: benchCreateSync},
		{name: "git clone", unit: "s", target: 3, most: true, mount: true, run: benchClone},
		{name: "rename a full directory (plain: an empty one)", unit: "s", target: 1.1, most: true, mount: true, run: benchRenameFull},
		{name: "a byte at the front: stored (plain: all)", unit: "B", target: 0.0005, most: true, run: benchInsertBytes},
		{name: "a byte at the front: time (plain: cp, sync)", unit: "s", target: 1, most: true, run: benchInsertTime},
	}
}

// both does f in the plain directory and in the drive.
func (b *bench) both(f func(dir string) (float64, error)) (raw, ours float64, err error) {
	if raw, err = f(b.raw); err == nil {
		ours, err = f(b.mnt)
	}
	return raw, ours, err
}

// name is a path that no earlier round used.
func (b *bench) name(dir, s string) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%d", s, b.round))
}

// seconds measures f.
func seconds(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds(), err
}

// noise writes n bytes that do not shrink, others each round.
func (b *bench) noise(w io.Writer, n int64) error {
	src := rand.NewChaCha8([32]byte{byte(b.round), byte(b.round >> 8), 1})
	block := make([]byte, 1<<20)
	for ; n > 0 && b.ctx.Err() == nil; n -= int64(len(block)) {
		block = block[:min(n, int64(len(block)))]
		_, _ = src.Read(block)
		if _, err := w.Write(block); err != nil {
			return err
		}
	}
	return b.ctx.Err()
}

// source makes a local file of n bytes, in the page cache.
func (b *bench) source(n int64) (string, error) {
	p := filepath.Join(b.base, "source")
	f, err := os.Create(p)
	if err != nil {
		return "", err
	}
	return p, errors.Join(b.noise(f, n), f.Sync(), f.Close())
}

// durableCopy is cp and sync.
func durableCopy(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 1<<20))
	return errors.Join(err, dst.Sync(), dst.Close())
}

func benchPut(b *bench) (raw, ours float64, err error) {
	src, err := b.source(b.size)
	if err != nil {
		return 0, 0, err
	}
	raw, err = seconds(func() error { return durableCopy(src, b.name(b.raw, "put")) })
	if err == nil {
		ours, err = seconds(func() error {
			return b.command("store", "put", "-q", "--dir", b.machine, src, fmt.Sprintf("/put-%d", b.round))
		})
	}
	err = errors.Join(err, os.Remove(b.name(b.raw, "put")), b.command("store", "rm", "--dir", b.machine, fmt.Sprintf("/put-%d", b.round)))
	return float64(b.size) / raw, float64(b.size) / ours, err
}

// written makes a file of the bench's size in dir, durable.
func (b *bench) written(dir string) (float64, error) {
	block := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{byte(b.round), 2}).Read(block)
	s, err := seconds(func() error {
		f, err := os.Create(b.name(dir, "file"))
		if err != nil {
			return err
		}
		for off := int64(0); off < b.size && err == nil && b.ctx.Err() == nil; off += int64(len(block)) {
			for i := 0; i < len(block); i += 4096 { // no two blocks are equal
				block[i]++
				block[i+1] += byte(off >> 20)
			}
			_, err = f.Write(block[:min(int64(len(block)), b.size-off)])
		}
		return errors.Join(err, f.Sync(), f.Close())
	})
	return float64(b.size) / s, err
}

func benchWrite(b *bench) (raw, ours float64, err error) {
	raw, ours, err = b.both(b.written)
	return raw, ours, errors.Join(err, os.Remove(b.name(b.raw, "file")), os.Remove(b.name(b.mnt, "file")))
}

func (b *bench) readAll(dir string) (float64, error) {
	buf := make([]byte, 1<<20)
	s, err := seconds(func() error {
		f, err := os.Open(b.name(dir, "file"))
		if err != nil {
			return err
		}
		defer f.Close()
		for err == nil {
			_, err = f.Read(buf)
		}
		if err != io.EOF {
			return err
		}
		return nil
	})
	return float64(b.size) / s, err
}

func benchRead(b *bench, prepare func(dir string) error) (raw, ours float64, err error) {
	if _, _, err = b.both(b.written); err != nil {
		return 0, 0, err
	}
	raw, ours, err = b.both(func(dir string) (float64, error) {
		if err := prepare(dir); err != nil {
			return 0, err
		}
		return b.readAll(dir)
	})
	return raw, ours, errors.Join(err, os.Remove(b.name(b.raw, "file")), os.Remove(b.name(b.mnt, "file")))
}

func benchReadWarm(b *bench) (raw, ours float64, err error) {
	return benchRead(b, func(dir string) error {
		_, err := b.readAll(dir)
		return err
	})
}

func benchReadCold(b *bench) (raw, ours float64, err error) {
	return benchRead(b, func(dir string) error {
		segments, err := filepath.Glob(filepath.Join(b.machine, "segments", "*"))
		if err != nil {
			return err
		}
		for _, p := range append(segments, b.name(dir, "file")) {
			if err := dropCache(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// each does f for the numbers of small files in a fresh directory and returns how many
// a second.
func (b *bench) each(dir string, f func(p string) error) (float64, error) {
	d := b.name(dir, "small")
	if err := os.MkdirAll(d, 0o755); err != nil {
		return 0, err
	}
	s, err := seconds(func() error {
		for i := range b.files {
			if err := f(filepath.Join(d, strconv.Itoa(i))); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(b.files) / s, err
}

func createEmpty(p string) error {
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func (b *bench) removeSmall() error {
	return errors.Join(os.RemoveAll(b.name(b.raw, "small")), os.RemoveAll(b.name(b.mnt, "small")))
}

func benchCreate(b *bench) (raw, ours float64, err error) {
	raw, ours, err = b.both(func(dir string) (float64, error) { return b.each(dir, createEmpty) })
	return raw, ours, errors.Join(err, b.removeSmall())
}

func benchStat(b *bench) (raw, ours float64, err error) {
	raw, ours, err = b.both(func(dir string) (float64, error) {
		if _, err := b.each(dir, createEmpty); err != nil {
			return 0, err
		}
		stat := func(p string) error { _, err := os.Lstat(p); return err }
		if _, err := b.each(dir, stat); err != nil { // attributes are kept from the first look on
			return 0, err
		}
		return b.each(dir, stat)
	})
	return raw, ours, errors.Join(err, b.removeSmall())
}

func benchRename(b *bench) (raw, ours float64, err error) {
	raw, ours, err = b.both(func(dir string) (float64, error) {
		if _, err := b.each(dir, createEmpty); err != nil {
			return 0, err
		}
		return b.each(dir, func(p string) error { return os.Rename(p, p+"r") })
	})
	return raw, ours, errors.Join(err, b.removeSmall())
}

func benchCreateSync(b *bench) (raw, ours float64, err error) {
	const threads = 16
	raw, ours, err = b.both(func(dir string) (float64, error) {
		d := b.name(dir, "small")
		if err := os.MkdirAll(d, 0o755); err != nil {
			return 0, err
		}
		each := max(1, b.files/threads)
		errs := make([]error, threads)
		s, _ := seconds(func() error {
			var wg sync.WaitGroup
			for n := range threads {
				wg.Go(func() {
					body := make([]byte, 4096)
					for i := range each {
						_, _ = rand.NewChaCha8([32]byte{byte(n), byte(i), byte(i >> 8), byte(b.round)}).Read(body)
						if errs[n] = createDurable(filepath.Join(d, fmt.Sprintf("%d-%d", n, i)), body); errs[n] != nil {
							return
						}
					}
				})
			}
			wg.Wait()
			return nil
		})
		return float64(each*threads) / s, errors.Join(errs...)
	})
	return raw, ours, errors.Join(err, b.removeSmall())
}

func createDurable(p string, body []byte) error {
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close())
}

// benchClone clones a repository of some thousand files that it makes.
func benchClone(b *bench) (raw, ours float64, err error) {
	repo := filepath.Join(b.base, "repository")
	if _, err := os.Stat(repo); err != nil {
		if err := b.makeRepository(repo); err != nil {
			return 0, 0, err
		}
	}
	raw, ours, err = b.both(func(dir string) (float64, error) {
		return seconds(func() error {
			return git("clone", "-q", "file://"+repo, b.name(dir, "clone"))
		})
	})
	return raw, ours, errors.Join(err, os.RemoveAll(b.name(b.raw, "clone")), os.RemoveAll(b.name(b.mnt, "clone")))
}

func git(args ...string) error {
	args = append([]string{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"}, args...)
	if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("git: %w: %s", err, out)
	}
	return nil
}

func (b *bench) makeRepository(repo string) error {
	if err := git("init", "-q", repo); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range b.files {
		d := filepath.Join(repo, fmt.Sprintf("d%d", i%50))
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		var body []byte
		for range 20 + rnd.IntN(400) {
			body = fmt.Appendf(body, "line %d of the file with the number %d\n", rnd.IntN(1000), i)
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("f%d.txt", i)), body, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(git("-C", repo, "add", "-A"), git("-C", repo, "commit", "-q", "-m", "all"))
}

// renameFiles is how many files lie in the full directory.
const renameFiles = 100_000

func benchRenameFull(b *bench) (empty, full float64, err error) {
	f, e := filepath.Join(b.mnt, "full"), filepath.Join(b.mnt, "empty")
	if _, err := os.Stat(f); err != nil {
		if err := errors.Join(os.Mkdir(f, 0o755), os.Mkdir(e, 0o755)); err != nil {
			return 0, 0, err
		}
		for i := range renameFiles {
			if err := createEmpty(filepath.Join(f, strconv.Itoa(i))); err != nil {
				return 0, 0, err
			}
		}
	}
	there := func(p string) (float64, error) {
		return seconds(func() error {
			for range 20 {
				if err := errors.Join(os.Rename(p, p+"x"), os.Rename(p+"x", p)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if empty, err = there(e); err == nil {
		full, err = there(f)
	}
	return empty / 40, full / 40, err
}

// insertSize is the file before whose front a byte is put.
const insertSize = 256 << 20

func (b *bench) inserted() (before, after string, err error) {
	before, after = filepath.Join(b.base, "before"), filepath.Join(b.base, "after")
	src, err := b.source(insertSize)
	if err == nil {
		err = os.Rename(src, before)
	}
	if err != nil {
		return "", "", err
	}
	in, err := os.Open(before)
	if err != nil {
		return "", "", err
	}
	defer in.Close()
	out, err := os.Create(after)
	if err != nil {
		return "", "", err
	}
	_, err = out.Write([]byte{'x'})
	if err == nil {
		_, err = io.Copy(out, in)
	}
	return before, after, errors.Join(err, out.Sync(), out.Close())
}

func benchInsertBytes(b *bench) (all, stored float64, err error) {
	before, after, err := b.inserted()
	if err != nil {
		return 0, 0, err
	}
	if err := b.command("store", "put", "-q", "--dir", b.machine, before, "/insert"); err != nil {
		return 0, 0, err
	}
	was, err := b.usedAfter(nil)
	if err != nil {
		return 0, 0, err
	}
	now, err := b.usedAfter(func() error { return b.command("store", "put", "-q", "--dir", b.machine, after, "/insert") })
	return insertSize, now - was, err
}

// usedAfter does f and returns the bytes of chunks on the machine's disk then.
func (b *bench) usedAfter(f func() error) (float64, error) {
	if f != nil {
		if err := f(); err != nil {
			return 0, err
		}
	}
	out, err := exec.Command(b.self, "store", "status", "--json", "--dir", b.machine).Output()
	if err != nil {
		return 0, err
	}
	var s struct {
		Space struct{ Replicas int64 }
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return 0, err
	}
	return float64(s.Space.Replicas), nil
}

func benchInsertTime(b *bench) (raw, ours float64, err error) {
	before, after, err := b.inserted()
	if err != nil {
		return 0, 0, err
	}
	if err := b.command("store", "put", "-q", "--dir", b.machine, before, "/insert"); err != nil {
		return 0, 0, err
	}
	raw, err = seconds(func() error { return durableCopy(after, b.name(b.raw, "insert")) })
	if err == nil {
		ours, err = seconds(func() error { return b.command("store", "put", "-q", "--dir", b.machine, after, "/insert") })
	}
	return raw, ours, errors.Join(err, os.Remove(b.name(b.raw, "insert")))
}
