package main

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkIdle is what a machine of a pool of twenty sends when nothing happens, in
// bytes a second of Ethernet frames, the answers of TCP included:
//
//	go test -run '^$' -bench Idle -benchtime 1x ./cmd/aether
func BenchmarkIdle(b *testing.B) {
	const machines, settle, span = 20, 30 * time.Second, time.Minute
	for b.Loop() {
		var names []string
		for i := range machines {
			names = append(names, fmt.Sprintf("m%d", i))
		}
		o := newParty(b, names)
		<-time.After(settle)
		var said frames
		end := o.sw.Observe(said.count)
		<-time.After(span)
		end()
		b.ReportMetric(float64(said.bytes.Load())/machines/span.Seconds(), "B/s-a-machine")
		b.ReportMetric(float64(said.packets.Load())/machines/span.Seconds(), "frames/s-a-machine")
	}
}
