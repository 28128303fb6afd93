package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"math"
	"math/bits"
	"os"
	"strings"

	"github.com/aether-lan/aether/dht/sim"
)

// draw writes the picture that was asked for: how many lookups had how many hops,
// and what hops are in rings of other sizes.
func (s *ringSim) draw(ctx context.Context, l sim.Lookups) error {
	const lookups = 2000
	most := max(10, bits.Len(uint(s.ring.Nodes-1)))
	var measured, fingers, half []plotPoint
	for k := 4; k <= most; k += 2 {
		both, err := s.hopsAt(ctx, k, 0, lookups)
		if err != nil {
			return err
		}
		alone, err := s.hopsAt(ctx, k, 1, lookups)
		if err != nil {
			return err
		}
		x := float64(k)
		measured = append(measured, plotPoint{x, both.Hops.Mean()})
		fingers = append(fingers, plotPoint{x, alone.Hops.Mean()})
		half = append(half, plotPoint{x, x / 2})
	}
	title := fmt.Sprintf("%d nodes, lists of %d", s.ring.Nodes, s.ring.List)
	if s.fail > 0 {
		title += fmt.Sprintf(", %.3g %% dead", 100*s.fail)
	}
	spread := plotPanel{title: title, xLabel: fmt.Sprintf("hops (mean %.2f)", l.Hops.Mean()), yLabel: "% of lookups",
		series: []plotSeries{{name: "hops", class: "a", bars: true, points: sharesAt(l.Hops)}}}
	if l.Timeouts.Max() > 0 {
		spread.xLabel = fmt.Sprintf("hops (mean %.2f), timeouts (mean %.2f)", l.Hops.Mean(), l.Timeouts.Mean())
		spread.series = append(spread.series, plotSeries{name: "timeouts", class: "b", points: sharesAt(l.Timeouts)})
	}
	sizes := plotPanel{title: "mean hops, nobody dead", xLabel: "nodes", yLabel: "hops", powers: true, series: []plotSeries{
		{name: "fingers alone", class: "b", points: fingers},
		{name: "half log2 N", class: "c", points: half},
		{name: "fingers and lists", class: "a", points: measured},
	}}
	svg := plotSVG(spread, sizes)
	err := replaceFile(s.plot, func(f *os.File) error {
		if _, err := f.WriteString(svg); err != nil {
			return err
		}
		return f.Chmod(0o644)
	})
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return s.out.event("plot", "\nwrote "+s.plot, "file", s.plot)
}

// sharesAt returns a histogram in percent.
func sharesAt(h sim.Histogram) (list []plotPoint) {
	all := float64(max(h.Count(), 1))
	for n, c := range h {
		list = append(list, plotPoint{float64(n), 100 * float64(c) / all})
	}
	return list
}

type plotPoint struct{ x, y float64 }

// plotSeries are points that belong together: a line, or bars at whole numbers.
type plotSeries struct {
	name   string
	class  string // a, b or c: its colour
	bars   bool
	points []plotPoint
}

// plotPanel is one diagram. Its axes begin at zero, but for that of powers.
type plotPanel struct {
	title, xLabel, yLabel string
	powers                bool // x is an exponent of 2
	series                []plotSeries
}

const (
	panelWidth, panelHeight = 430, 360
	marginLeft, marginRight = 52, 16
	marginTop, marginBottom = 34, 50
	innerWidth, innerHeight = panelWidth - marginLeft - marginRight, panelHeight - marginTop - marginBottom
	plotStyle               = `
  text { font: 12px sans-serif; fill: #222 }
  .title { font-size: 14px; font-weight: bold }
  .paper { fill: #fff }
  .axis { stroke: #444; fill: none }
  .grid { stroke: #ddd }
  .a { stroke: #0b62a4; fill: #0b62a4 } .b { stroke: #c4570a; fill: #c4570a } .c { stroke: #777; fill: #777; stroke-dasharray: 5 4 }
  path { fill: none !important; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .paper { fill: #16181c } .axis { stroke: #bbb } .grid { stroke: #363a41 }
    .a { stroke: #62b5f5; fill: #62b5f5 } .b { stroke: #ff9d4d; fill: #ff9d4d } .c { stroke: #aaa; fill: #aaa }
  }
`
)

// plotSVG draws panels side by side, for a light and a dark surrounding.
func plotSVG(panels ...plotPanel) string {
	var b strings.Builder
	width := panelWidth * len(panels)
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", width, panelHeight, width, panelHeight)
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", plotStyle, width, panelHeight)
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(%d 0)\">\n", i*panelWidth)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scale turns values into places on the paper.
type scale struct{ xMin, xMax, yMax float64 }

func (s scale) x(v float64) float64 {
	return marginLeft + (v-s.xMin)/(s.xMax-s.xMin)*innerWidth
}

