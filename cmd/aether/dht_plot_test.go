package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// elements reads a picture: it must be XML.
func elements(t *testing.T, svg string) (list []xml.StartElement, text []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list, text
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			list = append(list, token.Copy())
		case xml.CharData:
			text = append(text, string(token))
		}
	}
}

func number(t *testing.T, e xml.StartElement, name string) float64 {
	t.Helper()
	i := slices.IndexFunc(e.Attr, func(a xml.Attr) bool { return a.Name.Local == name })
	if i < 0 {
		t.Fatalf("%v has no %s", e, name)
	}
	v, err := strconv.ParseFloat(e.Attr[i].Value, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("%s of %v: %v", name, e, err)
	}
	return v
}

func TestPlotSVG_HasAxesAndStaysInside(t *testing.T) {
	svg := plotSVG(
		plotPanel{title: "a < b & c", xLabel: "hops", yLabel: "% of lookups", series: []plotSeries{
			{name: "hops", class: "a", bars: true, points: []plotPoint{{0, 1}, {1, 60}, {2, 39}}},
			{name: "timeouts", class: "b", points: []plotPoint{{0, 100}, {1, 0}}},
		}},
		plotPanel{title: "mean", xLabel: "nodes", yLabel: "steps", powers: true, series: []plotSeries{
			{name: "measured", class: "a", points: []plotPoint{{4, 2}, {20, 8.4}}},
		}},
	)
	list, text := elements(t, svg)
	for _, want := range []string{"a < b & c", "hops", "% of lookups", "timeouts", "nodes", "steps", "16", "1k", "64k", "1M", "0", "100"} {
		if !slices.Contains(text, want) {
			t.Errorf("nowhere stands %q", want)
		}
	}
	bars := 0
	for _, e := range list {
		switch e.Name.Local {
		case "circle":
			if x, y := number(t, e, "cx"), number(t, e, "cy"); x < marginLeft || x > panelWidth-marginRight || y < marginTop || y > panelHeight-marginBottom {
				t.Errorf("a point at %v, %v", x, y)
			}
		case "rect":
			if e.Attr[0].Value != "a" {
				continue
			}
			bars++
			x, y, w, h := number(t, e, "x"), number(t, e, "y"), number(t, e, "width"), number(t, e, "height")
			if x < marginLeft || x+w > panelWidth-marginRight || y < marginTop || math.Abs(y+h-(panelHeight-marginBottom)) > 0.2 {
				t.Errorf("a bar at %v, %v of %v x %v", x, y, w, h)
			}
		}
	}
	if bars != 3 || !strings.Contains(svg, "prefers-color-scheme: dark") {
		t.Errorf("%d bars", bars)
	}
}

// Pictures of next to nothing are pictures.
func TestPlotSVG_OfLittle(t *testing.T) {
	for _, points := range [][]plotPoint{nil, {{0, 0}}, {{0, 100}}, {{4, 0}}} {
		for _, powers := range []bool{false, true} {
			svg := plotSVG(plotPanel{powers: powers, series: []plotSeries{{class: "a", bars: !powers, points: points}}})
			if elements(t, svg); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("%v: %s", points, svg)
			}
		}
	}
}

func TestTicks_AreRoundAndFew(t *testing.T) {
	for most, want := range map[float64][]float64{1: {0, 0.2, 0.4, 0.6, 0.8, 1}, 25: {0, 5, 10, 15, 20, 25}, 100: {0, 20, 40, 60, 80, 100}, 9: {0, 2, 4, 6, 8}} {
		got := ticks(most)
		if !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("to %v: %v, want %v", most, got, want)
		}
	}
	for most := 0.001; most < 1e7; most *= 1.37 {
		if n := len(ticks(most)); n < 3 || n > 8 {
			t.Errorf("to %v: %d ticks", most, n)
		}
	}
}
