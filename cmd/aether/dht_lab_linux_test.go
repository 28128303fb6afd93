package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// ringLab is a ring of real processes, each on a machine of its own, on a switch.
type ringLab struct {
	testing.TB
	dir, bin string
	sw       *netlab.Switch
	hosts    []*netlab.Host
	ports    []*netlab.Port
	nodes    []*running // nil: dead
}

// newRingLab starts n nodes of one ring and waits until all know all.
func newRingLab(t testing.TB, n int) *ringLab {
	lab := netlab.New(t)
	r := &ringLab{TB: t, dir: t.TempDir(), bin: buildAether(t), sw: lab.Switch(netlab.SwitchConfig{Seed: 1})}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%d", i))
	}
	r.hosts, r.ports = addressed(t, r.sw, lab, names...)
	r.nodes = make([]*running, n)
	for i := range n {
		r.start(i)
	}
	for i := range n {
		r.awaitSize(i, n)
	}
	return r
}

// start starts node i, which joins node 0 the first time.
func (r *ringLab) start(i int) {
	r.Helper()
	args := []string{"dht", "serve", "--json", "--dir", filepath.Join(r.dir, fmt.Sprint(i)), "--listen", fmt.Sprintf("192.0.2.%d:7400", i+1)}
	if i > 0 {
		args = append(args, "--join", "192.0.2.1:7400")
	}
	r.nodes[i] = launch(r, r.hosts[i].Command(r.bin, args...))
	r.nodes[i].want(r, `"event":"serving"`, 30*time.Second)
}

// kill ends a node with no chance to say so.
func (r *ringLab) kill(i int) {
	_ = r.nodes[i].Process.Kill()
	_ = r.nodes[i].Wait()
	r.nodes[i] = nil
}

