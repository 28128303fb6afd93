package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// The benchmarks here compare with Avahi on the same switch in the same run:
//
//	go test -run '^$' -bench Peers -benchtime 1x ./cmd/aether

// cpuOf is the processor time that a process has used.
func cpuOf(b testing.TB, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	f := strings.Fields(string(rest))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // the kernel's USER_HZ is 100
}

// frames counts what goes through a switch.
type frames struct{ packets, bytes atomic.Int64 }

func (f *frames) count(_ time.Time, _ *netlab.Port, frame []byte) {
	f.packets.Add(1)
	f.bytes.Add(int64(len(frame)))
}

func median[T ~int64 | ~float64](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkPeers_FirstAnswer is how long a browse takes from the start of the program to
// its first line, for one instance that Avahi offers: of aether, and of avahi-browse
// with its daemon on another machine, in turn. The daemon is a new one each time, since
// one that has heard the answer before need not ask: so has no aether.
func BenchmarkPeers_FirstAnswer(b *testing.B) {
	l := netlab.New(b)
	hosts, _ := addressed(b, l.Switch(netlab.SwitchConfig{Seed: 1}), l, "a", "b", "c")
	bin := buildAether(b)
	offers := startAvahi(b, hosts[0], "box")
	launch(b, offers.command("avahi-publish", "-s", "Disk", "_webdav._tcp", "80")).want(b, "Established", 10*time.Second)
	outputOf(b, hosts[1].Command(bin, "mdns", "monitor", "--timeout", "5s", "-4"))
	first := func(c *netlab.Cmd, line string) time.Duration {
		began := time.Now()
		r := launch(b, c)
		r.want(b, line, 10*time.Second)
		took := time.Since(began)
		r.Process.Kill()
		r.Wait()
		return took
	}
	var ours, theirs []time.Duration
	for range 7 * b.N {
		ours = append(ours, first(hosts[1].Command(bin, "dnssd", "browse", "_webdav._tcp", "-4"), `(?m)^\+`))
		asks := startAvahi(b, hosts[2], "other")
		theirs = append(theirs, first(asks.command("avahi-browse", "_webdav._tcp"), `(?m)^\+`))
		asks.stop()
	}
	b.Logf("aether %v, avahi-browse %v", ours, theirs)
	b.ReportMetric(median(ours).Seconds()*1000, "aether-ms")
	b.ReportMetric(median(theirs).Seconds()*1000, "avahi-ms")
	b.ReportMetric(float64(median(ours))/float64(median(theirs)), "of-avahi")
}

// BenchmarkPeers_Claim is the time from the first probe to the first announcement of a
// name, of the least that RFC 6762 section 8.1 allows: 750 ms.
func BenchmarkPeers_Claim(b *testing.B) {
	l := netlab.New(b)
	sw := l.Switch(netlab.SwitchConfig{Seed: 1})
	hosts, _ := addressed(b, sw, l, "a")
	bin := buildAether(b)
	var ratios []float64
	for range 7 * b.N {
		var probe, announced atomic.Int64
		stop := sw.Observe(func(at time.Time, _ *netlab.Port, frame []byte) {
			switch at := at.UnixNano(); {
			case !bytes.Contains(frame, []byte("\x03box\x05local")) || len(frame) < 54 || frame[12] != 8:
			case frame[44]&0x80 == 0:
				probe.CompareAndSwap(0, at)
			default:
				announced.CompareAndSwap(0, at)
			}
		})
		r := launch(b, hosts[0].Command(bin, "mdns", "claim", "box", "-4"))
		r.want(b, `claimed box`, 10*time.Second)
		r.Process.Kill()
		r.Wait()
		stop()
		ratios = append(ratios, float64(announced.Load()-probe.Load())/float64(750*time.Millisecond))
	}
	b.Logf("%.3f", ratios)
	b.ReportMetric(median(ratios), "of-minimum")
	b.ReportMetric(slices.Max(ratios), "of-minimum-max")
}

const many = 1000

// BenchmarkPeers_ThousandInstances lets one machine offer a thousand instances and
// another resolve them all, once both with aether and once both with Avahi: packets and
// bytes on the wire and processor time of both ends, from the start of the browser on.
func BenchmarkPeers_ThousandInstances(b *testing.B) {
	dir := b.TempDir()
	var zone bytes.Buffer
	zone.WriteString("$ORIGIN local.\n")
	for i := range many {
		fmt.Fprintf(&zone, "_many._tcp PTR i%d._many._tcp\ni%d._many._tcp SRV 0 0 %d box\ni%d._many._tcp TXT \"n=%d\"\n", i, i, 1000+i, i, i)
		service := fmt.Sprintf(`<service-group><name>i%d</name><service><type>_many._tcp</type><port>%d</port><txt-record>n=%d</txt-record></service></service-group>`, i, 1000+i, i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("i%d.service", i)), []byte(`<?xml version="1.0"?>`+service), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	fmt.Fprintf(&zone, "box A 192.0.2.1\n")
	file := filepath.Join(dir, "many.zone")
	if err := os.WriteFile(file, zone.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	bin := buildAether(b)
	for range b.N {
		ours := manyByAether(b, bin, file)
		theirs := manyByAvahi(b, dir)
		b.Logf("aether %v\navahi  %v", ours, theirs)
		b.ReportMetric(float64(ours.packets)/float64(theirs.packets), "packets-of-avahi")
		b.ReportMetric(float64(ours.bytes)/float64(theirs.bytes), "bytes-of-avahi")
		b.ReportMetric(ours.cpu.Seconds()/theirs.cpu.Seconds(), "cpu-of-avahi")
		b.ReportMetric(ours.took.Seconds()/theirs.took.Seconds(), "time-of-avahi")
	}
}

// cost is what resolving all instances took.
type cost struct {
	packets, bytes int64
	cpu, took      time.Duration
}

func (c cost) String() string {
	return fmt.Sprintf("%d packets, %d bytes, %v CPU, %v", c.packets, c.bytes, c.cpu, c.took.Round(time.Millisecond))
}

func manyByAether(b *testing.B, bin, file string) cost {
	l := netlab.New(b)
	sw := l.Switch(netlab.SwitchConfig{Seed: 1})
	hosts, _ := addressed(b, sw, l, "a", "b")
	reg := launch(b, hosts[0].Command(bin, "dnssd", "register", "--file", file, "-4"))
	reg.want(b, fmt.Sprintf(`(?s)(registered.*){%d}`, many), 60*time.Second)
	outputOf(b, hosts[1].Command("sleep", "5")) // the last announcements
	var f frames
	defer sw.Observe(f.count)()
	was, began := cpuOf(b, reg.Process.Pid), time.Now()
	browse := hosts[1].Command(bin, "dnssd", "browse", "_many._tcp", "-r", "--wait-for", strconv.Itoa(many), "--timeout", "60s", "-4")
	outputOf(b, browse)
	c := cost{f.packets.Load(), f.bytes.Load(), cpuOf(b, reg.Process.Pid) - was + browse.ProcessState.UserTime() + browse.ProcessState.SystemTime(), time.Since(began)}
	reg.Process.Kill()
	reg.Wait()
	return c
}

func manyByAvahi(b *testing.B, dir string) cost {
	l := netlab.New(b)
	sw := l.Switch(netlab.SwitchConfig{Seed: 1})
	hosts, _ := addressed(b, sw, l, "c", "d")
	hosts[0].AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24"))
	offers := startAvahi(b, hosts[0], "box", dir)
	if !offers.log.waitFor(regexp.MustCompile(fmt.Sprintf(`(?s)(successfully established.*){%d}`, many)), 120*time.Second) {
		b.Fatalf("Avahi offers %d", strings.Count(offers.log.String(), "established"))
	}
	asks := startAvahi(b, hosts[1], "other")
	outputOf(b, hosts[1].Command("sleep", "5"))
	var f frames
	defer sw.Observe(f.count)()
	cpu := func() time.Duration { return cpuOf(b, offers.pid) + cpuOf(b, asks.pid) }
	was, began := cpu(), time.Now()
	browse := launch(b, asks.command("avahi-browse", "-rp", "_many._tcp"))
	browse.want(b, fmt.Sprintf(`(?sm)(^=.*){%d}`, many), 120*time.Second)
	c := cost{f.packets.Load(), f.bytes.Load(), cpu() - was + cpuOf(b, browse.Process.Pid), time.Since(began)}
	browse.Process.Kill()
	browse.Wait()
	return c
}
