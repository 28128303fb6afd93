package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
	"github.com/aether-lan/aether/store/node"
)

// party is a pool of real processes on a switch.
type party struct {
	testing.TB
	dir, bin string
	sw       *netlab.Switch
	machines map[string]*partyMachine
	names    []string
}

// partyMachine is one of its machines.
type partyMachine struct {
	host   *netlab.Host
	port   *netlab.Port
	node   *running
	client *node.Client
}

// newParty makes the machines called names, in one pool, and starts their nodes with
// the flags serve.
func newParty(t testing.TB, names []string, serve ...string) *party {
	l := netlab.New(t)
	o := &party{TB: t, dir: t.TempDir(), bin: buildAether(t), sw: l.Switch(netlab.SwitchConfig{Seed: 1}), machines: map[string]*partyMachine{}, names: names}
	hosts, ports := addressed(t, o.sw, l, names...)
	for i, name := range names {
		o.machines[name] = &partyMachine{host: hosts[i], port: ports[i]}
	}
	first := o.at(names[0])
	outputOf(t, hosts[0].Command(o.bin, "store", "init", "--dir", first, "--name", names[0]))
	for _, name := range names {
		o.start(name, serve...)
	}
	for _, name := range names {
		o.await(name+" sees all", 40*time.Second, func() bool { return connected(o.status(name)) == len(names) })
	}
	return o
}

// at is a machine's directory.
func (o *party) at(name string) string { return filepath.Join(o.dir, name) }

// start starts a machine's node and waits until it serves.
func (o *party) start(name string, flags ...string) {
	o.Helper()
	m := o.machines[name]
	args := []string{"store", "serve", "--dir", o.at(name), "--name", name, "--space", "1GiB", "-i", "eth0", "--webdav", "off", "--json",
		"--secret-file", filepath.Join(o.at(o.names[0]), "pool.secret")}
	m.node = launch(o, m.host.Command(o.bin, append(args, flags...)...))
	m.node.want(o, `"event":"serving"`, 30*time.Second)
	c, err := node.Connect(context.Background(), o.at(name))
	if err != nil {
		o.Fatal(err)
	}
	m.client = c
	o.Cleanup(func() { c.Close() })
}

// kill ends a machine's node with no chance to say so.
func (o *party) kill(name string) {
	m := o.machines[name]
	m.client.Close()
	_ = m.node.Process.Kill()
	_ = m.node.Wait()
}

func (o *party) status(name string) node.Status {
	o.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := o.machines[name].client.Status(ctx)
	if err != nil {
		o.Fatalf("%s: %v", name, err)
	}
	return s
}

// await waits for what no event tells of.
func (o *party) await(what string, limit time.Duration, ok func() bool) {
	o.Helper()
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > limit {
			for _, name := range o.names {
				s, err := o.machines[name].client.Status(context.Background())
				o.Logf("%s: %v\n%s", name, err, statusText(s))
			}
			o.Fatalf("waited %v in vain: %s", limit, what)
		}
		<-tick.C
	}
	if took := time.Since(began); took > time.Second {
		o.Logf("%s: %.1f s", what, took.Seconds())
	}
}

// awaitQuickly is await for what is timed.
func (o *party) awaitQuickly(what string, ok func() bool) {
	o.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			o.Fatalf("waited in vain: %s", what)
		}
	}
}

// oneFile fills a tar stream with a file.
func oneFile(name string, body []byte) func(*tar.Writer) error {
	return func(tw *tar.Writer) error {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}); err != nil {
			return err
		}
		_, err := tw.Write(body)
		return err
	}
}

// put stores local files or directories at dst.
func (o *party) put(name, dst string, files map[string][]byte) {
	o.Helper()
	src, err := os.MkdirTemp(o.dir, "put")
	if err != nil {
		o.Fatal(err)
	}
	args := []string{"store", "put", "-q", "--dir", o.at(name)}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		p := filepath.Join(src, f)
		if err := os.WriteFile(p, files[f], 0o644); err != nil {
			o.Fatal(err)
		}
		args = append(args, p)
	}
	o.run(name, append(args, dst)...)
}

// run runs the command on a machine's host.
func (o *party) run(name string, args ...string) string {
	o.Helper()
	return outputOf(o, o.machines[name].host.Command(o.bin, args...))
}

// order runs a store command on a machine.
func (o *party) order(name, verb string, args ...string) string {
	o.Helper()
	return o.run(name, append([]string{"store", verb, "--dir", o.at(name)}, args...)...)
}

// shows lists a machine's drive, a path and a size a line.
func (o *party) shows(name string) string {
	o.Helper()
	var b strings.Builder
	err := o.machines[name].client.List(context.Background(), "/", true, func(l node.Listing) error {
		_, err := fmt.Fprintln(&b, l.Path, l.Kind, l.Size)
		return err
	})
	if err != nil {
		o.Fatalf("%s: %v", name, err)
	}
	return b.String()
}

// same reports whether some machines show the same drive.
func (o *party) same(names ...string) bool {
	o.Helper()
	want := o.shows(names[0])
	return !slices.ContainsFunc(names[1:], func(n string) bool { return o.shows(n) != want })
}

