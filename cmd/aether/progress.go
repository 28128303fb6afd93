package main

import (
	"fmt"
	"sync/atomic"

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
}

func newProgress(c *cli.Context, verb string) *progress {
	w := c.App.ErrWriter
	lines := isTerminal(c.App.Writer) && !c.Bool("quiet") // they show enough
	if c.Bool("no-progress") || c.Bool("json") || !isTerminal(w) || lines {
		w = nil
	}
	p := &progress{bars: mpb.New(mpb.WithOutput(w))}
	p.bar = p.bars.New(0, mpb.SpinnerStyle(), mpb.PrependDecorators(decor.Name(verb+" ")),
		mpb.AppendDecorators(
			decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%d files  ", p.files.Load()) }),
			decor.CurrentKibiByte("% .1f"), decor.Name("  "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name("  "),
			decor.Elapsed(decor.ET_STYLE_GO)))
	return p
}

// add tells of bytes that have passed, file of a file.
func (p *progress) add(n int64) { p.bar.IncrInt64(n) }
func (p *progress) file()       { p.files.Add(1) }

// end takes the bar away.
func (p *progress) end() {
	p.bar.Abort(true)
	p.bars.Wait()
}
