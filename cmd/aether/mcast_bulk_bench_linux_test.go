package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
	"github.com/aether-lan/aether/multicast"
)

// The cables of the benchmark, in bytes a second, and the file. The link has to be
// the bound: between programs of one machine a packet costs time and a link nothing.
const (
	bulkLinkRate = 4 << 20
	bulkFile     = 24 << 20
)

// BenchmarkBulk sends a file of 24 MiB to 1, 4 and 9 receivers over links of 4 MiB/s
// and prints, for each: bytes on the wire, Ethernet headers included, over the
// file's; the time over that of one receiver; the file's bytes a second over what
// plain UDP to the same receivers delivers in the same run. It does not use UDP
// segmentation offload, which would hide headers:
//
//	go test -run '^$' -bench Bulk -benchtime 1x ./cmd/aether
func BenchmarkBulk(b *testing.B) {
	bin := buildAether(b)
	for b.Loop() {
		one := measureBulk(b, bin, 1, 0)
		one.report(b, "1-receiver")
		for _, n := range []int{4, 9} {
			m := measureBulk(b, bin, n, 0)
			m.report(b, fmt.Sprintf("%d-receivers", n))
			b.ReportMetric(m.seconds/one.seconds, fmt.Sprintf("time-of-one/%d-receivers", n))
		}
		m := measureBulk(b, bin, 9, 0.01)
		m.report(b, "9-receivers-1%-loss")
		b.ReportMetric(m.seconds/one.seconds, "time-of-one/9-receivers-1%-loss")
	}
}

// bulkMeasure is one transfer and the plain UDP beside it.
type bulkMeasure struct {
	seconds, wire, goodput, plain float64
	overflowed, lost              uint64 // frames, by full cables and by the faults asked for
}

func (m bulkMeasure) report(b *testing.B, name string) {
	b.ReportMetric(m.wire, "wire-bytes/"+name)
	b.ReportMetric(m.goodput/m.plain, "of-plain-UDP/"+name)
	b.Logf("%s: %.3f bytes on the wire a file byte, %.2f s, %.2f MB/s; plain UDP %.2f MB/s; %d frames overflowed, %d lost",
		name, m.wire, m.seconds, m.goodput/1e6, m.plain/1e6, m.overflowed, m.lost)
}

func measureBulk(b *testing.B, bin string, n int, loss float64) (m bulkMeasure) {
	l := newBulkLab(b, bin, n, bulkFile)
	var wire atomic.Int64
	stop := l.sw.Observe(func(_ time.Time, in *netlab.Port, frame []byte) {
		if in == l.ports[0] {
			wire.Add(int64(len(frame)))
		}
	})
	defer stop()
	for _, p := range l.ports {
		p.SetRate(bulkLinkRate)
	}
	for _, p := range l.ports[1:] {
		p.SetFaultsToHost(netlab.Faults{Loss: loss})
	}
	m.plain = l.plainUDP(2 * time.Second)
	var gets []*running
	for i := range n {
		gets = append(gets, l.get(i+1))
	}
	before, counted := wire.Load(), l.sw.Counters()
	put := l.put("--receivers", fmt.Sprint(n))
	if s := put.status(b); s != 0 {
		b.Fatalf("put ended with %d", s)
	}
	m.wire = float64(wire.Load()-before) / bulkFile
	c := l.sw.Counters()
	m.overflowed, m.lost = c.Overflowed-counted.Overflowed, c.Lost-counted.Lost
	for i, g := range gets {
		if s := g.status(b); s != 0 {
			b.Fatalf("receiver %d ended with %d", i+1, s)
		}
		l.same(i + 1)
	}
	m.seconds = summaryOf(b, put).Seconds
	m.goodput = bulkFile / m.seconds
	return m
}

// plainUDP sends datagrams of 1,408 bytes to the group, a tenth faster than the
// cable takes, and returns the bytes a second that reach the median receiver.
func (l *bulkLab) plainUDP(d time.Duration) float64 {
	l.Helper()
	cfg := multicast.Config{Interface: "eth0", Group: netip.MustParseAddrPort("239.255.20.2:9001"), ReadBuffer: 4 << 20}
	var got []*atomic.Int64
	var heard []*multicast.Conn
	var wg sync.WaitGroup
	for _, h := range l.hosts[1:] {
		var in *multicast.Conn
		if err := h.Do(func() (err error) { in, err = multicast.Listen(context.Background(), cfg); return err }); err != nil {
			l.Fatal(err)
		}
		heard = append(heard, in)
		n := new(atomic.Int64)
		got = append(got, n)
		wg.Go(func() {
			ds := make([]multicast.Datagram, 64)
			for {
				k, err := in.ReadBatch(ds)
				if err != nil {
					return
				}
				for i := range ds[:k] {
					n.Add(int64(len(ds[i].Payload)))
				}
			}
		})
	}
	defer wg.Wait()
	defer func() {
		for _, in := range heard {
			_ = in.Close()
		}
	}()
	var out *multicast.Conn
	if err := l.hosts[0].Do(func() (err error) { out, err = multicast.Dial(context.Background(), cfg); return err }); err != nil {
		l.Fatal(err)
	}
	defer out.Close()
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	payload, sent := make([]byte, 1408), 0
	for now := began; now.Sub(began) < d; now = <-tick.C {
		for float64(sent) < now.Sub(began).Seconds()*bulkLinkRate*1.1 {
			if err := out.Send(payload); err != nil {
				l.Fatal(err)
			}
			sent += len(payload) + 42
		}
	}
	took := time.Since(began)
	var rates []float64
	for _, n := range got {
		rates = append(rates, float64(n.Load())/took.Seconds())
	}
	slices.Sort(rates)
	<-time.After(200 * time.Millisecond) // the cables' queues become empty
	return rates[len(rates)/2]
}
