//go:build linux

package mount_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// When the mounting process is killed, at any moment, all is there that was closed,
// or brought to the disk by fsync of a file or of a directory, and a file of which
// neither had returned is as before or as after, never between. The next process
// takes the directory over that the dead one has left. AETHER_KILL_LOOPS says how
// often.
func TestKill(t *testing.T) {
	canMount(t)
	loops, s := int(setting(t, "AETHER_KILL_LOOPS", 8)), seed(t, "AETHER_KILL_SEED")
	root := t.TempDir()
	machine, dir := filepath.Join(root, "machine"), filepath.Join(root, "drive")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := startMount(machine, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill(dir) })
	var writers []*writer
	for i := range uint64(4) {
		w := &writer{name: fmt.Sprint("w", i), root: dir, rng: rand.New(rand.NewPCG(s, i)), may: []contents{{}}}
		if err := os.Mkdir(filepath.Join(dir, w.name), 0o755); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err = errors.Join(err, unix.Fsync(fd), unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	moment := rand.New(rand.NewPCG(s, 99))
	acknowledged := 0
	for loop := range loops {
		var jobs sync.WaitGroup
		for _, w := range writers {
			jobs.Go(w.work)
		}
		<-time.After(time.Duration(moment.IntN(400)) * time.Millisecond)
		p.crash()
		jobs.Wait()
		next, err := startMount(machine, dir)
		if err != nil {
			t.Fatalf("loop %d: mounting again: %v", loop, err)
		}
		p = next
		for _, w := range writers {
			acknowledged += w.acknowledged
			if err := w.check(); err != nil {
				t.Errorf("loop %d: %s: %v; its last operations were\n%s", loop, w.name, err, strings.Join(w.last, "\n"))
			}
		}
		if t.Failed() {
			return
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d operations were acknowledged", acknowledged)
	if acknowledged < loops {
		t.Errorf("%d acknowledged operations in %d loops tell nothing", acknowledged, loops)
	}
}

// crash ends the child as a power cut would. What it mounted stays.
func (p *process) crash() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

// contents is what a directory holds: files by their names.
type contents map[string]string

// writer works in a directory of its own, one operation after another, until the
// mount is gone.
type writer struct {
	name, root string
	rng        *rand.Rand
	// may are the states in which the directory may be found: what was last
	// acknowledged, and what was begun since, in order.
	may          []contents
	acknowledged int
	n            int
	last         []string
}

var errUnexpected = errors.New("unexpected")

func (w *writer) path(name string) string { return filepath.Join(w.root, w.name, name) }

// now returns the state after all that was begun.
func (w *writer) now() contents { return w.may[len(w.may)-1] }

// begins notes that a change is about to be made.
func (w *writer) begins(change func(c contents)) {
	c := maps.Clone(w.now())
	change(c)
	w.may = append(w.may, c)
}

// acknowledges notes that all that was begun must be found again.
func (w *writer) acknowledges() {
	w.may = []contents{w.now()}
	w.acknowledged++
}

func (w *writer) told(format string, args ...any) {
	w.n++
	if len(w.last) == 15 {
		w.last = w.last[1:]
	}
	w.last = append(w.last, fmt.Sprintf("%5d ", w.n)+fmt.Sprintf(format, args...))
}

// work makes operations until one fails.
func (w *writer) work() {
	ops := []func() error{w.write, w.write, w.save, w.save, w.appendTo, w.twice, w.rename, w.unlink, w.syncDir}
	w.acknowledged = 0
	for {
		if err := ops[w.rng.IntN(len(ops))](); err != nil {
			w.told("ended by: %v", err)
			return
		}
	}
}

// text returns something that no other operation writes.
func (w *writer) text() string {
	n := w.rng.IntN(20_000)
	if w.rng.IntN(4) == 0 {
		n = w.rng.IntN(400_000)
	}
	mark := fmt.Sprintf("%s-%d.", w.name, w.n)
	return strings.Repeat(mark, n/len(mark)+1)
}

func (w *writer) any() string { return fmt.Sprint("f", w.rng.IntN(8)) }

// closed writes text in pieces to a new or changed file, and closes it.
func (w *writer) closed(name string, flags int, text string) error {
	fd, err := unix.Open(w.path(name), flags|unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	for len(text) > 0 && err == nil {
		piece := text[:min(len(text), 1+w.rng.IntN(100_000))]
		_, err = unix.Write(fd, []byte(piece))
		text = text[len(piece):]
	}
	if err == nil && w.rng.IntN(2) == 0 {
		err = unix.Fsync(fd)
	}
	return errors.Join(err, unix.Close(fd))
}

// makes notes that a name is about to be made, empty at first.
func (w *writer) makes(name string) {
	if _, there := w.now()[name]; !there {
		w.begins(func(c contents) { c[name] = "" })
	}
}

func (w *writer) write() error {
	name, text := w.any(), w.text()
	w.told("write %d bytes to %s and close it", len(text), name)
	w.makes(name)
	w.begins(func(c contents) { c[name] = text })
	err := w.closed(name, unix.O_TRUNC, text)
	if err == nil {
		w.acknowledges()
	}
	return err
}

func (w *writer) appendTo() error {
	name, text := w.any(), w.text()
	w.told("append %d bytes to %s and close it", len(text), name)
	w.makes(name)
	w.begins(func(c contents) { c[name] += text })
	err := w.closed(name, unix.O_APPEND, text)
	if err == nil {
		w.acknowledges()
	}
	return err
}

// twice writes and calls fsync, and writes again before the close.
func (w *writer) twice() error {
	name, one, two := w.any(), w.text(), w.text()
	w.told("write %d bytes to %s, fsync, write %d more and close it", len(one), name, len(two))
	w.makes(name)
	w.begins(func(c contents) { c[name] = one })
	fd, err := unix.Open(w.path(name), unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(one))
	if err = errors.Join(err, unix.Fsync(fd)); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	w.acknowledges()
	w.begins(func(c contents) { c[name] = one + two })
	_, err = unix.Write(fd, []byte(two))
	if err = errors.Join(err, unix.Close(fd)); err == nil {
		w.acknowledges()
	}
	return err
}

// save does what editors do: a new file, over the old one.
func (w *writer) save() error {
	name, fresh, text := w.any(), "new", w.text()
	w.told("save %d bytes as %s", len(text), name)
	w.makes(fresh)
	w.begins(func(c contents) { c[fresh] = text })
	if err := w.closed(fresh, unix.O_TRUNC, text); err != nil {
		return err
	}
	w.acknowledges()
	w.begins(func(c contents) { c[name] = text; delete(c, fresh) })
	if err := os.Rename(w.path(fresh), w.path(name)); err != nil {
		return err
	}
	if w.rng.IntN(2) == 0 {
		return nil
	}
	return w.syncDir()
}

func (w *writer) rename() error {
	from, to := w.any(), w.any()
	text, there := w.now()[from]
	if !there || from == to {
		return nil
	}
	w.told("rename %s to %s", from, to)
	w.begins(func(c contents) { delete(c, from); c[to] = text })
	return os.Rename(w.path(from), w.path(to))
}

func (w *writer) unlink() error {
	name := w.any()
	if _, there := w.now()[name]; !there {
		return nil
	}
	w.told("unlink %s", name)
	w.begins(func(c contents) { delete(c, name) })
	return os.Remove(w.path(name))
}

func (w *writer) syncDir() error {
	w.told("fsync of the directory")
	fd, err := unix.Open(w.path("."), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err = errors.Join(unix.Fsync(fd), unix.Close(fd)); err == nil {
		w.acknowledges()
	}
	return err
}

// check looks whether the directory is in one of the states that it may be in, and
// goes on from there.
func (w *writer) check() error {
	found := contents{}
	entries, err := os.ReadDir(w.path("."))
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := os.ReadFile(w.path(e.Name()))
		if err != nil {
			return err
		}
		found[e.Name()] = string(b)
	}
	for _, c := range w.may {
		if maps.Equal(c, found) {
			w.may = []contents{c}
			return nil
		}
	}
	states := make([]string, 0, len(w.may))
	for _, c := range w.may {
		states = append(states, c.String())
	}
	return fmt.Errorf("%w: found %s instead of one of\n%s", errUnexpected, found, strings.Join(states, "\n"))
}

// String tells the names, and of files their length and what they begin and end with.
func (c contents) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		text := c[name]
		fmt.Fprintf(&b, "%s: %d %.12q…%q  ", name, len(text), text, text[max(0, len(text)-12):])
	}
	return "{" + b.String() + "}"
}
