package log

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/paxos"
)

// step is something that a node does with its log, and what that makes of the log.
type step struct {
	name    string
	do      func(*Log) error
	then    func(*contents)
	durable bool // with all before it, once it was done
}

// contents are what a log should hold.
type contents struct {
	promised  uint64
	forgotten paxos.Slot
	applied   paxos.Slot
	entries   map[paxos.Slot]paxos.Entry
	state     map[string]string
}

func (c *contents) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "promised %d, forgotten %v, applied %v;", c.promised, c.forgotten, c.applied)
	for _, s := range slices.Sorted(maps.Keys(c.entries)) {
		fmt.Fprintf(&b, " %v=%s", s, c.entries[s].Value)
	}
	for _, k := range slices.Sorted(maps.Keys(c.state)) {
		fmt.Fprintf(&b, "; %s=%.10s", k, c.state[k])
	}
	return b.String()
}

// contentsOf returns what a log holds.
func contentsOf(l *Log) (*contents, error) {
	st := l.State()
	c := &contents{promised: st.Hard.Promised.Round, forgotten: st.Forgotten, applied: st.Applied.Slot, entries: map[paxos.Slot]paxos.Entry{}, state: map[string]string{}}
	list, err := l.Entries(c.forgotten+1, 1<<30)
	for _, e := range list {
		c.entries[e.Slot] = e
	}
	if err == nil {
		err = l.Scan(nil, nil, func(k, v []byte) bool { c.state[string(k)] = string(v); return true })
	}
	if s := st.Snapshot; err == nil && s.Slot > 0 { // what is offered must be whole
		_, err = l.ReadSnapshot(s.Slot, make([]byte, s.Size), 0)
	}
	return c, err
}

// plot is the steps of a test, in two sessions with a close between them.
func plot(foreign paxos.Snapshot, body []byte) (list []step) {
	save := func(n uint64, forget paxos.Slot, entries ...paxos.Entry) step {
		return step{fmt.Sprint("save ", n), func(l *Log) error { return l.Save(paxos.Record{Hard: hard(n), Entries: entries, Forget: forget}) }, func(c *contents) {
			c.promised, c.forgotten = n, max(c.forgotten, forget)
			for _, e := range entries {
				c.entries[e.Slot] = e
			}
			maps.DeleteFunc(c.entries, func(s paxos.Slot, _ paxos.Entry) bool { return s <= c.forgotten })
		}, true}
	}
	apply := func(slot paxos.Slot, pairs ...string) step {
		return step{fmt.Sprint("apply ", slot), func(l *Log) error { return l.Apply(slot, members, writes(pairs...)) }, func(c *contents) {
			c.applied = slot
			for k, v := range writes(pairs...) {
				if v == nil {
					delete(c.state, string(k))
				} else {
					c.state[string(k)] = string(v)
				}
			}
		}, false}
	}
	snapshot := step{"snapshot", func(l *Log) error { _, err := l.Snapshot(); return err }, func(*contents) {}, false}
	install := step{"install", func(l *Log) error { return installPieces(l, foreign, body) }, func(c *contents) {
		c.applied, c.forgotten = foreign.Slot, foreign.Slot
		clear(c.entries)
		c.state = map[string]string{"f0": "0", "f1": "1", "f2": "2"}
	}, true}
	long := strings.Repeat("x", 3000)
	return []step{
		save(1, 0, entry(1, "a"), entry(2, "b")), save(2, 0, entry(3, "c")), apply(1, "k=1"), save(3, 0, entry(3, "C"), entry(4, long)),
		apply(3, "k=3", "gone=1"), snapshot, save(4, 2), apply(4, "gone", "k=4"), save(5, 0, entry(5, "e")), {name: "close"},
		save(6, 0, entry(6, "f")), install, save(7, 0, entry(101, "g"), entry(102, "h")), apply(101, "k=101"), snapshot, save(8, 101), {name: "close"},
	}
}

func installPieces(l *Log, s paxos.Snapshot, body []byte) error {
	in, err := l.Receive(s)
	if err != nil {
		return err
	}
	for at := in.Have(); at < int64(s.Size); {
		n, err := in.Write(body[at:min(at+20, int64(s.Size))])
		if err != nil {
			return errors.Join(err, in.Close())
		}
		at += int64(n)
	}
	return in.Install()
}

