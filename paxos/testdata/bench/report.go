package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// point is one measurement.
type point struct {
	Round     int     `json:"round"`
	What      string  `json:"what"`
	System    string  `json:"system"`
	Clients   int     `json:"clients"`
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	// Syncs are the records that the replica with the most of them synced, for each
	// command.
	Syncs float64 `json:"syncs_per_command"`
	CPU   float64 `json:"cpu_us_per_command"`
}

// report prints points as they come, and their medians at the end.
type report struct {
	w      io.Writer
	json   bool
	points []point
	floors []floor
	ratios []float64 // of outages
}

func (r *report) event(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(r.w, `{"event":%q,"time":%q,%s`+"\n", name, time.Now().UTC().Format(time.RFC3339Nano), b[1:])
}

func (r *report) point(p point) {
	r.points = append(r.points, p)
	if r.json {
		r.event("point", p)
		return
	}
	fmt.Fprintf(r.w, "round %d  %-6s %-20s %5d clients %9.0f/s  p50 %8.0f us  p99 %8.0f us  %.4f syncs  %6.1f us CPU\n",
		p.Round+1, p.What, p.System, p.Clients, p.PerSecond, p.P50, p.P99, p.Syncs, p.CPU)
}

func (r *report) floor(f floor) {
	r.floors = append(r.floors, f)
	if r.json {
		r.event("floor", f)
		return
	}
	fmt.Fprintf(r.w, "round %d  floor: append and fdatasync %.0f us (two of three at once %.0f us), overwrite %.0f us, round trip %.0f us\n",
		f.Round+1, f.Append, f.Quorum, f.Overwrite, f.RTT)
}

func (r *report) outage(o outage) {
	r.ratios = append(r.ratios, o.Ratio)
	if r.json {
		r.event("outage", o)
		return
	}
	fmt.Fprintf(r.w, "round %d  kill -9 of the leader: first commit after %.0f ms, %.2f election timeouts\n", o.Round+1, o.Millis, o.Ratio)
}

// spread is a median with the lowest and highest.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spreadOf(list []float64) (s spread) {
	if len(list) == 0 {
		return s
	}
	slices.Sort(list)
	return spread{(list[(len(list)-1)/2] + list[len(list)/2]) / 2, list[0], list[len(list)-1]}
}

// line is a row of the summary.
type line struct {
	What      string  `json:"what"`
	Clients   int     `json:"clients"`
	System    string  `json:"system"`
	PerSecond spread  `json:"per_second"`
	P50       spread  `json:"p50_us"`
	Tail      spread  `json:"p99_over_p50"`
	Syncs     float64 `json:"syncs_per_command"`
	CPU       float64 `json:"cpu_us_per_command"`
	// Ratio is how many times as fast the first system was, in the same round.
	Ratio spread `json:"first_over_this"`
	// Floor is P50 over the time of one append with fdatasync and a round trip.
	Floor spread `json:"p50_over_floor"`
	// Quorum is the same with three appends at once, of which two count.
	Quorum spread `json:"p50_over_quorum_floor"`
}

func (r *report) summary(o options) {
	if o.what == "failover" {
		s := spreadOf(r.ratios)
		if r.json {
			r.event("summary", map[string]any{"what": "failover", "outage_over_election": s})
			return
		}
		fmt.Fprintf(r.w, "\nfirst commit after kill -9 of the leader: %.2f election timeouts (%.2f-%.2f)\n", s.Median, s.Low, s.High)
		return
	}
	var lines []line
	for _, what := range []string{"write", "read", "peak", "load70"} {
		for _, clients := range o.clients {
			for _, name := range o.systems {
				if l, ok := r.line(o.systems[0], what, clients, name); ok {
					lines = append(lines, l)
				}
			}
		}
	}
	if r.json {
		for _, l := range lines {
			r.event("summary", l)
		}
		return
	}
	w := tabwriter.NewWriter(r.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "\nwhat\tclients\tsystem\tper second\t(low-high)\tp50 us\tp99/p50\tsyncs\tCPU us\t%s / this\t(low-high)\tp50 / floor\tof three\t\n", o.systems[0])
	for _, l := range lines {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t(%.0f-%.0f)\t%.0f\t%.1f\t%.4f\t%.1f\t%.2f\t(%.2f-%.2f)\t%.2f\t%.2f\t\n", l.What, l.Clients, l.System,
			l.PerSecond.Median, l.PerSecond.Low, l.PerSecond.High, l.P50.Median, l.Tail.Median, l.Syncs, l.CPU, l.Ratio.Median, l.Ratio.Low, l.Ratio.High, l.Floor.Median, l.Quorum.Median)
	}
	if o.what == "read" {
		fmt.Fprintln(w, strings.Join(r.readsOverWrites(o), "\n"))
	}
}

// line sums one system's points up.
func (r *report) line(first, what string, clients int, name string) (l line, ok bool) {
	l = line{What: what, Clients: clients, System: name}
	var rate, p50, tail, syncs, cpu, ratio, above, quorum []float64
	for _, p := range r.points {
		if p.What != what || p.Clients != clients || p.System != name {
			continue
		}
		rate, p50, tail = append(rate, p.PerSecond), append(p50, p.P50), append(tail, p.P99/max(p.P50, 1))
		syncs, cpu = append(syncs, p.Syncs), append(cpu, p.CPU)
		for _, q := range r.points {
			if q.What == what && q.Clients == clients && q.System == first && q.Round == p.Round {
				ratio = append(ratio, q.PerSecond/p.PerSecond)
			}
		}
		for _, f := range r.floors {
			if f.Round == p.Round {
				above, quorum = append(above, p.P50/(f.Append+f.RTT)), append(quorum, p.P50/(f.Quorum+f.RTT))
			}
		}
	}
	l.PerSecond, l.P50, l.Tail, l.Ratio = spreadOf(rate), spreadOf(p50), spreadOf(tail), spreadOf(ratio)
	l.Floor, l.Quorum = spreadOf(above), spreadOf(quorum)
	l.Syncs, l.CPU = spreadOf(syncs).Median, spreadOf(cpu).Median
	return l, len(rate) > 0
}

// readsOverWrites compares the reads of each visit with its writes.
func (r *report) readsOverWrites(o options) (list []string) {
	for _, clients := range o.clients {
		for _, name := range o.systems {
			var ratio []float64
			for _, p := range r.points {
				for _, q := range r.points {
					if p.What == "read" && q.What == "write" && p.Clients == clients && q.Clients == clients && p.System == name && q.System == name && p.Round == q.Round {
						ratio = append(ratio, p.PerSecond/q.PerSecond)
					}
				}
			}
			s := spreadOf(ratio)
			list = append(list, fmt.Sprintf("%s at %d clients: reads are %.2f times the writes (%.2f-%.2f)", name, clients, s.Median, s.Low, s.High))
		}
	}
	return list
}
