package log

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/aether-lan/aether/paxos"
)

var cluster = paxos.ClusterID{1, 2, 3}

func open(t testing.TB, fsys vfs.FS) *Log {
	t.Helper()
	l, err := Open(Config{Dir: "node", Cluster: cluster, ID: 1, FS: fsys, Reserve: -1, Cache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func entry(slot paxos.Slot, value string) paxos.Entry {
	return paxos.Entry{Slot: slot, Ballot: paxos.Ballot{Round: 3, Node: 2}, Value: []byte(value)}
}

var members = paxos.Membership{Slot: 2, Members: []paxos.Member{{ID: 1, Incarnation: 9, Addr: "a:1"}, {ID: 2, Incarnation: 8, Learner: true}}}

func hard(round uint64) paxos.Hard {
	return paxos.Hard{Incarnation: 77, Confirmed: true, Promised: paxos.Ballot{Round: round, Node: 2}, Chosen: paxos.Slot(round), Bound: []paxos.Binding{{ID: 2, Incarnation: 8}}}
}

func writes(pairs ...string) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, p := range pairs {
			k, v, set := strings.Cut(p, "=")
			value := []byte(v)
			if !set {
				value = nil
			}
			if !yield([]byte(k), value) {
				return
			}
		}
	}
}

func stateOf(t testing.TB, l *Log) map[string]string {
	t.Helper()
	m := map[string]string{}
	if err := l.Scan(nil, nil, func(k, v []byte) bool { m[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	return m
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

func TestLog_GivesBackWhatWasSaved(t *testing.T) {
	fsys := vfs.NewMem()
	l := open(t, fsys)
	same(t, "a new directory", l.State(), paxos.State{})
	save(t, l, paxos.Record{Hard: hard(1), Entries: []paxos.Entry{entry(1, "a"), entry(2, ""), entry(3, "c")}})
	save(t, l, paxos.Record{Hard: hard(4), Entries: []paxos.Entry{entry(3, "C"), entry(4, "d")}})
	if err := l.Apply(2, members, writes("k=v", "gone=1", "gone", "empty=")); err != nil {
		t.Fatal(err)
	}
	shut(t, l)

	l = open(t, fsys)
	defer shut(t, l)
	same(t, "state", l.State(), paxos.State{Hard: hard(4), Applied: paxos.Snapshot{Slot: 2, Members: members}, Entries: []paxos.Entry{entry(3, "C"), entry(4, "d")}})
	same(t, "applied state", stateOf(t, l), map[string]string{"k": "v", "empty": ""})
	if v, err := l.Get([]byte("empty")); err != nil || v == nil || len(v) != 0 {
		t.Errorf("an empty value is %v, %v", v, err)
	}
	if v, err := l.Get([]byte("gone")); err != nil || v != nil {
		t.Errorf("a deleted value is %v, %v", v, err)
	}
	for _, c := range []struct {
		first paxos.Slot
		limit int
		want  []paxos.Entry
	}{
		{1, 100, []paxos.Entry{entry(1, "a"), entry(2, ""), entry(3, "C"), entry(4, "d")}},
		{1, 1, []paxos.Entry{entry(1, "a"), entry(2, "")}},
		{4, 0, []paxos.Entry{entry(4, "d")}},
		{5, 100, nil},
	} {
		got, err := l.Entries(c.first, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("entries from %v, %d bytes", c.first, c.limit), got, c.want)
	}
}

func save(t testing.TB, l *Log, r paxos.Record) {
	t.Helper()
	if err := l.Save(r); err != nil {
		t.Fatal(err)
	}
}

func TestLog_Forgets(t *testing.T) {
	fsys := vfs.NewMem()
	l := open(t, fsys)
	save(t, l, paxos.Record{Hard: hard(1), Entries: []paxos.Entry{entry(1, "a"), entry(2, "b"), entry(3, "c")}})
	if err := l.Apply(3, members, writes("k=3")); err != nil {
		t.Fatal(err)
	}
	s, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	save(t, l, paxos.Record{Hard: hard(1), Forget: 2})
	if got, err := l.Entries(1, 100); err != nil || got != nil {
		t.Errorf("forgotten entries are %v, %v", got, err)
	}
	shut(t, l)
	l = open(t, fsys)
	defer shut(t, l)
	same(t, "state", l.State(), paxos.State{Hard: hard(1), Applied: paxos.Snapshot{Slot: 3, Members: members}, Snapshot: s, Forgotten: 2})
}

func TestOpen_Refuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	mine := Config{Dir: dir, Cluster: cluster, ID: 1, Reserve: 1 << 20}
	l, err := Open(mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(mine); !errors.Is(err, ErrLocked) {
		t.Errorf("twice: %v", err)
	}
	shut(t, l)
	other := mine
	other.ID = 2
	if _, err := Open(other); !errors.Is(err, ErrOther) {
		t.Errorf("another node: %v", err)
	}
	other = mine
	other.Cluster[0]++
	if _, err := Open(other); !errors.Is(err, ErrOther) {
		t.Errorf("another cluster: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "identity"), []byte(`{"format":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(mine); !errors.Is(err, ErrVersion) {
		t.Errorf("a later format: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "identity")); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Open(mine); !errors.As(err, &damaged) {
		t.Errorf("no identity: %v", err)
	}
}

// Close waits for whoever reads, and whoever comes later is told.
func TestClose_WaitsForReads(t *testing.T) {
	l := open(t, vfs.NewMem())
	if err := l.Apply(1, members, writes("a=1", "b=2")); err != nil {
		t.Fatal(err)
	}
	reading, closed := make(chan struct{}), make(chan error)
	go func() { <-reading; closed <- l.Close() }()
	err := l.Scan(nil, nil, func(k, _ []byte) bool {
		if string(k) == "a" {
			close(reading)
		}
		for { // until Close has begun
			if _, err := l.Get([]byte("b")); errors.Is(err, ErrClosed) {
				return true
			} else if err != nil {
				t.Error(err)
				return false
			}
		}
	})
	if err != nil {
		t.Errorf("the scan: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close = %v", err)
	}
	_, err = l.Get([]byte("a"))
	_, eerr := l.Entries(1, 1)
	_, serr := l.Snapshot()
	for what, err := range map[string]error{
		"get": err, "entries": eerr, "snapshot": serr, "save": l.Save(paxos.Record{}), "apply": l.Apply(2, members, writes()),
		"scan": l.Scan(nil, nil, func(_, _ []byte) bool { return true }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s of a closed log: %v", what, err)
		}
	}
}

// A crash at any moment leaves at least what Save returned for, never half a record,
// and the state and its slot belong together.
func TestLog_CrashKeepsWhatWasSaved(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := vfs.NewCrashableMem()
		l := open(t, disk)
		var saved []paxos.Entry
		applied := paxos.Slot(0)
		for range 10 {
			slot := paxos.Slot(len(saved) + 1)
			var list []paxos.Entry
			for i := range paxos.Slot(1 + rng.IntN(3)) {
				list = append(list, entry(slot+i, strings.Repeat("x", rng.IntN(40))))
			}
			save(t, l, paxos.Record{Hard: hard(uint64(slot)), Entries: list})
			saved = append(saved, list...)
			for applied < slot && rng.IntN(3) > 0 {
				applied++
				if err := l.Apply(applied, members, writes(fmt.Sprintf("last=%d", applied), fmt.Sprintf("k%d=1", applied))); err != nil {
					t.Fatal(err)
				}
			}
			after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			o := open(t, after)
			st := o.State()
			if st.Hard.Promised != hard(uint64(slot)).Promised {
				t.Errorf("seed %d: promised %v", seed, st.Hard.Promised)
			}
			if got := append(slices.Clone(saved[:st.Applied.Slot]), st.Entries...); !cmp.Equal(got, saved, cmpopts.EquateEmpty()) {
				t.Errorf("seed %d: %d entries after the crash, %d were saved", seed, len(got), len(saved))
			}
			want := map[string]string{}
			for i := paxos.Slot(1); i <= st.Applied.Slot; i++ {
				want["last"], want[fmt.Sprintf("k%d", i)] = i.String(), "1"
			}
			if got := stateOf(t, o); st.Applied.Slot > applied || !maps.Equal(got, want) {
				t.Errorf("seed %d: state of slot %v is %v", seed, st.Applied.Slot, got)
			}
			shut(t, o)
		}
		shut(t, l)
	}
}

// One flipped bit anywhere, or a sector that was written to another place, is found
// out, or changes nothing: never is a promise or a value another than the one saved.
func TestLog_BitRotIsNoticed(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: filepath.Join(dir, "node"), Cluster: cluster, ID: 1, Reserve: -1}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range paxos.Slot(30) {
		save(t, l, paxos.Record{Hard: hard(uint64(i + 1)), Entries: []paxos.Entry{entry(i+1, strings.Repeat("v", int(i)))}})
	}
	shut(t, l)
	if l, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	want := l.State()
	shut(t, l)
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "db", "*"))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	noticed, harmless := 0, 0
	for _, name := range append(files, filepath.Join(cfg.Dir, "identity")) {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 16 {
			if len(whole) == 0 {
				continue
			}
			broken := bytes.Clone(whole)
			at := rng.IntN(min(len(broken), 4096))
			if i%2 == 0 {
				broken[at] ^= 1 << rng.IntN(8)
			} else {
				at -= at % 512
				misplaced := rng.IntN(len(whole)) / 512 * 512
				copy(broken[at:], whole[misplaced:min(misplaced+512, len(whole))])
			}
			copied := filepath.Join(dir, "copy")
			if err := os.CopyFS(copied, os.DirFS(cfg.Dir)); err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(cfg.Dir, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(copied, rel), broken, 0o600); err != nil {
				t.Fatal(err)
			}
			c := cfg
			c.Dir = copied
			c.Fatal = func(error) {} // found later, by nobody's call
			if l, err := Open(c); err != nil {
				noticed++
			} else {
				harmless++
				if d := cmp.Diff(want, l.State(), cmpopts.EquateEmpty()); d != "" {
					t.Errorf("%s, byte %d: %s", rel, at, d)
				}
				shut(t, l)
			}
			if err := os.RemoveAll(copied); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d flips noticed, %d harmless", noticed, harmless)
	if noticed == 0 {
		t.Error("no flip was noticed")
	}
}

// Damage of the state, which nobody reads when the directory is opened, is found when
// it is read; the node takes no more then, and does not open the directory again.
func TestLog_DamageOfTheStateIsRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	cfg := Config{Dir: dir, Cluster: cluster, ID: 1, Reserve: -1, Cache: 1, Fatal: func(error) {}, noStats: true}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 20_000) // not to be compressed away
	rng := rand.NewChaCha8([32]byte{1})
	for i := range 20 {
		_, _ = rng.Read(noise)
		if err := l.Apply(paxos.Slot(i+1), members, writes(fmt.Sprintf("k%d=%s", i, noise))); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, l)
	if l, err = Open(cfg); err != nil { // and so all is in tables
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b)-20_000; at += 20_000 {
			b[at] ^= 1
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var damaged *DamagedError
	if err := l.Scan(nil, nil, func(_, _ []byte) bool { return true }); !errors.As(err, &damaged) {
		t.Errorf("reading it: %v", err)
	}
	if err := l.Save(paxos.Record{Hard: hard(2)}); !errors.Is(err, ErrClosed) {
		t.Errorf("a save after it: %v", err)
	}
	_ = l.Close()
	if _, err = Open(cfg); !errors.As(err, &damaged) {
		t.Errorf("opened again: %v", err)
	}
}

// A snapshot that rots is not given to anybody.
func TestReadSnapshot_RefusesRot(t *testing.T) {
	fsys := vfs.NewMem()
	l := open(t, fsys)
	defer shut(t, l)
	if err := l.Apply(1, members, writes("k=v")); err != nil {
		t.Fatal(err)
	}
	s, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenReadWrite("node/snapshot-1", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("?"), int64(s.Size)-1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for range 2 {
		if _, err := l.ReadSnapshot(1, make([]byte, 10), 0); !errors.Is(err, ErrSnapshot) {
			t.Errorf("ReadSnapshot = %v", err)
		}
	}
	if s, err = l.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if n, err := l.ReadSnapshot(1, make([]byte, s.Size), 0); err != nil || n != int(s.Size) {
		t.Errorf("a new one: %d, %v", n, err)
	}
}

func TestLog_SnapshotTravelsInPieces(t *testing.T) {
	from, to := open(t, vfs.NewMem()), vfs.NewMem()
	defer shut(t, from)
	want := map[string]string{}
	for i := range 2000 {
		k, v := fmt.Sprintf("key%04d", i), strings.Repeat("v", i%300)
		want[k] = v
		if err := from.Apply(paxos.Slot(i+1), members, writes(k+"="+v)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := from.Apply(2001, members, writes("later=1")); err != nil {
		t.Fatal(err)
	}
	l := open(t, to)
	if err := l.Apply(5, members, writes("old=1")); err != nil {
		t.Fatal(err)
	}
	save(t, l, paxos.Record{Hard: hard(1), Entries: []paxos.Entry{entry(1, "a"), entry(2, "b")}})
	in, err := l.Receive(s)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10_000)
	for in.Have() < int64(s.Size) {
		n, err := from.ReadSnapshot(s.Slot, p[:min(len(p), int(int64(s.Size)-in.Have()))], in.Have())
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		if _, err := in.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		if have := in.Have(); have > int64(s.Size)/2 && have < int64(s.Size)/2+10_001 { // in the middle, everything is opened anew
			if err := in.Install(); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("half a snapshot: %v", err)
			}
			shut(t, l)
			l = open(t, to)
			if in, err = l.Receive(s); err != nil || in.Have() != have {
				t.Fatalf("resumed with %d bytes of %d, %v", in.Have(), have, err)
			}
		}
	}
	if _, err := in.Write([]byte("x")); !errors.Is(err, ErrSnapshot) {
		t.Errorf("more than announced: %v", err)
	}
	if err := in.Install(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		same(t, "installed", stateOf(t, l), want)
		if slot, m := l.Applied(); slot != s.Slot || !cmp.Equal(m, members) {
			t.Errorf("state of slot %v", slot)
		}
		shut(t, l)
		l = open(t, to)
		if st := l.State(); st.Forgotten != s.Slot || st.Snapshot.Slot != s.Slot || st.Snapshot.Sum != s.Sum || len(st.Entries) > 0 {
			t.Errorf("after it: forgotten %v, snapshot %v", st.Forgotten, st.Snapshot)
		}
	}
	shut(t, l)
}

func TestInstall_RefusesOtherBytes(t *testing.T) {
	l := open(t, vfs.NewMem())
	defer shut(t, l)
	if err := l.Apply(1, members, writes("k=v")); err != nil {
		t.Fatal(err)
	}
	s := paxos.Snapshot{Slot: 9, Members: members, Size: 5}
	in, err := l.Receive(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("12345")); err != nil {
		t.Fatal(err)
	}
	if err := in.Install(); !errors.Is(err, ErrSnapshot) {
		t.Errorf("Install = %v", err)
	}
	same(t, "state", stateOf(t, l), map[string]string{"k": "v"})
	if in, err = l.Receive(s); err != nil || in.Have() != 0 {
		t.Errorf("the wrong bytes are still there: %d, %v", in.Have(), err)
	}
	in.Close()
}
