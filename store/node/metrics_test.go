package node

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// exposition reads the text format of Prometheus and fails on what is not in it: the
// values by name and labels.
func exposition(t *testing.T, text string) map[string]float64 {
	t.Helper()
	values, types := map[string]float64{}, map[string]string{}
	line := regexp.MustCompile(`^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$`)
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if f := strings.Fields(l); strings.HasPrefix(l, "# TYPE ") && len(f) == 4 {
			if types[f[2]] != "" {
				t.Errorf("two families %s", f[2])
			}
			types[f[2]] = f[3]
			continue
		}
		if strings.HasPrefix(l, "# HELP ") {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("not of the format: %q", l)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%q: %v", l, err)
		}
		if _, twice := values[m[1]+m[2]]; twice {
			t.Errorf("twice: %s%s", m[1], m[2])
		}
		values[m[1]+m[2]] = v
		family := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f, ok := strings.CutSuffix(family, suffix); ok && types[f] == "histogram" {
				family = f
			}
		}
		switch kind := types[family]; {
		case kind == "":
			t.Errorf("%s has no type", family)
		case kind == "counter" != strings.HasSuffix(family, "_total"):
			t.Errorf("%s is a %s", family, kind)
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	m := opened(t, Settings{Name: "ho\"st\\", Copies: 1, Space: 1 << 30})
	for i := range 3 {
		create(t, m, fmt.Sprintf("/f%d", i))
	}
	f, err := m.drive.Open(t.Context(), "/f0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	m.alarm(AlarmClock, m.ID().String(), "an hour ahead")
	w := httptest.NewRecorder()
	metricsHandler(m).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if ct := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(ct, "text/plain; version=0.0.4") {
		t.Fatalf("%d, %s", w.Code, ct)
	}
	got := exposition(t, w.Body.String())
	for name, want := range map[string]float64{
		`files`:                                1 * 3,
		`bytes`:                                9,
		`files_by_copies{copies="1"}`:          3,
		`files_by_safety{safety="whole"}`:      3,
		`files_by_safety{safety="lacking"}`:    0,
		`queue_files`:                          0,
		`space_bytes{class="free"}`:            float64(m.bodies.Usage().Free),
		`peers{state="connected"}`:             0,
		`state{state="Needs you"}`:             1,
		`state{state="Up to date"}`:            0,
		`alarms{kind="clock"}`:                 1,
		`alarms{kind="refused"}`:               0,
		`gossip_dropped_total{reason="gap"}`:   0,
		`body_bytes_total{direction="sent"}`:   0,
		`read_seconds_count{from="network"}`:   0,
		`read_seconds_count{from="disk"}`:      1,
		`connections_total{outcome="garbage"}`: 0,
		`machine_up{machine="` + m.ID().String() + `",name="ho\"st\\"}`: 1,
	} {
		if v, ok := got["aether_store_"+name]; !ok || v != want {
			t.Errorf("%s: %v %v, want %v", name, v, ok, want)
		}
	}
	if got[`aether_store_read_seconds_bucket{from="disk",le="+Inf"}`] != 1 || got["aether_store_read_seconds_sum{from=\"disk\"}"] <= 0 {
		t.Errorf("latencies: %v", got)
	}
}