// foreign makes a snapshot that another node took.
func foreign(t *testing.T) (paxos.Snapshot, []byte) {
	l := open(t, vfs.NewMem())
	defer shut(t, l)
	if err := l.Apply(100, members, writes("f0=0", "f1=1", "f2=2")); err != nil {
		t.Fatal(err)
	}
	s, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, s.Size)
	if _, err := l.ReadSnapshot(s.Slot, body, 0); err != nil {
		t.Fatal(err)
	}
	return s, body
}

// process runs the steps on a disk, as a node would: after an error it does no more.
type process struct {
	steps          []step
	begun, durable atomic.Int64 // counts of steps
	fatal          chan error
}

func (p *process) run(fsys vfs.FS) error {
	done := make(chan error, 1)
	p.fatal = make(chan error, 1)
	go func() { done <- p.steady(fsys) }()
	select {
	case err := <-done:
		return err
	case err := <-p.fatal: // the process has ended: whatever waits, waits for nothing
		return err
	}
}

func (p *process) steady(fsys vfs.FS) (err error) {
	var l *Log
	for i, s := range p.steps {
		if l == nil {
			l, err = Open(Config{Dir: "node", Cluster: cluster, ID: 1, FS: fsys, Reserve: -1, Cache: 1 << 20, noStats: true, Fatal: func(err error) {
				select {
				case p.fatal <- err:
				default:
				}
			}})
			if err != nil {
				return err
			}
		}
		p.begun.Store(int64(i + 1))
		if s.do != nil {
			err = s.do(l)
		} else {
			err = l.Close()
			l = nil
		}
		if err != nil {
			if l != nil {
				p.begun.Store(int64(len(p.steps) + 1)) // promised 99
				closed := l.closed.Load()
				if serr := l.Save(paxos.Record{Hard: hard(99)}); closed && !errors.Is(serr, ErrClosed) {
					return fmt.Errorf("%w: after %w a save says %w", errUnsound, err, serr)
				}
				_ = l.Close()
			}
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if s.durable || s.do == nil {
			p.durable.Store(int64(i + 1))
		}
	}
	return nil
}

var errUnsound = errors.New("unsound")

// expected returns what a log may hold after some of the steps from durable on.
func (p *process) expected(durable, begun int64) iter.Seq[string] {
	return func(yield func(string) bool) {
		c := &contents{entries: map[paxos.Slot]paxos.Entry{}, state: map[string]string{}}
		for i := range int64(len(p.steps)) + 1 {
			if i >= durable && i <= begun && !yield(c.String()) {
				return
			}
			if i < int64(len(p.steps)) && p.steps[i].then != nil {
				p.steps[i].then(c)
			}
		}
	}
}

// check opens what is left of a disk: it must be what it was after one of the steps
// that may have been the last, and go on.
func (p *process) check(fsys vfs.FS, durable, begun int64) error {
	for again := range 2 {
		l, err := Open(Config{Dir: "node", Cluster: cluster, ID: 1, FS: fsys, Reserve: -1, Cache: 1 << 20})
		if err != nil {
			return fmt.Errorf("it does not open: %w", err)
		}
		c, err := contentsOf(l)
		if again == 1 {
			if c.promised != 100 {
				err = errors.Join(err, fmt.Errorf("what was saved after it is lost: %v", c))
			}
			return errors.Join(err, l.Close())
		}
		got := c.String()
		late := begun > int64(len(p.steps)) && c.promised == 99
		if err == nil && !late && !slices.Contains(slices.Collect(p.expected(durable, begun)), got) {
			err = fmt.Errorf("after %d to %d steps it holds %s", durable, begun, got)
		}
		if err = errors.Join(err, l.Save(paxos.Record{Hard: hard(100)}), l.Close()); err != nil {
			return err
		}
	}
	return nil
}

// changes reports whether a call changes the disk.
func changes(op errorfs.Op) bool {
	return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpLock && op.Kind != errorfs.OpFileClose
}

// A power cut before any call that changes the disk, syncs among them, leaves what was
// saved, whatever part of the rest reached the disk; the first opening, closing and
// the installing of a snapshot are cut off, too.
func TestLog_PowerCutBeforeEveryCall(t *testing.T) {
	s, body := foreign(t)
	p := &process{steps: plot(s, body)}
	disk := vfs.NewCrashableMem()
	type cut struct {
		fsys           *vfs.MemFS
		at             string
		durable, begun int64
	}
	var mu sync.Mutex
	var cuts []cut
	rng := rand.New(rand.NewPCG(1, 1))
	err := p.run(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !changes(op) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 50, 100} {
			c := cut{at: fmt.Sprintf("call %d, %d of %s, %d%% kept", len(cuts)/3, op.Kind, op.Path, percent), durable: p.durable.Load()}
			c.fsys = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			c.begun = p.begun.Load()
			cuts = append(cuts, c)
		}
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cuts {
		if err := p.check(c.fsys, c.durable, c.begun); err != nil {
			t.Errorf("%s: %v", c.at, err)
		}
	}
	t.Logf("%d calls", len(cuts)/3)
	if len(cuts) < 300 {
		t.Errorf("only %d cuts", len(cuts))
	}
}

// trouble is how a disk fails from some call on.
type trouble struct {
	name  string
	err   error
	once  bool
	meets func(errorfs.Op) bool
}

var troubles = []trouble{
	{"EIO at one call", syscall.EIO, true, func(op errorfs.Op) bool { return op.Kind != errorfs.OpFileClose }},
	{"EIO from one call on", syscall.EIO, false, func(op errorfs.Op) bool { return op.Kind != errorfs.OpFileClose }},
	{"ENOSPC at one call", syscall.ENOSPC, true, takesRoom},
	{"ENOSPC from one call on", syscall.ENOSPC, false, takesRoom},
}

// takesRoom reports whether a call may find the disk full. A sync may, on file systems
// that find room late.
func takesRoom(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRename, errorfs.OpMkdirAll, errorfs.OpFilePreallocate, errorfs.OpFileWrite, errorfs.OpFileWriteAt,
		errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpReuseForWrite:
		return true
	}
	return false
}

