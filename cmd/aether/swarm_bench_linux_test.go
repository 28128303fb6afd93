package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// The rate of each cable of the benchmark in bytes a second, and the size of the file.
const (
	swarmLinkRate = 4 << 20
	swarmFile     = 24 << 20
)

// BenchmarkSwarm is how long a file of 24 MiB takes from its writer to N-1 receivers
// over links of 4 MiB/s, as a multiple of what it takes to one, and how many copies the
// busiest machine sent:
//
//	go test -run '^$' -bench Swarm -benchtime 1x ./cmd/aether
func BenchmarkSwarm(b *testing.B) {
	bin := buildAether(b)
	for b.Loop() {
		one, _ := spread(b, bin, 2)
		for _, n := range []int{3, 5} {
			took, copies := spread(b, bin, n)
			b.ReportMetric(took.Seconds()/one.Seconds(), fmt.Sprintf("times-one-copy/%d-receivers", n-1))
			b.ReportMetric(copies, fmt.Sprintf("copies-sent-at-most/%d-receivers", n-1))
		}
		b.ReportMetric(one.Seconds()/(float64(swarmFile)/swarmLinkRate), "one-copy/link")
	}
}

// spread puts a file on one of n machines that all keep it, and returns how long it
// took until all had it, and how many copies the busiest one sent.
func spread(b *testing.B, bin string, n int) (took time.Duration, copies float64) {
	lab := netlab.New(b)
	var names []string
	for i := range n {
		names = append(names, string(rune('a'+i)))
	}
	hosts, ports := addressed(b, lab.Switch(netlab.SwitchConfig{Seed: 1}), lab, names...)
	dir := b.TempDir()
	run := func(i int, args ...string) string {
		c := hosts[i].Command(bin, append([]string{"store"}, args...)...)
		c.Dir = dir
		return outputOf(b, c)
	}
	run(0, "init", "--dir", "a", "--copies", fmt.Sprint(n))
	var ends []func()
	for i, name := range names {
		args := []string{"store", "serve", "--dir", name, "--name", name, "--copies", fmt.Sprint(n), "--secret-file", "a/pool.secret",
			"--listen", fmt.Sprintf("192.0.2.%d:7473", i+1), "--no-discovery", "--webdav", "off", "--json"}
		for k := range i {
			args = append(args, "--peer", fmt.Sprintf("192.0.2.%d:7473", k+1))
		}
		c := hosts[i].Command(bin, args...)
		c.Dir = dir
		var out, errs output
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		if !out.waitFor(regexp.MustCompile(`"event":"serving"`), time.Minute) {
			b.Fatalf("%s does not serve: %s", name, errs.String())
		}
		ends = append(ends, func() { _ = c.Process.Signal(os.Interrupt); _ = c.Wait() })
	}
	defer func() {
		for _, end := range ends {
			end()
		}
	}()
	for i, name := range names {
		run(i, "status", "--dir", name, "--json", "--wait-machines", fmt.Sprint(n), "--timeout", "60s")
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), noise(rand.NewChaCha8([32]byte{9}), swarmFile), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, p := range ports {
		p.SetRate(swarmLinkRate)
	}
	began := time.Now()
	run(0, "put", "-q", "--dir", "a", "file", "/")
	run(0, "flush", "--dir", "a", "--timeout", "5m")
	took = time.Since(began)
	for i, name := range names {
		var s struct {
			Sent struct {
				Bytes int64 `json:"bytes"`
			} `json:"sent"`
		}
		c := hosts[i].Command(bin, "store", "status", "--dir", name, "--json")
		c.Dir = dir
		out, err := c.Output() // its status says whether all is well
		if len(out) == 0 {
			b.Fatal(err)
		}
		if err := json.Unmarshal([]byte(strings.SplitN(string(out), "\n", 2)[0]), &s); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		copies = max(copies, float64(s.Sent.Bytes)/swarmFile)
	}
	return took, copies
}
