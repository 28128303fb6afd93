package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// consoleBlocks returns the fenced blocks of a Markdown text that show a terminal:
// those that begin with "```console", by themselves or with a word behind it.
func consoleBlocks(text string) (list []block) {
	for _, m := range regexp.MustCompile("(?ms)^```console( \\w+)?\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		list = append(list, block{where: strings.TrimSpace(m[1]), text: m[2]})
	}
	return list
}

// block is what a reader sees of a terminal.
type block struct {
	where string // "" for this machine, "lab" for the two machines and a cable
	text  string
}

// TestReadmeStory runs every terminal block of README.md: what is printed there
// must be what happens.
func TestReadmeStory(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlocks(string(readme))
	if !slices.ContainsFunc(blocks, func(b block) bool { return b.where == "lab" }) {
		t.Fatal("README.md has no block marked lab")
	}
	if marks := strings.Count(string(readme), "```console"); marks != len(blocks) {
		t.Fatalf("%d of %d terminal blocks are understood", len(blocks), marks)
	}
	bin := buildAether(t)
	for i, b := range blocks {
		t.Run(fmt.Sprintf("%d%s", i+1, b.where), func(t *testing.T) {
			s := session{bin: bin, start: local, dir: t.TempDir()}
			switch b.where {
			case "":
			case "lab":
				_, hosts := twoMachinesAndACable(t)
				s.start = onHosts(hosts)
			default:
				t.Fatalf("no place called %q to run a block", b.where)
			}
			for _, name := range []string{"README.md", "LICENSE"} {
				text, err := os.ReadFile("../../" + name)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.run(t, b.text); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// program is a command of a session, on this machine or on a host of the lab.
type program interface {
	Start() error
	Wait() error
}

// start makes a program on a host that prints to stdout and stderr.
type start func(host, dir string, args []string, stdout, stderr io.Writer) (p program, kill func(), err error)

// local starts programs on this machine, whose prompt has no name.
func local(host, dir string, args []string, stdout, stderr io.Writer) (program, func(), error) {
	if host != "" {
		return nil, nil, fmt.Errorf("no host %q here", host)
	}
	c := exec.Command(args[0], args[1:]...)
	c.Dir, c.Stdout, c.Stderr = dir, stdout, stderr
	return c, func() { c.Process.Kill() }, nil
}

// onHosts starts programs on hosts of the lab.
func onHosts(hosts map[string]*netlab.Host) start {
	return func(host, dir string, args []string, stdout, stderr io.Writer) (program, func(), error) {
		if hosts[host] == nil {
			return nil, nil, fmt.Errorf("no host %q in the lab", host)
		}
		c := hosts[host].Command(args[0], args[1:]...)
		c.Dir, c.Stdout, c.Stderr = dir, stdout, stderr
		return c, func() { c.Process.Kill() }, nil
	}
}

// session types the commands of a terminal block and compares what they print:
// "..." stands for any text in a line, or for any lines. A command behind "&" runs
// on; its first lines are what the block shows.
type session struct {
	bin   string // what "aether" is
	start start
	dir   string
}

// prompt is how a command begins: "$ " here, "NAME$ " on a host of the lab.
var prompt = regexp.MustCompile(`^(\w*)\$ (\S.*)$`)

func (s *session) run(t *testing.T, text string) error {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		m := prompt.FindStringSubmatch(lines[i])
		if m == nil {
			return fmt.Errorf("not a command: %q", lines[i])
		}
		var want []string
		for i++; i < len(lines) && !prompt.MatchString(lines[i]); i++ {
			want = append(want, lines[i])
		}
		if err := s.command(t, m[1], m[2], want); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) command(t *testing.T, host, line string, want []string) error {
	line, background := strings.CutSuffix(line, " &")
	args := strings.Fields(line)
	if args[0] == "aether" {
		args[0] = s.bin
	}
	var out, stderr output
	p, kill, err := s.start(host, s.dir, args, &out, &stderr)
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	expect := pattern(want, background)
	if background {
		t.Cleanup(func() {
			kill()
			p.Wait()
			if t.Failed() {
				t.Logf("%s: stdout\n%s\nstderr\n%s", line, out.String(), stderr.String())
			}
		})
		if !out.waitFor(expect, 30*time.Second) {
			return fmt.Errorf("%s: printed\n%s%s\nwant\n%s", line, out.String(), stderr.String(), strings.Join(want, "\n"))
		}
		return nil
	}
	stop := time.AfterFunc(60*time.Second, kill)
	defer stop.Stop()
	if err := p.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s%s", line, err, out.String(), stderr.String())
	}
	if !expect.MatchString(out.String()) {
		return fmt.Errorf("%s: printed\n%s\nwant\n%s", line, out.String(), strings.Join(want, "\n"))
	}
	return nil
}

func TestConsoleBlocks(t *testing.T) {
	text, err := os.ReadFile("testdata/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlocks(string(text))
	if len(blocks) != 4 || blocks[0].where != "" || blocks[3].where != "lab" {
		t.Fatalf("found %q", blocks)
	}
	if want := "alice$ aether version\n...\n"; blocks[3].text != want {
		t.Errorf("block of the lab %q, want %q", blocks[3].text, want)
	}
}

// The blocks of testdata/sessions.md for this machine: the first is true, the
// others are not, and the session must say so.
func TestSession(t *testing.T) {
	text, err := os.ReadFile("testdata/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	s := session{bin: buildAether(t), start: local, dir: t.TempDir()}
	blocks := consoleBlocks(string(text))
	if err := s.run(t, blocks[0].text); err != nil {
		t.Error(err)
	}
	for i, want := range []string{"want\naether 1984", "exit status 2"} {
		if err := s.run(t, blocks[i+1].text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("block %d: %v, want %q", i+2, err, want)
		}
	}
	for text, want := range map[string]string{
		"no prompt":              "not a command",
		"nobody$ aether version": `no host "nobody" here`,
	} {
		if err := s.run(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
