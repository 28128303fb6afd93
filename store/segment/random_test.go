package segment_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// standing is what a model believes of a body.
type standing struct {
	there bool
	class segment.Class
	since int // when it became a Log
}

// oracle knows what a store may hold: now, and after a crash.
type oracle struct {
	mu    sync.Mutex
	now   map[int]standing
	since map[int][]standing // that which was synced last, and all later ones
	clock int
}

const oracleBodies = 120

func newOracle() *oracle { return &oracle{now: map[int]standing{}, since: map[int][]standing{}} }

// tries notes that n is about to become s, and returns what to call when it is.
func (o *oracle) tries(n int, s standing) (done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.since[n]) == 0 {
		o.since[n] = []standing{o.now[n]}
	}
	o.since[n] = append(o.since[n], s)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.now[n] = s
	}
}

func (o *oracle) synced() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.since)
}

// clone copies o, of which the caller holds mu.
func (o *oracle) clone() *oracle {
	c := &oracle{now: maps.Clone(o.now), since: maps.Clone(o.since), clock: o.clock}
	for n, s := range c.since {
		c.since[n] = slices.Clone(s)
	}
	return c
}

// later returns the standing of class c of a body that has s.
func (o *oracle) later(s standing, c segment.Class) standing {
	switch {
	case c != segment.Log:
		s.since = 0
	case !s.there || s.class != segment.Log:
		o.clock++
		s.since = o.clock
	}
	s.there, s.class = true, c
	return s
}

// random is one run against an oracle.
type random struct {
	*oracle
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	f    fixture
}

func (r *random) fatalf(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("seed %d: %s", r.seed, fmt.Sprintf(format, args...))
}

func (r *random) must(err error) {
	r.t.Helper()
	if err != nil {
		r.fatalf("%v", err)
	}
}

func (r *random) step() {
	n := r.rng.IntN(oracleBodies)
	if s := r.now[n]; s.there && s.class == segment.Cache && !r.f.Has(refOf(n)) {
		r.tries(n, standing{})()
	}
	class := segment.Class(r.rng.IntN(3))
	s := r.now[n]
	switch k := r.rng.IntN(20); {
	case k < 8:
		if !s.there || s.class == segment.Cache || class == segment.Log && s.class == segment.Replica {
			s = r.later(s, class)
		}
		done := r.tries(n, s)
		if err := r.f.Put(refOf(n), bodyOf(n), class); err == nil {
			done()
		} else if !errors.Is(err, segment.ErrFull) {
			r.fatalf("%v", err)
		}
	case k < 11:
		done := r.tries(n, standing{})
		r.must(r.f.Delete(refOf(n)))
		done()
	case k < 13 && s.there:
		done := r.tries(n, r.later(s, class))
		switch err := r.f.SetClass(refOf(n), class); {
		case err == nil:
			done()
		case errors.Is(err, store.ErrNotFound) && s.class == segment.Cache: // it had to make room
		case !errors.Is(err, segment.ErrFull):
			r.fatalf("%v", err)
		}
	case k < 14 && s.there:
		err := r.f.Repair(refOf(n), bodyOf(n))
		if err != nil && !errors.Is(err, segment.ErrFull) && (s.class != segment.Cache || !errors.Is(err, store.ErrNotFound)) {
			r.fatalf("%v", err)
		}
	case k < 17:
		_, _, err := r.f.CompactSome(r.rng.Int64N(20000))
		r.must(err)
	case k < 19:
		r.must(r.f.Sync())
		r.synced()
	}
}

// check compares what is there now, exactly.
func (r *random) check(fs vfs.FS) {
	r.t.Helper()
	for n := range oracleBodies {
		s, there := r.now[n], r.f.holds(n)
		if there != s.there && (s.class != segment.Cache || !s.there) {
			r.fatalf("%d is there: %v, want %+v", n, there, s)
		}
		if !there && s.there {
			r.tries(n, standing{})()
		}
	}
	r.matches(func(n int) []standing { return []standing{r.now[n]} })
	r.must(r.f.Sync())
	r.synced()
	if err := recount(r.f, fs); err != nil {
		r.fatalf("%v", err)
	}
}

