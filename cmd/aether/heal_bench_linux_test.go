package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The rate of each cable of the benchmark in bytes a second, and what it puts.
const (
	healLinkRate = 4 << 20
	healFiles    = 96
	healFile     = 512 << 10
)

// BenchmarkHeal kills one of four machines that keep two copies of each file, and
// reports after how many seconds the others knew, and how long the lost copies then took
// to be made anew beyond the grace of a second, as a multiple of the lost bytes over
// what the survivors can receive:
//
//	go test -run '^$' -bench Heal -benchtime 1x ./cmd/aether
func BenchmarkHeal(b *testing.B) {
	const grace = time.Second
	for b.Loop() {
		names := []string{"alice", "bob", "carol", "dave"}
		o := newParty(b, names, "--copies", "2", "--grace", grace.String())
		files := map[string][]byte{}
		r := rand.NewChaCha8([32]byte{7})
		for i := range healFiles {
			files[fmt.Sprint("f", i)] = noise(r, healFile)
		}
		o.put("alice", "/", files)
		var lost int64 // bytes of which dave keeps a copy
		replaced := func() bool {
			for name := range files {
				w, err := o.machines["alice"].client.Where(b.Context(), "/"+name)
				if err != nil {
					b.Fatal(err)
				}
				for _, h := range w.Holders {
					if h.Name == "dave" || !h.Has {
						return false
					}
				}
			}
			return true
		}
		o.await("all copies", time.Minute, func() bool {
			s := o.status("alice")
			return s.Files == healFiles && s.FullyReplicated == healFiles && s.Pending == 0 && o.status("bob").Pending+o.status("carol").Pending+o.status("dave").Pending == 0
		})
		for name := range files {
			w, err := o.machines["alice"].client.Where(b.Context(), "/"+name)
			if err != nil {
				b.Fatal(err)
			}
			for _, h := range w.Holders {
				if h.Name == "dave" {
					lost += healFile
				}
			}
		}
		for _, name := range names {
			o.machines[name].port.SetRate(healLinkRate)
		}
		began := time.Now()
		o.kill("dave")
		o.await("that dave is gone", time.Minute, func() bool { return connected(o.status("alice")) == 3 })
		noticed := time.Since(began)
		o.await("that all copies are there again", 3*time.Minute, replaced)
		took := time.Since(began) - noticed - grace
		ideal := float64(lost) / float64((len(names)-1)*healLinkRate)
		b.ReportMetric(noticed.Seconds(), "s-until-noticed")
		b.ReportMetric(took.Seconds()/ideal, "healing/ideal")
		b.ReportMetric(float64(lost)/(1<<20), "MiB-lost")
	}
}
