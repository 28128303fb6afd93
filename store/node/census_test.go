package node

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
)

// opened makes a machine that nothing serves.
func opened(t testing.TB, set Settings) *Machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "m")
	if _, err := Init(Config{Dir: dir, Set: set}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// create makes a file of a few bytes.
func create(t testing.TB, m *Machine, p string) {
	t.Helper()
	if _, err := m.drive.Put(t.Context(), p, strings.NewReader(p), drive.Attributes{Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
}

func TestCensus_CountsWhatAFileLacks(t *testing.T) {
	m := opened(t, Settings{Copies: 2})
	for i := range 3 {
		create(t, m, fmt.Sprintf("/f%d", i))
	}
	c, err := m.count(t.Context())
	if err != nil || c.Files != 3 || c.Whole != 0 || c.Lacking != 3 || c.Copying != 0 || c.OnlyHere != 3 || c.Unreachable != 0 || !slices.Equal(c.ByCopies, []int64{0, 3}) {
		t.Errorf("%+v, %v", c, err)
	}
	s, err := m.Status(t.Context())
	if err != nil || s.State != Degraded || s.FullyReplicated != 0 {
		t.Errorf("status %s, %d whole, %v", s.State, s.FullyReplicated, err)
	}
}

func TestCensus_TwoMachines(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	a.await(t, func(ev Event) bool { return ev.Kind == EventConnected && ev.Machine == b.ID() })
	for i := range 20 {
		a.put(t, fmt.Sprintf("f%d", i), randomBytes(byte(i), 1000))
	}
	eventually(t, "both are up to date", func() bool {
		x, err := a.client.Status(t.Context())
		y, err2 := b.client.Status(t.Context())
		return err == nil && err2 == nil && x.State == UpToDate && y.State == UpToDate && x.Whole == 20 && y.Whole == 20 &&
			slices.Equal(x.ByCopies, []int64{0, 0, 20}) && x.OnlyHere == 0
	})
	b.stop()
	eventually(t, "b is away", func() bool {
		s, err := a.client.Status(t.Context())
		return err == nil && s.State == Offline && s.Whole == 20 // what b keeps counts
	})
	a.put(t, "new", []byte("written while b is away"))
	s, err := a.client.Status(t.Context())
	lag := Queue{}
	for _, x := range s.Machines {
		if !x.Self {
			lag = x.Lag
		}
		if x.Room.Total != 1<<30 {
			t.Errorf("room of %s: %+v", x.Name, x.Room)
		}
	}
	if err != nil || lag != (Queue{Files: 1, Bytes: 23}) {
		t.Errorf("b lags by %+v, %v", lag, err)
	}
	if s.Lacking != 1 || s.OnlyHere != 1 || s.Whole != 20 {
		t.Errorf("a file for b: %+v", s.Census)
	}
}

// A drive that does not change is counted once; one that is slow to count is not counted
// at each question, and the answer says how old it is.
func TestCensus_CountsInTheBackground(t *testing.T) {
	m := opened(t, Settings{Copies: 1})
	create(t, m, "/a")
	first, err := m.count(t.Context())
	if err != nil || first.Files != 1 || first.Counting {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, _ := m.count(t.Context()); again.Files != 1 || again.Counting || m.census.running != nil {
		t.Errorf("nothing has changed: %+v", again)
	}
	m.census.mu.Lock()
	m.census.took = time.Hour
	began := m.census.last.Counted
	m.census.mu.Unlock()
	create(t, m, "/b")
	late, err := m.count(t.Context())
	if err != nil || late.Files != 1 || !late.Counted.Equal(began) {
		t.Errorf("a slow count is not repeated: %+v (the first began %v), %v", late, began, err)
	}
	m.census.mu.Lock()
	m.census.took = time.Millisecond
	m.census.mu.Unlock()
	if now, err := m.count(t.Context()); err != nil || now.Files != 2 {
		t.Errorf("a quick one is: %+v, %v", now, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Status(ctx); err == nil {
		t.Error("a question that was taken back is answered")
	}
}

// BenchmarkStatus asks for the status of a drive of 200,000 files (AETHER_BENCH_FILES is
// another number) that changes all the time: ms-median and ms-max of an answer, and how
// long counting the copies takes.
//
//	go test -run '^$' -bench Status -benchtime 1x ./store/node
func BenchmarkStatus(b *testing.B) {
	files := 200_000
	if n := manyFiles(b); n != 1_000_000 {
		files = n
	}
	dir := filepath.Join(b.TempDir(), "m")
	makeMillion(b, dir, files)
	m, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	if _, err := m.count(b.Context()); err != nil {
		b.Fatal(err)
	}
	took := m.census.took
	var times []time.Duration
	for i := range 200 * b.N {
		if i%2 == 0 {
			create(b, m, fmt.Sprintf("/new%d", i))
		}
		began := time.Now()
		s, err := m.Status(b.Context())
		times = append(times, time.Since(began))
		if err != nil || s.Files < int64(files) {
			b.Fatal(s.Files, err)
		}
	}
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(times[len(times)/2]), "ms-median")
	b.ReportMetric(ms(times[len(times)-1]), "ms-max")
	b.ReportMetric(ms(took), "ms-to-count")
	b.ReportMetric(0, "ns/op")
}