// adopt compares what is there after a crash, and goes on from it.
func (r *random) adopt() {
	r.t.Helper()
	mayBe := func(n int) []standing {
		if s := r.since[n]; len(s) > 0 {
			return s
		}
		return []standing{r.now[n]}
	}
	for n := range oracleBodies {
		if !r.f.holds(n) && !slices.ContainsFunc(mayBe(n), func(s standing) bool { return !s.there || s.class == segment.Cache }) {
			r.fatalf("%d is gone, want one of %+v", n, mayBe(n))
		}
	}
	now := r.matches(mayBe)
	r.mu.Lock() // the next crash may come from elsewhere
	defer r.mu.Unlock()
	r.now = now
	clear(r.since)
}

// matches compares refs, sizes and classes that Each reports, and the order of Logs,
// with what may be, and returns what is.
func (r *random) matches(mayBe func(n int) []standing) map[int]standing {
	r.t.Helper()
	is := map[int]standing{}
	var last store.Ref
	err := r.f.Each(store.Ref{}, func(ref store.Ref, size int64, class segment.Class) bool {
		n := int(binary.BigEndian.Uint32(append([]byte{0}, ref[:3]...)))
		i := slices.IndexFunc(mayBe(n), func(s standing) bool { return s.there && s.class == class })
		if string(ref[:]) <= string(last[:]) || size != int64(len(bodyOf(n))) || i < 0 {
			r.fatalf("%d of %d bytes is %s behind %x, want one of %+v", n, size, class, last[:3], mayBe(n))
		}
		last = ref
		is[n] = mayBe(n)[i]
		return true
	})
	r.must(err)
	before, count := 0, 0
	err = r.f.Logs(func(ref store.Ref, body []byte) error {
		count++
		n := int(binary.BigEndian.Uint32(append([]byte{0}, ref[:3]...)))
		best := standing{}
		for _, s := range mayBe(n) {
			if s.there && s.class == segment.Log && s.since > before && (!best.there || s.since < best.since) {
				best = s
			}
		}
		if !best.there || string(body) != string(bodyOf(n)) {
			return fmt.Errorf("%d comes behind the Log of %d, may be %+v", n, before, mayBe(n))
		}
		is[n], before = best, best.since
		return nil
	})
	r.must(err)
	for _, s := range is {
		if s.class == segment.Log {
			count--
		}
	}
	if count != 0 {
		r.fatalf("Logs reports %d more than Each", count)
	}
	return is
}

// recount reads all files and all of the index and compares them with each other and
// with Usage. Nothing may wait.
func recount(f fixture, fs vfs.FS) error {
	files := map[uint32][]byte{}
	names, err := fs.List("/chunks")
	for _, name := range names {
		var n uint32
		fmt.Sscanf(name, "%d.seg", &n)
		file, e := fs.Open("/chunks/" + name)
		if e != nil {
			return e
		}
		files[n], e = io.ReadAll(file)
		err = errors.Join(err, e, file.Close())
	}
	u := segment.Usage{Space: f.Usage().Space}
	for _, b := range files {
		u.Dead += int64(len(b))
	}
	want := map[string]string{}
	counts := map[uint32]*[2]int64{}
	e := f.kv.Scan([]byte("sr"), []byte("ss"), func(k, v []byte) bool {
		n, offset, length, class := binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), int64(binary.BigEndian.Uint32(v[8:])), v[12]
		size := head + length
		if len(v) > 13 {
			size += 8
		}
		if int64(len(files[n])) < int64(offset)+size {
			err = errors.Join(err, fmt.Errorf("%x lies behind the end of %d", k[2:], n))
			return false
		}
		b := files[n][offset:][:size]
		sum := crc32.Checksum(slices.Concat(b[:12], b[16:]), crc32.MakeTable(crc32.Castagnoli))
		if string(b[16:48]) != string(k[2:]) || binary.BigEndian.Uint32(b[12:]) != sum {
			err = errors.Join(err, fmt.Errorf("%x does not lie at %d in %d", k[2:], offset, n))
		}
		if counts[n] == nil {
			counts[n] = new([2]int64)
		}
		u.Dead -= size
		if class == 1 {
			u.Cache += size
			counts[n][1] += size
		} else {
			u.Replicas += size
			counts[n][0] += size
		}
		want["so"+string(v[:8])] = string(k[2:])
		if class == 2 {
			want["sl"+string(v[13:])+string(k[2:])] = ""
		}
		return true
	})
	err = errors.Join(err, e)
	e = f.kv.Scan([]byte("sg"), []byte("sp"), func(k, v []byte) bool {
		switch k[1] {
		case 'g':
			n := binary.BigEndian.Uint32(k[2:])
			if c := counts[n]; c == nil {
				counts[n] = new([2]int64)
			}
			if c := counts[n]; int64(binary.BigEndian.Uint64(v[9:])) != c[0] || int64(binary.BigEndian.Uint64(v[17:])) != c[1] {
				err = errors.Join(err, fmt.Errorf("segment %d counts %x, want %v", n, v, c))
			}
			delete(counts, n)
		case 'o', 'l':
			if w, ok := want[string(k)]; !ok || w != string(v) {
				err = errors.Join(err, fmt.Errorf("the index has %q", k))
			}
			delete(want, string(k))
		}
		return true
	})
	if len(want) > 0 || len(counts) > 0 {
		err = errors.Join(err, fmt.Errorf("the index lacks %d entries and %d segments", len(want), len(counts)))
	}
	u.Free = u.Space - u.Replicas - u.Cache - u.Dead
	if got := f.Usage(); got != u {
		err = errors.Join(err, fmt.Errorf("usage %+v, files have %+v", got, u))
	}
	return errors.Join(err, e)
}

