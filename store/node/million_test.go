package node

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

const (
	millionDir   = "AETHER_BENCH_DIR"   // tells the child which machine to open
	millionFiles = "AETHER_BENCH_FILES" // how many files in place of a million
	perDirectory = 1000
)

// manyFiles returns how many files the drive has.
func manyFiles(b testing.TB) int {
	s := os.Getenv(millionFiles)
	if s == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < perDirectory {
		b.Fatalf("%s=%s is no number from %d", millionFiles, s, perDirectory)
	}
	return n / perDirectory * perDirectory
}

// BenchmarkOpenMillionFiles makes a drive of a million files in a thousand
// directories, without their bytes, closes it, and opens it in a process of its
// own. It reports the seconds until the machine is open and has answered, the
// megabytes of memory that process then has resident, and how many files a second
// were made. AETHER_BENCH_FILES is another number of files:
//
//	go test -run '^$' -bench OpenMillionFiles -benchtime 1x -timeout 30m ./store/node
func BenchmarkOpenMillionFiles(b *testing.B) {
	files := manyFiles(b)
	if dir := os.Getenv(millionDir); dir != "" {
		openMillion(b, dir, files)
		return
	}
	dir := filepath.Join(b.TempDir(), "m")
	start := time.Now()
	makeMillion(b, dir, files)
	b.ReportMetric(float64(files)/time.Since(start).Seconds(), "made/s")
	for range b.N {
		o := openElsewhere(b, dir)
		b.ReportMetric(o.seconds, "s-to-open")
		b.ReportMetric(o.resident, "MB-resident")
		b.ReportMetric(o.walked, "s-to-walk")
	}
	b.ReportMetric(0, "ns/op")
}

// TestLong_OpenMillionFiles holds what the benchmark measures to what is promised of a
// million files: open and answering in two seconds, with 250 MB resident.
//
//	AETHER_LONG=1 go test -run Long_OpenMillion -v -timeout 30m ./store/node
func TestLong_OpenMillionFiles(t *testing.T) {
	if os.Getenv("AETHER_LONG") == "" {
		t.Skip("a million files take minutes to make; AETHER_LONG=1 makes them")
	}
	dir := filepath.Join(t.TempDir(), "m")
	makeMillion(t, dir, manyFiles(t))
	best := openElsewhere(t, dir)
	for range 2 { // whatever else the machine does
		if o := openElsewhere(t, dir); o.seconds < best.seconds {
			best = o
		}
	}
	if best.seconds > 2 || best.resident > 250 {
		t.Errorf("open in %.3f s, %.0f MB resident; want 2 s and 250 MB", best.seconds, best.resident)
	}
}

// opening is what a process said that opened the machine.
type opening struct {
	seconds  float64 // until it had answered
	resident float64 // megabytes, at most
	walked   float64 // seconds to list everything
}

// openElsewhere opens the machine in a process of its own.
func openElsewhere(t testing.TB, dir string) (o opening) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^$", "-test.bench", "OpenMillionFiles", "-test.benchtime", "1x")
	child.Env = append(os.Environ(), millionDir+"="+dir)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if n, _ := fmt.Sscanf(line, "opened %f s %f MB, walked %f s", &o.seconds, &o.resident, &o.walked); n == 3 {
			t.Log(strings.TrimSpace(line))
			return o
		}
	}
	t.Fatalf("it said nothing of what it took:\n%s", out)
	return o
}

// makeMillion fills a machine's tree, a directory a Txn.
func makeMillion(b testing.TB, dir string, files int) {
	if _, err := Init(Config{Dir: dir, Set: Settings{Name: "bench"}}, pool.Secret{}); err != nil {
		b.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	for d := range files / perDirectory {
		var change drive.Change = func(t *tree.Tree, tx store.Txn, now time.Time) (ops []tree.Op, events []tree.Event, err error) {
			add := func(o []tree.Op, e []tree.Event, err error) error {
				ops, events = append(ops, o...), append(events, e...)
				return err
			}
			folder := fmt.Sprintf("/Holiday pictures %03d", d)
			if err := add(t.Mkdir(tx, folder, tree.Version{Mode: 0o755, ModTime: now}, now)); err != nil {
				return nil, nil, err
			}
			for i := range perDirectory {
				var root store.Ref
				binary.BigEndian.PutUint64(root[:], uint64(d*perDirectory+i)*0x9e3779b97f4a7c15)
				v := tree.Version{
					Content: store.Content{Size: 3 << 20, Root: root, Depth: 1}, Mode: 0o644, ModTime: now,
					Holders: []store.MachineID{m.ID()},
				}
				if err := add(t.Put(tx, fmt.Sprintf("%s/IMG_%04d.jpeg", folder, i), v, now)); err != nil {
					return nil, nil, err
				}
			}
			return ops, events, nil
		}
		var err error
		if cerr := m.core.call(b.Context(), func() { err = m.core.change(time.Now(), nil, change) }); cerr != nil || err != nil {
			b.Fatal(cerr, err)
		}
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
}

// openMillion is the child: it opens the machine, asks for a file and the totals,
// and prints what that took.
func openMillion(b *testing.B, dir string, files int) {
	start := time.Now()
	m, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	_, err = m.Drive().Stat("/Holiday pictures 000/IMG_0500.jpeg")
	totals, terr := m.tree.Totals(m.kv)
	if err != nil || terr != nil || totals.Files != int64(files) {
		b.Fatalf("%+v, %v, %v", totals, err, terr)
	}
	ready := time.Since(start)
	start = time.Now()
	n := 0
	if err := m.tree.Walk(m.kv, "/", func(tree.Entry) bool { n++; return true }); err != nil || n != files+files/perDirectory {
		b.Fatal(n, err)
	}
	walked := time.Since(start)
	// What is held is told to others soon after the start: it belongs to it.
	if err := m.core.call(b.Context(), func() { m.core.HandleTimeout(time.Now().Add(2 * inventoryDelay)) }); err != nil {
		b.Fatal(err)
	}
	fmt.Printf("opened %.3f s %d MB, walked %.2f s\n", ready.Seconds(), peakResident(b)>>20, walked.Seconds())
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
}

// peakResident returns the most bytes that the process ever had in memory.
func peakResident(b *testing.B) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skipf("only Linux says how much memory a process has resident: %v", err)
	}
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		var kb int64
		if n, _ := fmt.Sscanf(s.Text(), "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}
