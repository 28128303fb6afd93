package node

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/gossip"
)

// metricsHandler serves the state of m at /metrics in the text format of Prometheus,
// version 0.0.4.
func metricsHandler(m *Machine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		if err := m.writeMetrics(r.Context(), &b); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = io.WriteString(w, b.String()) // who has gone does not want it
	})
	return mux
}

// metrics are written one family after the other.
type metrics struct{ b *strings.Builder }

// family begins a metric of the type kind (counter, gauge or histogram).
func (x metrics) family(name, kind, help string) {
	fmt.Fprintf(x.b, "# HELP aether_store_%s %s\n# TYPE aether_store_%s %s\n", name, help, name, kind)
}

// value writes a value of a metric; labels are names and values in turn.
func (x metrics) value(name string, v float64, labels ...string) {
	x.b.WriteString("aether_store_" + name)
	if len(labels) > 0 {
		var pairs []string
		for i := 0; i+1 < len(labels); i += 2 {
			pairs = append(pairs, labels[i]+`="`+escaped(labels[i+1])+`"`)
		}
		x.b.WriteString("{" + strings.Join(pairs, ",") + "}")
	}
	x.b.WriteString(" " + strconv.FormatFloat(v, 'g', -1, 64) + "\n")
}

// escaped returns the value of a label as it is written.
func escaped(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

// one writes a metric of one value.
func (x metrics) one(name, kind, help string, v int64) {
	x.family(name, kind, help)
	x.value(name, float64(v))
}

// each writes a metric of several values that differ in a label; pairs are the
// label's values and the metric's in turn.
func (x metrics) each(name, kind, help, label string, pairs ...any) {
	x.family(name, kind, help)
	for i := 0; i+1 < len(pairs); i += 2 {
		x.value(name, float64(pairs[i+1].(int64)), label, pairs[i].(string))
	}
}

// writeMetrics writes the state of the machine and of the pool as it knows it.
func (m *Machine) writeMetrics(ctx context.Context, b *strings.Builder) error {
	s, err := m.Status(ctx)
	if err != nil {
		return err
	}
	x := metrics{b}
	x.files(&s)
	x.space(&s)
	x.machines(&s)
	now := time.Now()
	heard, _ := m.traffic.heard.read(now)
	gossiped, _ := m.traffic.gossiped.read(now)
	x.each("body_bytes_total", "counter", "Bytes of chunks that crossed the network.", "direction", "received", s.Received.Bytes, "sent", s.Sent.Bytes)
	x.each("gossip_bytes_total", "counter", "Bytes of gossip that crossed the network.", "direction", "received", heard, "sent", gossiped)
	var dropped gossip.Counters
	if err := m.core.call(ctx, func() { dropped = m.core.gossip.Counters() }); err != nil {
		return err
	}
	x.counters("gossip_dropped_total", "Entries and messages of gossip that were dropped, by why.", "reason", dropped)
	var links link.Counters
	if mesh := m.mesh.Load(); mesh != nil {
		links = mesh.Counters()
	}
	x.counters("connections_total", "Incoming connections, by what became of them.", "outcome", links)
	x.family("requests_refused_total", "counter", "Requests beyond what a machine is served at a time.")
	refused := m.demands.totals()
	for _, id := range slices.SortedFunc(maps.Keys(refused), store.MachineID.Compare) {
		x.value("requests_refused_total", float64(refused[id]), "machine", id.String())
	}
	x.activity(m.drive.Activity())
	return nil
}

func (x metrics) files(s *Status) {
	x.one("files", "gauge", "Files of the drive, conflict copies included.", s.Files)
	x.one("bytes", "gauge", "Bytes in them.", s.Bytes)
	x.one("conflicts", "gauge", "Conflict copies.", s.Conflicts)
	x.one("copies_wanted", "gauge", "Copies that each file shall have.", int64(s.Copies))
	var by []any
	for n, files := range s.ByCopies {
		by = append(by, strconv.Itoa(n), files)
	}
	x.each("files_by_copies", "gauge", "Files by the number of copies that are known to be kept.", "copies", by...)
	x.each("files_by_safety", "gauge", "Files with enough copies, with copies on their way, and with too few.", "safety",
		"whole", s.Whole, "copying", s.Copying, "lacking", s.Lacking)
	x.one("files_only_here", "gauge", "Files that only this machine is known to keep, though others should.", s.OnlyHere)
	x.one("files_unreachable", "gauge", "Files that no machine keeps that can be reached now.", s.Unreachable)
	x.family("counted_timestamp_seconds", "gauge", "When copies were last counted.")
	x.value("counted_timestamp_seconds", float64(s.Counted.UnixMilli())/1000)
	x.one("queue_files", "gauge", "Files that this machine has to fetch.", s.Queue.Files)
	x.one("queue_bytes", "gauge", "Bytes that this machine has to fetch.", s.Queue.Bytes)
}

func (x metrics) space(s *Status) {
	x.each("space_bytes", "gauge", "The space set aside on this machine, by what it is used for.", "class",
		"replicas", s.Space.Replicas, "cache", s.Space.Cache, "free", s.Space.Free)
}

func (x metrics) machines(s *Status) {
	x.family("state", "gauge", "1 for the state of the whole, 0 for the others.")
	for _, w := range []State{UpToDate, Receiving, Sending, Degraded, Offline, NeedsYou} {
		x.value("state", is(s.State == w), "state", string(w))
	}
	connected, away := int64(0), int64(0)
	for _, p := range s.Machines {
		switch {
		case p.Connected:
			connected++
		case !p.Self:
			away++
		}
	}
	x.each("peers", "gauge", "Other machines of the pool.", "state", "connected", connected, "away", away)
	x.family("machine_up", "gauge", "1 for a machine that can be reached.")
	for _, p := range s.Machines {
		x.value("machine_up", is(p.Connected || p.Self), "machine", p.ID.String(), "name", p.Name)
	}
	x.family("machine_lag_files", "gauge", "Files that a machine should keep and is not known to.")
	for _, p := range s.Machines {
		x.value("machine_lag_files", float64(p.Lag.Files), "machine", p.ID.String(), "name", p.Name)
	}
	kinds := map[string]int64{}
	for _, a := range s.Alarms {
		kinds[a.Kind]++
	}
	all := []string{AlarmRefused, AlarmFault, AlarmClock, AlarmDiverged, AlarmFlood, AlarmFull, AlarmStopped}
	for k := range kinds {
		if !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	var pairs []any
	for _, k := range all {
		pairs = append(pairs, k, kinds[k])
	}
	x.each("alarms", "gauge", "What is wrong now.", "kind", pairs...)
}

func is(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

// counters writes the fields of a struct of uint64, each under its name.
func (x metrics) counters(name, help, label string, counters any) {
	x.family(name, "counter", help)
	v := reflect.ValueOf(counters)
	for i := range v.NumField() {
		if v.Field(i).CanUint() {
			x.value(name, float64(v.Field(i).Uint()), label, snake(v.Type().Field(i).Name))
		}
	}
}

// snake writes OverLimit as over_limit.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (x metrics) activity(a drive.Activity) {
	x.one("changes_total", "counter", "Changes of the drive made on this machine.", a.Changes)
	x.one("open_files", "gauge", "Files that are open.", a.Open)
	x.each("chunk_bytes_total", "counter", "Bytes of chunks read from this disk and written to it.", "direction", "read", a.BytesRead, "written", a.BytesWritten)
	x.family("read_seconds", "histogram", "How long it took to read a chunk, from this disk or from another machine.")
	x.latency("disk", a.Disk)
	x.latency("network", a.Network)
}

// latency writes a histogram; its counts are of all that took at most so long.
func (x metrics) latency(from string, l drive.Latency) {
	var n int64
	for i, bound := range drive.LatencyBounds {
		n += l.Counts[i]
		x.value("read_seconds_bucket", float64(n), "from", from, "le", strconv.FormatFloat(bound, 'g', -1, 64))
	}
	n += l.Counts[len(l.Counts)-1]
	x.value("read_seconds_bucket", float64(n), "from", from, "le", "+Inf")
	x.value("read_seconds_sum", l.Seconds, "from", from)
	x.value("read_seconds_count", float64(n), "from", from)
}