// try runs a command on machine i, asking its own node, and returns what it printed.
func (r *ringLab) try(i int, args ...string) (string, error) {
	c := r.hosts[i].Command(r.bin, append([]string{"dht"}, append(args, "--dir", filepath.Join(r.dir, fmt.Sprint(i)))...)...)
	out, err := c.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// ringSize returns the size of the ring that node i knows, 0 when it does not say.
func (r *ringLab) ringSize(i int) int {
	out, err := r.try(i, "status", "--json", "--timeout", "5s")
	var s struct {
		Size int `json:"ring_size"`
	}
	if err != nil || json.Unmarshal([]byte(out), &s) != nil {
		return 0
	}
	return s.Size
}

func (r *ringLab) awaitSize(i, n int) {
	r.Helper()
	r.await(fmt.Sprintf("node %d knows a ring of %d", i, n), func() bool { return r.ringSize(i) == n })
}

func (r *ringLab) await(what string, ok func() bool) {
	r.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for !ok() {
		if time.Since(began) > time.Minute {
			r.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

// putAll stores value under each of keys names, through the machines of list in turn,
// and returns for which names that was answered.
func (r *ringLab) putAll(list []int, keys int, value string, patience string) map[string]bool {
	var mu sync.Mutex
	done := map[string]bool{}
	var wg sync.WaitGroup
	gate := make(chan struct{}, 4)
	for k := range keys {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			name := fmt.Sprintf("key/%02d", k)
			if _, err := r.try(list[k%len(list)], "put", name, value, "--timeout", patience); err == nil {
				mu.Lock()
				defer mu.Unlock()
				done[name] = true
			}
		})
	}
	wg.Wait()
	return done
}

// mustHave wants value under names, read through the machines of list in turn.
func (r *ringLab) mustHave(list []int, names map[string]bool, value string) {
	r.Helper()
	began, k := time.Now(), 0
	for name := range names {
		if got, err := r.try(list[k%len(list)], "get", name, "--timeout", "30s"); err != nil || got != value {
			r.Errorf("%s through %d is %q, %v; want %q", name, list[k%len(list)], got, err, value)
		}
		k++
	}
	r.Logf("%d records read in %.1f s", len(names), time.Since(began).Seconds())
}

// Ten real processes: some are killed, come back, the switch falls in two and is whole
// again. What was answered is there, and the ring is one.
func TestDHT_TenMachines(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a ring of ten machines takes a minute: run without -short")
	}
	const keys = 12
	r := newRingLab(t, 10)
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	first := r.putAll(all, keys, "one", "30s")
	if len(first) != keys {
		t.Fatalf("%d of %d writes were answered", len(first), keys)
	}

	r.kill(3)
	r.kill(7)
	alive := []int{0, 1, 2, 4, 5, 6, 8, 9}
	r.mustHave(alive, first, "one")
	if again := r.putAll(alive, keys, "two", "30s"); len(again) != keys {
		t.Errorf("%d of %d writes were answered with two machines dead", len(again), keys)
	}
	r.start(3)
	r.start(7)
	for _, i := range []int{0, 3, 7} {
		r.awaitSize(i, 10)
	}
	r.mustHave([]int{3, 7}, first, "two")

	// Six machines here, four there. What either side can still decide, it does.
	here, there := all[:6], all[6:]
	r.sw.Partition(r.ports[:6], r.ports[6:])
	wrote := r.putAll(here, keys, "three", "4s")
	wroteThere := r.putAll(there, keys, "four", "4s")
	t.Logf("in two parts: %d writes here, %d there", len(wrote), len(wroteThere))
	for name := range wrote {
		if wroteThere[name] {
			t.Errorf("%s was written on both sides", name)
		}
	}
	r.sw.Heal()
	for _, i := range all {
		r.awaitSize(i, 10)
	}
	for name := range first {
		got, err := r.try(len(name)%10, "get", name, "--timeout", "30s")
		switch {
		case err != nil:
			t.Errorf("%s after the merge: %v", name, err)
		case wrote[name] && got != "three" && got != "four", wroteThere[name] && got != "four" && got != "three":
			t.Errorf("%s is %q after the merge", name, got)
		}
	}
	if last := r.putAll(all, keys, "five", "30s"); len(last) != keys {
		t.Errorf("%d of %d writes were answered after the merge", len(last), keys)
	}
	r.mustHave(all, first, "five")
}

// Three machines find each other by DNS-SD; a node of a ring of another name stays alone.
func TestDHTServe_Discover(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	r := &ringLab{TB: t, dir: t.TempDir(), bin: buildAether(t), sw: lab.Switch(netlab.SwitchConfig{Seed: 1})}
	r.hosts, r.ports = addressed(t, r.sw, lab, "a", "b", "c", "other")
	serve := func(i int, more ...string) {
		args := append([]string{"dht", "serve", "--discover", "--json", "--dir", filepath.Join(r.dir, fmt.Sprint(i))}, more...)
		r.nodes = append(r.nodes, launch(t, r.hosts[i].Command(r.bin, args...)))
	}
	for i := range 3 {
		serve(i)
	}
	serve(3, "--ring", "another")
	for i := range 3 {
		r.awaitSize(i, 3)
	}
	if _, err := r.try(0, "put", "colour", "blue", "--timeout", "30s"); err != nil {
		t.Error(err)
	}
	r.mustHave([]int{2}, map[string]bool{"colour": true}, "blue")
	if n := r.ringSize(3); n != 1 {
		t.Errorf("the node of another ring knows %d", n)
	}
}

// BenchmarkDHT_Death is how long it takes after a machine's death until all records answer
// again, the longest of five deaths one after the other in a ring of ten:
//
//	go test -run '^$' -bench DHT_Death -benchtime 1x ./cmd/aether
func BenchmarkDHT_Death(b *testing.B) {
	for b.Loop() {
		r := newRingLab(b, 10)
		all := r.putAll([]int{0, 1, 2}, 20, "value", "30s")
		worst := time.Duration(0)
		for i := 9; i > 4; i-- {
			r.kill(i)
			began := time.Now()
			r.mustHave([]int{0, 1, 2, 3, 4}, all, "value")
			worst = max(worst, time.Since(began))
			r.awaitSize(0, i)
		}
		b.ReportMetric(worst.Seconds(), "s-until-all-answer")
	}
}

// BenchmarkDHT_Idle is what a machine of a ring of twenty sends when nothing happens, in
// bytes a second of Ethernet frames, the answers of TCP included:
//
//	go test -run '^$' -bench DHT_Idle -benchtime 1x ./cmd/aether
func BenchmarkDHT_Idle(b *testing.B) {
	const machines, settle, span = 20, 30 * time.Second, time.Minute
	for b.Loop() {
		r := newRingLab(b, machines)
		r.putAll([]int{0, 1, 2}, 10, "value", "30s")
		<-time.After(settle)
		var said frames
		end := r.sw.Observe(said.count)
		<-time.After(span)
		end()
		b.ReportMetric(float64(said.bytes.Load())/machines/span.Seconds(), "B/s-a-machine")
		b.ReportMetric(float64(said.packets.Load())/machines/span.Seconds(), "frames/s-a-machine")
	}
}