func (s scale) y(v float64) float64 { return marginTop + (1-v/s.yMax)*innerHeight }

func (p plotPanel) scale() scale {
	s := scale{xMin: math.Inf(1), xMax: 1, yMax: 1e-9}
	for _, series := range p.series {
		for _, q := range series.points {
			s.xMin, s.xMax, s.yMax = min(s.xMin, q.x), max(s.xMax, q.x), max(s.yMax, q.y)
		}
	}
	if !p.powers {
		s.xMin, s.xMax = -0.75, s.xMax+0.75 // room for half a bar
	}
	if s.xMin >= s.xMax {
		s.xMin = s.xMax - 1
	}
	s.yMax *= 1.08
	return s
}

func (p plotPanel) draw(b *strings.Builder) {
	s := p.scale()
	text := func(x, y float64, class, anchor, words string) {
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class, anchor)
		_ = xml.EscapeText(b, []byte(words)) // a Builder takes everything
		b.WriteString("</text>\n")
	}
	for _, v := range ticks(s.yMax) {
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", marginLeft, panelWidth-marginRight, s.y(v), s.y(v))
		text(marginLeft-6, s.y(v)+4, "tick", "end", fmt.Sprintf("%.3g", v))
	}
	for _, v := range p.xTicks(s) {
		label := fmt.Sprintf("%.0f", v)
		if p.powers {
			label = powerOfTwo(v)
		}
		text(s.x(v), panelHeight-marginBottom+17, "tick", "middle", label)
	}
	for _, series := range p.series {
		series.draw(b, s)
	}
	fmt.Fprintf(b, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", marginLeft, marginTop, panelHeight-marginBottom, panelWidth-marginRight)
	text(marginLeft+innerWidth/2, 20, "title", "middle", p.title)
	text(marginLeft+innerWidth/2, panelHeight-12, "label", "middle", p.xLabel)
	fmt.Fprintf(b, "<g transform=\"rotate(-90)\">")
	text(-(marginTop + innerHeight/2), 14, "label", "middle", p.yLabel)
	b.WriteString("</g>\n")
	p.legend(b, text)
}

// legend names the series, where they are several: of curves that rise at the left,
// where they leave room, of a histogram at the right.
func (p plotPanel) legend(b *strings.Builder, text func(x, y float64, class, anchor, words string)) {
	if len(p.series) < 2 {
		return
	}
	x := float64(marginLeft + innerWidth - 110)
	if p.powers {
		x = marginLeft + 14
	}
	for i, series := range p.series {
		y := float64(marginTop + 14 + 18*i)
		fmt.Fprintf(b, "<path class=\"%s\" d=\"M%.1f %.1fh22\"/>\n", series.class, x, y)
		text(x+28, y+4, "label", "start", series.name)
	}
}

func (q plotSeries) draw(b *strings.Builder, s scale) {
	if q.bars {
		width := 0.8 * (s.x(1) - s.x(0))
		for _, p := range q.points {
			fmt.Fprintf(b, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", q.class, s.x(p.x)-width/2, s.y(p.y), width,
				s.y(0)-s.y(p.y))
		}
		return
	}
	var d strings.Builder
	for i, p := range q.points {
		fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], s.x(p.x), s.y(p.y))
	}
	fmt.Fprintf(b, "<path class=\"%s\" d=\"%s\"/>\n", q.class, d.String())
	for _, p := range q.points {
		fmt.Fprintf(b, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", q.class, s.x(p.x), s.y(p.y))
	}
}

// ticks returns about five round numbers from 0 to most.
func ticks(most float64) (list []float64) {
	step := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if most/(step*factor) <= 7 {
			step *= factor
			break
		}
	}
	for i := 0; float64(i)*step <= most; i++ {
		list = append(list, float64(i)*step)
	}
	return list
}

// xTicks returns whole numbers.
func (p plotPanel) xTicks(s scale) (list []float64) {
	if p.powers {
		for k := math.Ceil(s.xMin); k <= s.xMax; k += max(2, 2*math.Ceil((s.xMax-s.xMin)/20)) {
			list = append(list, k)
		}
		return list
	}
	step := math.Ceil(s.xMax / 12)
	for v := 0.0; v <= s.xMax; v += step {
		list = append(list, v)
	}
	return list
}

// powerOfTwo writes 2^k as people do: 16, 1k, 1M.
func powerOfTwo(k float64) string {
	for _, unit := range []struct {
		bits float64
		name string
	}{{20, "M"}, {10, "k"}} {
		if k >= unit.bits {
			return fmt.Sprintf("%.0f%s", math.Exp2(k-unit.bits), unit.name)
		}
	}
	return fmt.Sprintf("%.0f", math.Exp2(k))
}
