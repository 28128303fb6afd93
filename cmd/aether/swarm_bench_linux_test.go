package main

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
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

// benchPool is n machines that all keep everything, connected, each on a host of its own.
type benchPool struct {
	b     *testing.B
	dir   string
	bin   string
	hosts []*netlab.Host
	ports []*netlab.Port
	names []string
}

func newBenchPool(b *testing.B, bin string, n int) *benchPool {
	lab := netlab.New(b)
	p := &benchPool{b: b, dir: b.TempDir(), bin: bin}
	for i := range n {
		p.names = append(p.names, string(rune('a'+i)))
	}
	p.hosts, p.ports = addressed(b, lab.Switch(netlab.SwitchConfig{Seed: 1}), lab, p.names...)
	p.run(0, "init", "--dir", "a", "--copies", fmt.Sprint(n))
	for i, name := range p.names {
		args := []string{"store", "serve", "--dir", name, "--name", name, "--copies", fmt.Sprint(n), "--secret-file", "a/pool.secret",
			"--listen", fmt.Sprintf("192.0.2.%d:7473", i+1), "--no-discovery", "--webdav", "off", "--json"}
		for k := range i {
			args = append(args, "--peer", fmt.Sprintf("192.0.2.%d:7473", k+1))
		}
		c := p.hosts[i].Command(bin, args...)
		c.Dir = p.dir
		var out, errs output
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		if !out.waitFor(regexp.MustCompile(`"event":"serving"`), time.Minute) {
			b.Fatalf("%s does not serve: %s", name, errs.String())
		}
		b.Cleanup(func() { _ = c.Process.Signal(os.Interrupt); _ = c.Wait() })
	}
	for i, name := range p.names {
		p.run(i, "status", "--dir", name, "--json", "--wait-machines", fmt.Sprint(n), "--timeout", "60s")
	}
	return p
}

// run runs a command on a host, which must end with status 0.
func (p *benchPool) run(i int, args ...string) string {
	c := p.hosts[i].Command(p.bin, append([]string{"store"}, args...)...)
	c.Dir = p.dir
	return outputOf(p.b, c)
}

func (p *benchPool) setRate(rate int64) {
	for _, port := range p.ports {
		port.SetRate(rate)
	}
}

// spread puts a file on one of n machines that all keep it, and returns how long it
// took until all had it, and how many copies the busiest one sent.
func spread(b *testing.B, bin string, n int) (took time.Duration, copies float64) {
	p := newBenchPool(b, bin, n)
	if err := os.WriteFile(filepath.Join(p.dir, "file"), noise(rand.NewChaCha8([32]byte{9}), swarmFile), 0o600); err != nil {
		b.Fatal(err)
	}
	p.setRate(swarmLinkRate)
	began := time.Now()
	p.run(0, "put", "-q", "--dir", "a", "file", "/")
	p.run(0, "flush", "--dir", "a", "--timeout", "5m")
	took = time.Since(began)
	for i, name := range p.names {
		var s struct {
			Sent struct {
				Bytes int64 `json:"bytes"`
			} `json:"sent"`
		}
		c := p.hosts[i].Command(bin, "store", "status", "--dir", name, "--json")
		c.Dir = p.dir
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

// smallFiles are how many files of 4 KiB BenchmarkSmallFiles moves.
const smallFiles = 10000

// BenchmarkSmallFiles moves 10,000 files of 4 KiB from one machine to another over a
// link of 12.5 MB/s (100 Mbit/s), and one without a rate: as a tar stream over TCP into
// a directory, synced at the end, and by put and flush. It reports the ratio of the
// speeds, and that of what flush alone takes when put has ended:
//
//	go test -run '^$' -bench SmallFiles -benchtime 1x ./cmd/aether
func BenchmarkSmallFiles(b *testing.B) {
	bin := buildAether(b)
	for _, link := range []struct {
		name string
		rate int64
	}{{"100Mbit", 12_500_000}, {"no-rate", 0}} {
		b.Run(link.name, func(b *testing.B) {
			for b.Loop() {
				p := newBenchPool(b, bin, 2)
				src := filepath.Join(p.dir, "files")
				r := rand.NewChaCha8([32]byte{3})
				for i := range smallFiles {
					d := filepath.Join(src, fmt.Sprint("d", i/100))
					if err := os.MkdirAll(d, 0o700); err != nil {
						b.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(d, fmt.Sprint("f", i)), noise(r, 4096), 0o600); err != nil {
						b.Fatal(err)
					}
				}
				p.setRate(link.rate)
				tar := p.tar(src, filepath.Join(p.dir, "copy"))
				began := time.Now()
				p.run(0, "put", "-q", "--dir", "a", "files", "/")
				put := time.Since(began)
				p.run(0, "flush", "--dir", "a", "--timeout", "5m")
				all := time.Since(began)
				b.ReportMetric(tar.Seconds()/all.Seconds(), "speed/tar")
				b.ReportMetric(put.Seconds()/all.Seconds(), "put/all")
				b.ReportMetric(tar.Seconds(), "tar-s")
				b.ReportMetric(all.Seconds(), "all-s")
			}
		})
	}
}

// tar copies a directory of the first host into one of the second as a stream over TCP.
func (p *benchPool) tar(from, to string) time.Duration {
	var l net.Listener
	if err := p.hosts[1].Do(func() (err error) { l, err = net.Listen("tcp", "192.0.2.2:9"); return err }); err != nil {
		p.b.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	failed := make(chan error, 1)
	go func() {
		failed <- p.hosts[0].Do(func() error {
			c, err := net.Dial("tcp", "192.0.2.2:9")
			if err != nil {
				return err
			}
			w := bufio.NewWriterSize(c, 1<<16)
			tw := tar.NewWriter(w)
			return errors.Join(tw.AddFS(os.DirFS(from)), tw.Close(), w.Flush(), c.Close())
		})
	}()
	c, err := l.Accept()
	if err != nil {
		p.b.Fatal(err)
	}
	tr := tar.NewReader(bufio.NewReaderSize(c, 1<<16))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			p.b.Fatal(err)
		}
		name := filepath.Join(to, filepath.Clean(h.Name))
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			p.b.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			p.b.Fatal(err)
		}
		if _, err := io.Copy(f, tr); err != nil {
			p.b.Fatal(err)
		}
		f.Close()
	}
	syscall.Sync()
	if err := <-failed; err != nil {
		p.b.Fatal(err)
	}
	return time.Since(began)
}
