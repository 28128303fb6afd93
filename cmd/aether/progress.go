package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows on a terminal how much has passed and how fast. On anything else,
// and with --json, it shows nothing.
type progress struct {
	bars  *mpb.Progress
	bar   *mpb.Bar
	files atomic.Int64
	began time.Time
}

func newProgress(c *cli.Context, verb string) *progress {
	w := c.App.ErrWriter
	lines := isTerminal(c.App.Writer) && !c.Bool("quiet") // they show enough
	if c.Bool("no-progress") || c.Bool("json") || !isTerminal(w) || lines {
		w = nil
	}
	p := &progress{bars: mpb.New(mpb.WithOutput(w)), began: time.Now()}
	p.bar = p.bars.New(0, mpb.SpinnerStyle(), mpb.PrependDecorators(decor.Name(verb+" ")),
		mpb.AppendDecorators(
			decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%d files  ", p.files.Load()) }),
			decor.CurrentKibiByte("% .1f"), decor.Name("  "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name("  "),
			decor.Elapsed(decor.ET_STYLE_GO), decor.Any(p.timeLeft)))
	return p
}

// timeLeft guesses, once it is known how much there is.
func (p *progress) timeLeft(s decor.Statistics) string {
	elapsed := time.Since(p.began)
	if s.Total <= 0 || s.Current <= 0 || elapsed < time.Second {
		return ""
	}
	left := time.Duration(float64(elapsed) * float64(s.Total-s.Current) / float64(s.Current))
	return fmt.Sprintf("  %d%%, %s left", 100*s.Current/s.Total, max(0, left).Round(time.Second))
}

// total tells how many bytes there will be.
func (p *progress) total(n int64) { p.bar.SetTotal(n, false) }

// totalOf is total for what count finds, which may take a while.
func (p *progress) totalOf(count func() int64) {
	go func() { p.total(count()) }()
}

// add tells of bytes that have passed, file of a file.
func (p *progress) add(n int64) { p.bar.IncrInt64(n) }
func (p *progress) file()       { p.files.Add(1) }

// end takes the bar away.
func (p *progress) end() {
	p.bar.Abort(true)
	p.bars.Wait()
}