var randomConfig = segment.Config{Space: 300 << 10, SegmentSize: 24 << 10}

// runs returns how many seeds to try; AETHER_SIM_SEEDS in the environment asks for more.
func runs(short, long uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("AETHER_SIM_SEEDS"), 10, 32); err == nil {
		return n
	}
	if testing.Short() {
		return short
	}
	return long
}

// TestStore_RandomAgainstModel does anything in any order and looks whether a slow and
// obvious model agrees, also over reopening.
func TestStore_RandomAgainstModel(t *testing.T) {
	for seed := range runs(4, 12) {
		var fs vfs.FS = vfs.NewMem()
		if seed%2 == 0 {
			fs = errorfs.Wrap(fs, unprepared{})
		}
		r := &random{newOracle(), t, seed, rand.New(rand.NewPCG(seed, 4)), open(t, fs, randomConfig)}
		for range 15 {
			for range r.rng.IntN(60) {
				r.step()
			}
			r.check(fs)
			if r.rng.IntN(2) == 0 {
				r.f.close()
				r.f = open(t, fs, randomConfig)
				r.check(fs)
			}
		}
		r.f.close()
	}
}

// crash is an injector of no errors: at one operation of the file system it keeps what
// a power failure then leaves.
type crash struct {
	mu     sync.Mutex
	left   int
	fs     *vfs.MemFS
	oracle *oracle
	rng    *rand.Rand

	after *vfs.MemFS
	model *oracle
}

func (c *crash) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.take()
	}
	return nil
}

// surely takes what is left now unless that was done before.
func (c *crash) surely() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.after == nil {
		c.take()
	}
}

func (c *crash) String() string { return "crash" }

func (c *crash) take() {
	c.oracle.mu.Lock() // nothing is tried in between
	defer c.oracle.mu.Unlock()
	c.model = c.oracle.clone()
	c.after = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 100, c.rng.IntN(101)}[c.rng.IntN(3)], RNG: c.rng})
}

// TestStore_RandomCrashes does anything in any order, loses power at any write of
// segments or index, and looks whether a model agrees with what is left.
func TestStore_RandomCrashes(t *testing.T) {
	seeds, without := runs(15, 50), uint64(0)
	for seed := range seeds {
		if !crashes(t, seed) {
			without++
		}
	}
	if without > 1+seeds/100 {
		t.Errorf("Pebble could not open its index after a crash in %d of %d runs", without, seeds)
	}
}