// sums reads every file of a machine's drive.
func (o *party) sums(name string) map[string][sha256.Size]byte {
	o.Helper()
	c, sums := o.machines[name].client, map[string][sha256.Size]byte{}
	var paths []string
	err := c.List(context.Background(), "/", true, func(l node.Listing) error {
		if l.Kind == "file" {
			paths = append(paths, l.Path)
		}
		return nil
	})
	for _, p := range paths {
		if err != nil {
			break
		}
		var r io.ReadCloser
		if r, err = c.Cat(context.Background(), p, time.Time{}); err != nil {
			break
		}
		var b []byte
		b, err = io.ReadAll(r)
		r.Close()
		sums[p] = sha256.Sum256(b)
		if err != nil {
			err = fmt.Errorf("%s: %w", p, err)
		}
	}
	if err != nil {
		o.Fatalf("%s: %v", name, err)
	}
	return sums
}

// apart splits the switch: machines of different groups cannot hear each other.
func (o *party) apart(groups ...[]string) {
	var ports [][]*netlab.Port
	for _, g := range groups {
		var ps []*netlab.Port
		for _, name := range g {
			ps = append(ps, o.machines[name].port)
		}
		ports = append(ports, ps)
	}
	o.sw.Partition(ports...)
}

// whole waits until all files have all their copies, as all machines see it.
func (o *party) whole(limit time.Duration) {
	o.Helper()
	for _, name := range o.names {
		o.await(name+" knows that all files have their copies", limit, func() bool {
			s := o.status(name)
			return s.Census.Files == s.Files && s.Whole == s.Files && s.Pending == 0
		})
	}
}

