package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

func storeBenchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "compare the drive with the plain directory it lies in",
		Description: "Makes a machine and a plain directory side by side in DIRECTORY, does the same work in both in turn, and prints\n" +
			"the ratios: medians, with the least and the greatest. Rates are the drive's over the plain directory's; times the\n" +
			"other way round. The mount needs root or fuse3; without, its lines are left out. Everything is removed at the end.\n" +
			"JSON: result {name, unit, raw, aether, ratio, least, greatest, target, met}.\n" +
			"Exit status: 0 also where a target is missed, 1 when the work could not be done." +
			examples("aether store bench", "aether store bench --on /srv --size 4GiB --count 7", "aether store bench --only read"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "on", Usage: "work in this `DIRECTORY`, on the disk to be measured", DefaultText: "the current one"},
			&cli.StringFlag{Name: "size", Value: "1GiB", Usage: "`BYTES` of the large files"},
			&cli.IntFlag{Name: "files", Value: 3000, Usage: "`NUMBER` of small files"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Value: 5, Usage: "do everything `N` times"},
			&cli.StringFlag{Name: "only", Usage: "do only what has this `WORD` in its name"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("bench takes no arguments")
			}
			size, err := parseBytes(c.String("size"))
			if err != nil {
				return usage("--size: %v", err)
			}
			if c.Int("files") < 1 || c.Int("count") < 1 {
				return usage("--files and --count: at least 1")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			return storeBench(c, p, size)
		},
	}
}

// bench is a machine and a plain directory on one disk.
type bench struct {
	ctx     context.Context
	base    string
	machine string // its directory
	mnt     string // the drive; empty where it cannot be mounted
	raw     string
	size    int64
	files   int
	round   int
	self    string // this program
}

// work is one line of the table: the same work done in the plain directory and in the
// drive.
type work struct {
	name   string
	unit   string
	target float64 // of the ratio
	most   bool    // the ratio shall be at most target, not at least
	mount  bool    // it needs the mount
	// run does the work once on both sides, the plain directory first, and returns a
	// rate, or with most a time or size, of each.
	run func(b *bench) (raw, aether float64, err error)
}

// result is what came out.
type result struct {
	work
	raws, aethers, ratios []float64
}

func storeBench(c *cli.Context, p *printer, size int64) error {
	on := c.String("on")
	if on == "" {
		on = "."
	}
	b, stop, err := newBench(c, on, size)
	if err != nil {
		return err
	}
	defer stop()
	if b.mnt == "" {
		_, _ = fmt.Fprintln(c.App.ErrWriter, "aether: no mount here: its lines are left out")
	}
	if !p.json {
		if err := p.line(fmt.Sprintf("%-44s %14s %14s  %7s  %-15s %s", "", "plain", "drive", "ratio", "spread", "target")); err != nil {
			return err
		}
	}
	for _, w := range benchWorks() {
		if w.mount && b.mnt == "" || !strings.Contains(w.name, c.String("only")) {
			continue
		}
		r := result{work: w}
		for range c.Int("count") {
			b.round++
			raw, ours, err := w.run(b)
			if cerr := c.Context.Err(); cerr != nil {
				return withCause(c.Context, cerr)
			}
			if err != nil {
				return fmt.Errorf("bench: %s: %w", w.name, err)
			}
			r.raws, r.aethers, r.ratios = append(r.raws, raw), append(r.aethers, ours), append(r.ratios, ours/raw)
		}
		if err := r.print(p); err != nil {
			return err
		}
	}
	return nil
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func (r *result) print(p *printer) error {
	ratio, least, greatest := middle(r.ratios), slices.Min(r.ratios), slices.Max(r.ratios)
	bound, met := "at least", ratio >= r.target
	if r.most {
		bound, met = "at most", ratio <= r.target
	}
	mark := ""
	if !met {
		mark = "  missed"
	}
	text := fmt.Sprintf("%-44s %14s %14s  %7.4g  %-15s %s %.4g%s", r.name, amount(middle(r.raws), r.unit), amount(middle(r.aethers), r.unit), ratio,
		fmt.Sprintf("%.3g to %.3g", least, greatest), bound, r.target, mark)
	return p.event("result", text, "name", r.name, "unit", r.unit, "raw", middle(r.raws), "aether", middle(r.aethers),
		"ratio", ratio, "least", least, "greatest", greatest, "target", r.target, "at_most", r.most, "met", met)
}

func amount(v float64, unit string) string {
	switch unit {
	case "B/s":
		return formatBytes(int64(v)) + "/s"
	case "B":
		return formatBytes(int64(v))
	case "s":
		return time.Duration(v * float64(time.Second)).Round(10 * time.Microsecond).String()
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// newBench makes the directories and starts the node, as a process of its own: one
// that used its own mount could wait for itself.
func newBench(c *cli.Context, on string, size int64) (b *bench, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	if on, err = filepath.Abs(on); err != nil {
		return nil, nil, err
	}
	base, err := os.MkdirTemp(on, "aether-bench-")
	if err != nil {
		return nil, nil, err
	}
	b = &bench{
		ctx: c.Context, base: base, self: self, size: size, files: c.Int("files"),
		machine: filepath.Join(base, "machine"), mnt: filepath.Join(base, "drive"), raw: filepath.Join(base, "plain"),
	}
	end := func() { _ = os.RemoveAll(base) }
	for _, d := range []string{b.mnt, b.raw} {
		if err := os.Mkdir(d, 0o755); err != nil {
			end()
			return nil, nil, err
		}
	}
	spreadOut(b.raw)
	space := 16*size + 8<<30
	if _, err := node.Init(node.Config{Dir: b.machine, Set: node.Settings{Space: space, Copies: 1}}, pool.Secret{}); err != nil {
		end()
		return nil, nil, err
	}
	child, err := b.mountChild()
	if err != nil {
		b.mnt = ""
		if child, err = b.serveChild(); err != nil {
			end()
			return nil, nil, err
		}
	}
	return b, func() {
		_ = child.Process.Signal(os.Interrupt)
		_ = child.Wait()
		end()
	}, nil
}

func (b *bench) mountChild() (*exec.Cmd, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.ErrUnsupported
	}
	return b.startChild("mounted", "store", "mount", "--json", "--dir", b.machine, b.mnt)
}

func (b *bench) serveChild() (*exec.Cmd, error) {
	return b.startChild("serving", "store", "serve", "--json", "--no-discovery", "--webdav", "off", "--listen", "127.0.0.1:0", "--dir", b.machine)
}

// startChild starts this program and waits for the first line with event in it.
func (b *bench) startChild(event string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(b.self, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line := make([]byte, 4096)
	n, err := out.Read(line)
	if err != nil || !strings.Contains(string(line[:n]), `"`+event+`"`) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("the node did not start: %w", errors.Join(err, errors.ErrUnsupported))
	}
	go func() { // nobody reads on
		for err == nil {
			_, err = out.Read(line)
		}
	}()
	return cmd, nil
}

// command runs this program.
func (b *bench) command(args ...string) error {
	out, err := exec.CommandContext(b.ctx, b.self, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