// crashes reports whether there always was an index. Pebble moves the marker of its
// manifest before it knows that the manifest is in the directory for good; a crash of
// MemFS may keep one without the other, which is no matter of segments.
func crashes(t *testing.T, seed uint64) bool {
	mem, o, rng := vfs.NewCrashableMem(), newOracle(), rand.New(rand.NewPCG(seed, 5))
	open(t, mem, randomConfig).close()
	for range 4 {
		if kv, err := index.Open(clone(mem), "/kv", index.Config{}); err == nil {
			kv.Close()
		} else if strings.Contains(err.Error(), "MANIFEST") {
			return false
		}
		c := &crash{left: 1 + rng.IntN(400), fs: mem, oracle: o, rng: rand.New(rand.NewPCG(seed, 6))}
		fs := errorfs.Wrap(mem, c)
		if seed%2 == 0 {
			fs = errorfs.Wrap(fs, unprepared{})
		}
		r := &random{o, t, seed, rng, open(t, fs, randomConfig)}
		r.adopt()
		if err := errors.Join(r.f.Sync(), recount(r.f, fs)); err != nil {
			r.fatalf("after the crash: %v", err)
		}
		for range rng.IntN(200) {
			r.step()
		}
		c.surely()
		r.f.close()
		mem, o = c.after, c.model
	}
	return true
}

// TestStore_CrashWhileManyWrite loses power while some put, delete and sync, each bodies
// of their own, and another compacts: what a Sync has said to be durable is.
func TestStore_CrashWhileManyWrite(t *testing.T) {
	cfg := segment.Config{Space: 4 << 20, SegmentSize: 48 << 10}
	for seed := range runs(5, 25) {
		mem, o := vfs.NewCrashableMem(), newOracle()
		open(t, mem, cfg).close()
		c := &crash{left: 1 + rand.New(rand.NewPCG(seed, 8)).IntN(600), fs: mem, oracle: o, rng: rand.New(rand.NewPCG(seed, 9))}
		f := open(t, errorfs.Wrap(mem, c), cfg)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() { o.write(f, w, rand.New(rand.NewPCG(seed, uint64(w)))) })
		}
		wg.Go(func() {
			for range 60 {
				if _, _, err := f.CompactSome(10 << 10); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		c.surely()
		f.close()
		f = open(t, c.after, cfg)
		r := &random{c.model, t, seed, nil, f}
		r.adopt()
		if err := errors.Join(f.Sync(), recount(f, c.after)); err != nil {
			r.fatalf("%v", err)
		}
		f.close()
	}
}

// write puts, deletes and syncs bodies that nobody else does.
func (o *oracle) write(f fixture, writer int, rng *rand.Rand) {
	mine := map[int]standing{}
	for range 150 {
		n := writer + 4*rng.IntN(oracleBodies/4)
		var err error
		switch k := rng.IntN(10); {
		case k < 6:
			s := standing{there: true, class: segment.Replica}
			done := o.tries(n, s)
			err = f.Put(refOf(n), bodyOf(n), s.class)
			done()
			mine[n] = s
		case k < 8:
			done := o.tries(n, standing{})
			err = f.Delete(refOf(n))
			done()
			mine[n] = standing{}
		default:
			err = f.Sync()
			o.mu.Lock()
			for n, s := range mine {
				o.since[n] = []standing{s}
			}
			o.mu.Unlock()
		}
		if err != nil {
			f.t.Error(err)
		}
	}
}

// TestStore_IndexLost takes the index away: what was put and not deleted is there, the
// log in its order, and what is there is right.
func TestStore_IndexLost(t *testing.T) {
	for seed := range runs(4, 12) {
		fs := vfs.NewMem()
		r := &random{newOracle(), t, seed, rand.New(rand.NewPCG(seed, 7)), open(t, fs, randomConfig)}
		for range 300 {
			r.step()
		}
		r.check(fs)
		var before []string
		r.must(r.f.Logs(func(ref store.Ref, _ []byte) error {
			before = append(before, ref.String())
			return nil
		}))
		r.f.close()
		r.must(fs.RemoveAll("/kv"))
		r.f = open(t, fs, randomConfig)
		for n, s := range r.now {
			if s.there && s.class != segment.Cache && !r.f.holds(n) {
				r.fatalf("%d is gone", n)
			}
		}
		var after []string
		r.must(r.f.Logs(func(ref store.Ref, _ []byte) error {
			if slices.Contains(before, ref.String()) {
				after = append(after, ref.String())
			}
			return nil
		}))
		if strings.Join(after, " ") != strings.Join(before, " ") {
			r.fatalf("log in order %v, want %v", after, before)
		}
		r.must(recount(r.f, fs))
		r.f.close()
	}
}