func noise(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// TestPool_FiveMachines is a working week of five machines that keep each file three
// times: everybody writes; one machine dies and comes back; the network falls in two,
// and a laptop goes from one half to the other and back; both halves change the same
// files. When the network is one again all machines show the same drive, byte for byte,
// with the same conflict copies, exactly one for each file that both halves changed.
func TestPool_FiveMachines(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("five machines take most of a minute: run without -short")
	}
	names := []string{"alice", "bob", "carol", "dave", "laptop"}
	o := newParty(t, names, "--copies", "3")
	r := rand.NewChaCha8([32]byte{5})
	want := map[string][sha256.Size]byte{}
	put := func(name, dst string, files map[string][]byte) {
		t.Helper()
		o.put(name, dst, files)
		for f, b := range files {
			want[dst+f] = sha256.Sum256(b)
		}
	}

	// Everybody writes.
	for i, name := range names {
		files := map[string][]byte{"big": noise(r, 3<<20)}
		for j := range 8 {
			files[fmt.Sprintf("f%d", j)] = noise(r, 100+5000*i*j)
		}
		put(name, "/from-"+name+"/", files)
	}
	put("alice", "/shared/", map[string][]byte{"one.txt": []byte("one\n"), "two.txt": []byte("two\n"), "three.txt": []byte("three\n"), "moved.txt": []byte("to be moved\n"), "gone.txt": []byte("to be removed\n")})
	o.whole(30 * time.Second)

	// One machine dies in the middle of the work. The others go on; when it is back it
	// has everything.
	o.kill("bob")
	o.await("alice sees that bob is gone", 10*time.Second, func() bool {
		s := o.status("alice")
		i := slices.IndexFunc(s.Machines, func(m node.MachineStatus) bool { return m.Name == "bob" })
		return s.Machines[i].State == node.Offline
	})
	put("carol", "/while-bob-is-dead/", map[string][]byte{"a": noise(r, 200_000), "b": noise(r, 2<<20)})
	o.await("alice sees what carol wrote", 10*time.Second, func() bool { return o.same("alice", "carol", "dave", "laptop") })
	o.start("bob", "--copies", "3")
	o.await("bob sees what carol wrote", 30*time.Second, func() bool { return o.same("bob", "carol") })
	o.whole(40 * time.Second)

	// The network falls in two, the laptop on this side.
	here, there := []string{"alice", "bob"}, []string{"carol", "dave"}
	o.apart(append(here, "laptop"), there)
	put("alice", "/shared/", map[string][]byte{"one.txt": []byte("one, as alice has it\n")})
	put("bob", "/this-side/", map[string][]byte{"new": noise(r, 50_000)})
	o.order("bob", "mv", "/shared/moved.txt", "/this-side/moved.txt")
	o.order("alice", "rm", "/shared/gone.txt")
	put("dave", "/shared/", map[string][]byte{"two.txt": []byte("two, as dave has it\n"), "three.txt": []byte("three, as dave has it\n")})
	put("carol", "/that-side/", map[string][]byte{"new": noise(r, 60_000)})
	o.await("the laptop knows this side", 15*time.Second, func() bool { return o.same("alice", "bob", "laptop") })
	o.await("that side agrees", 15*time.Second, func() bool { return o.same("carol", "dave") })

	// It is carried over, and carries.
	o.apart(here, append(there, "laptop"))
	o.await("that side knows this side, by the laptop", 40*time.Second, func() bool {
		s := o.shows("carol")
		return strings.Contains(s, "/this-side/new ") && !strings.Contains(s, "/shared/gone.txt") && o.same("carol", "dave", "laptop")
	})
	// Meanwhile this side changes what that side has changed.
	put("alice", "/shared/", map[string][]byte{"two.txt": []byte("two, as alice has it, later\n")})
	put("bob", "/shared/", map[string][]byte{"three.txt": []byte("three, as bob has it, later\n")})
	// That side changes what it has heard of: no conflict.
	put("dave", "/shared/", map[string][]byte{"one.txt": []byte("one, as dave has it after alice\n")})
	o.await("the laptop has dave's", 15*time.Second, func() bool { return o.same("dave", "laptop") })

	// And back, before the network is one again.
	o.apart(append(here, "laptop"), there)
	o.await("this side knows that side, by the laptop", 40*time.Second, func() bool {
		return strings.Contains(o.shows("alice"), "/that-side/new ") && o.same("alice", "bob", "laptop")
	})
	conflicts := func(name string) (list []string) {
		t.Helper()
		if err := o.machines[name].client.Conflicts(context.Background(), "/", func(k node.Conflict) error {
			list = append(list, k.Path+" of "+k.Of+" by "+k.Author)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	early := conflicts("alice")
	if len(early) != 2 || !strings.HasSuffix(early[0], " of /shared/three.txt by dave") || !strings.HasSuffix(early[1], " of /shared/two.txt by dave") {
		t.Errorf("conflicts of the two halves: %q", early)
	}

	o.sw.Heal()
	o.await("all machines show the same", 60*time.Second, func() bool { return o.same(names...) })
	o.whole(60 * time.Second)
	delete(want, "/shared/gone.txt")
	want["/this-side/moved.txt"] = want["/shared/moved.txt"]
	delete(want, "/shared/moved.txt")
	first := o.sums("alice")
	for p, sum := range want {
		if first[p] != sum {
			t.Errorf("%s has other bytes, or is lost", p)
		}
	}
	if len(first) != len(want)+2 {
		t.Errorf("%d files, want %d and two conflict copies", len(first), len(want))
	}
	for _, name := range names {
		if got := o.sums(name); !maps.Equal(got, first) {
			t.Errorf("%s and alice have other bytes", name)
		}
		if got := conflicts(name); !slices.Equal(got, early) {
			t.Errorf("%s shows the conflicts %q, alice showed %q", name, got, early)
		}
		if s := o.status(name); s.State != node.NeedsYou || s.Conflicts != 2 || s.Unreachable != 0 || len(s.Machines) != 5 {
			t.Errorf("%s says\n%s", name, statusText(s))
		}
	}

	// One machine settles them for all.
	for _, c := range early {
		p, _, _ := strings.Cut(c, " of ")
		o.run("carol", "store", "conflicts", "keep", "--dir", o.at("carol"), p)
	}
	o.await("nobody has conflicts", 20*time.Second, func() bool {
		return !slices.ContainsFunc(names, func(n string) bool { return len(conflicts(n)) > 0 })
	})
	if got := o.order("laptop", "cat", "/shared/two.txt"); got != "two, as dave has it\n" {
		t.Errorf("/shared/two.txt: %q", got)
	}
	o.whole(30 * time.Second)
	if s := o.status("dave"); s.State != node.UpToDate {
		t.Errorf("at the end dave says\n%s", statusText(s))
	}
}

// BenchmarkPool_Visible is how long it takes from the moment that one machine has stored
// a small file until another one shows it, and until it has been read there, in a pool of
// five with three copies of each: median and 99th of a hundred.
//
//	go test -run '^$' -bench Pool_Visible -benchtime 1x ./cmd/aether
func BenchmarkPool_Visible(b *testing.B) {
	names := []string{"a", "b", "c", "d", "e"}
	o := newParty(b, names, "--copies", "3")
	r := rand.New(rand.NewPCG(1, 1))
	var times, reads []time.Duration
	for i := range 100 * b.N {
		from, to := r.IntN(len(names)), r.IntN(len(names)-1)
		if to >= from {
			to++
		}
		p := fmt.Sprintf("/file%d", i)
		writer, reader := o.machines[names[from]].client, o.machines[names[to]].client
		if err := writer.Put(b.Context(), "/", oneFile(p[1:], bytes.Repeat([]byte{byte(i)}, 1000)), func(s node.Stored) {
			if s.Error != "" {
				b.Error(s.Error)
			}
		}); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		o.awaitQuickly(p, func() bool {
			_, err := reader.Stat(b.Context(), p, time.Time{})
			return err == nil
		})
		times = append(times, time.Since(began))
		r, err := reader.Cat(b.Context(), p, time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || len(got) != 1000 || got[0] != byte(i) {
			b.Fatalf("%s: %d bytes, %v", p, len(got), err)
		}
		r.Close()
		reads = append(reads, time.Since(began))
	}
	for what, list := range map[string][]time.Duration{"shown": times, "read": reads} {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2].Seconds()*1000, "ms-"+what)
		b.ReportMetric(list[len(list)*99/100].Seconds()*1000, "ms-"+what+"-p99")
	}
	b.ReportMetric(0, "ns/op")
}