// A failure that ends the goroutine in which Pebble is opened leaves neither a database
// nor an error of its own.
func TestOpened_After(t *testing.T) {
	failure, other := errors.New("the disk failed"), errors.New("another")
	for _, c := range []struct {
		o             opened
		failure, want error
	}{{opened{}, failure, failure}, {opened{}, nil, errNotOpened}, {opened{err: other}, failure, other}, {opened{err: other}, nil, other}} {
		if db, err := c.o.after(c.failure); db != nil || !errors.Is(err, c.want) {
			t.Errorf("%+v after %v: %v, %v; want %v", c.o, c.failure, db, err, c.want)
		}
	}
	for _, failure := range []error{nil, failure} {
		db, err := pebble.Open("db", &pebble.Options{FS: vfs.NewMem(), Logger: &ending{}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := (opened{db: db}).after(failure); (got == nil) != (failure != nil) || !errors.Is(err, failure) {
			t.Errorf("an open one after %v: %v, %v", failure, got, err)
		} else if got != nil {
			if err := got.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// The disk fails at any call: the log says so or goes on, never is what was saved
// before lost, never is damage reported, and once the disk is well again the directory
// opens: after the end of the process, and after a power cut that takes what was not
// synced.
func TestLog_DiskFailsAtEveryCall(t *testing.T) {
	s, body := foreign(t)
	for _, tr := range troubles {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			for at := int64(1); ; at++ {
				p := &process{steps: plot(s, body)}
				disk := vfs.NewCrashableMem()
				var calls atomic.Int64
				var where atomic.Pointer[string]
				err := p.run(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
					if !tr.meets(op) {
						return nil
					}
					n := calls.Add(1)
					if n == at {
						where.Store(new(fmt.Sprintf("call %d, %d of %s", at, op.Kind, op.Path)))
					}
					if n == at || n > at && !tr.once {
						return &vfsError{tr.err}
					}
					return nil
				})))
				if where.Load() == nil { // not so many calls
					break
				}
				var damaged *DamagedError
				if errors.As(err, &damaged) || errors.Is(err, errUnsound) {
					t.Errorf("%s: %v", *where.Load(), err)
				}
				if err != nil {
					failures++
				}
				durable, begun := p.durable.Load(), p.begun.Load()
				for _, percent := range []int{0, 100} {
					left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
					if err := p.check(left, durable, begun); err != nil {
						t.Errorf("%s (%v), %d%% kept: %v", *where.Load(), err, percent, err)
					}
				}
			}
			t.Logf("%d failures were heard", failures)
			if failures < 50 {
				t.Error("that are too few")
			}
		})
	}
}

// vfsError is an error of a system call.
type vfsError struct{ error }

func (e *vfsError) Unwrap() error { return e.error }
