package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/internal/netlab"
)

// lab runs the tests where network namespaces can be made.
type lab struct{ m *testing.M }

func (l lab) Run() int {
	// More of them than processors run at a time, unless the command line says how many.
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set(laboratories)
	}
	var err error
	if builtIn, err = os.MkdirTemp("", "aether-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return statusFailed
	}
	defer os.RemoveAll(builtIn)
	return netlab.Run(l.m)
}

// TestMain makes this test binary the command aether for scripts, and the clients that
// laboratories of paxos run.
func TestMain(m *testing.M) {
	testscript.Main(lab{m}, map[string]func(){"aether": main, "paxos-clients": mapClients})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true, Condition: scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serving": scriptServing, "status": scriptStatus},
	})
}

// leaves returns every command that does something, by its whole name.
func leaves(prefix string, cmds []*cli.Command) map[string]*cli.Command {
	m := map[string]*cli.Command{}
	for _, c := range cmds {
		name := strings.TrimSpace(prefix + " " + c.Name)
		if len(c.Subcommands) == 0 {
			m[name] = c
			continue
		}
		for n, l := range leaves(name, c.Subcommands) {
			m[n] = l
		}
	}
	return m
}

// cannotFail are the leaves that need no word about status 1: they only print.
var cannotFail = []string{"version", "completion", "man"}

func TestLeaves_DocumentThemselves(t *testing.T) {
	var in, out, errs strings.Builder
	app := newApp(strings.NewReader(in.String()), &out, &errs)
	all := leaves("", app.Commands)
	if len(all) < 10 {
		t.Fatalf("only %d commands", len(all))
	}
	example := regexp.MustCompile(`(?m)^   (.*\| |source <\()?aether `)
	for name, c := range all {
		switch {
		case c.Usage == "":
			t.Errorf("%s: no usage", name)
		case strings.HasSuffix(c.Usage, "."):
			t.Errorf("%s: the usage is a phrase, not a sentence", name)
		case !strings.Contains(c.Description, "\n\nExamples:\n"), !example.MatchString(c.Description):
			t.Errorf("%s: no example", name)
		case !strings.Contains(c.Description, name):
			t.Errorf("%s: the example is of another command", name)
		case !slices.Contains(cannotFail, name) && !regexp.MustCompile(`(?s)Exit status: .*[01]`).MatchString(c.Description):
			t.Errorf("%s: does not say what its exit status means", name)
		}
		for _, f := range c.Flags {
			if d, ok := f.(cli.DocGenerationFlag); !ok || d.GetUsage() == "" {
				t.Errorf("%s --%s: no usage", name, f.Names()[0])
			}
		}
	}
}

// An example must at least be a command line that is understood: its commands and
// flags exist.
func TestLeaves_ExamplesParse(t *testing.T) {
	app := newApp(strings.NewReader(""), &strings.Builder{}, &strings.Builder{})
	for name, c := range leaves("", app.Commands) {
		_, text, _ := strings.Cut(c.Description, "\n\nExamples:\n")
		for line := range strings.Lines(text) {
			words := strings.Fields(strings.Trim(strings.TrimSpace(line), "()"))
			from := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "aether") })
			if from < 0 {
				t.Errorf("%s: not an example: %q", name, line)
				continue
			}
			words = words[from:]
			if end := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"|", ">", "&", "&&", "<"}, w) }); end > 0 {
				words = words[:end]
			}
			if _, err := reorder(app, words); err != nil {
				t.Errorf("%s: example %q: %v", name, strings.TrimSpace(line), err)
			}
		}
	}
}

func TestLeaves_HelpGoesToStandardOutput(t *testing.T) {
	for name := range leaves("", newApp(nil, nil, nil).Commands) {
		var out, errs strings.Builder
		args := append(append([]string{"aether"}, strings.Fields(name)...), "--help")
		status := run(context.Background(), args, strings.NewReader(""), &out, &errs)
		if status != statusDone || errs.Len() > 0 || !strings.Contains(out.String(), "Examples:") {
			t.Errorf("%s --help: status %d\n%s%s", name, status, out.String(), errs.String())
		}
	}
}

func TestLeaves_UnknownFlagIsUsage(t *testing.T) {
	for name := range leaves("", newApp(nil, nil, nil).Commands) {
		var out, errs strings.Builder
		args := append(append([]string{"aether"}, strings.Fields(name)...), "x", "--no-such-flag")
		status := run(context.Background(), args, strings.NewReader(""), &out, &errs)
		if status != statusUsage || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s --no-such-flag: status %d\n%s%s", name, status, out.String(), errs.String())
		}
	}
}

func TestReorder(t *testing.T) {
	app := newApp(nil, nil, nil)
	for line, want := range map[string]string{
		"aether":                              "aether",
		"aether store":                        "aether store",
		"aether store --help":                 "aether store --help",
		"aether store ls / -r":                "aether store ls -r -- /",
		"aether store ls / --dir x -l":        "aether store ls --dir x -l -- /",
		"aether store ls --dir=x /":           "aether store ls --dir=x -- /",
		"aether store ls -lr /":               "aether store ls -l -r -- /",
		"aether store ls / -rl --json":        "aether store ls -r -l --json -- /",
		"aether store ls -- -r":               "aether store ls -- -r",
		"aether store ls - /":                 "aether store ls -- - /",
		"aether mdns resolve -46 x":           "aether mdns resolve -4 -6 -- x",
		"aether dnssd browse -i eth0 _a._tcp": "aether dnssd browse -i eth0 -- _a._tcp",
		"aether --json store ls /":            "aether store ls --json -- /",
		"aether -v store --color never ls":    "aether store ls -v --color never --",
		"aether --color=never version":        "aether version --color=never --",
		"aether store ls -5 -1.5e3 -r":        "aether store ls -r -- -5 -1.5e3",
		"aether mdns resolve --timeout -1s x": "aether mdns resolve --timeout -1s -- x",
		"aether dnssd browse _a._tcp -h":      "aether dnssd browse --help --",
	} {
		got, err := reorder(app, strings.Fields(line))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	for line, want := range map[string]string{
		"aether stor":                   `unknown command "stor" (did you mean store?); see aether --help`,
		"aether xyzzy":                  `unknown command "xyzzy"; see aether --help`,
		"aether store lss":              `unknown command "lss" (did you mean ls?); see aether store --help`,
		"aether --json":                 `flag --json needs a command; see aether --help`,
		"aether -v store":               `flag -v needs a command; see aether store --help`,
		"aether --color":                `flag --color needs a command; see aether --help`,
		"aether --recursive store ls":   `unknown flag --recursive; see aether --help`,
		"aether store ls -4":            `unknown flag -4; see aether store ls --help`,
		"aether store ls -5x":           `unknown flag -5x; see aether store ls --help`,
		"aether store ls --5":           `unknown flag --5; see aether store ls --help`,
		"aether store ls -lx":           `unknown flag -lx; see aether store ls --help`,
		"aether store ls -li":           `unknown flag -li; see aether store ls --help`,
		"aether store ls / --dir":       `flag --dir needs a value; see aether store ls --help`,
		"aether dnssd browse a -i":      `flag -i needs a value; see aether dnssd browse --help`,
		"aether store ls --nosuch=yes ": `unknown flag --nosuch=yes; see aether store ls --help`,
	} {
		_, err := reorder(app, strings.Fields(line))
		if err == nil || err.Error() != want || statusOf(err) != statusUsage {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestRun_ReadmeListsEveryCommand(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Commands\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for name := range leaves("", newApp(nil, nil, nil).Commands) {
		words := strings.Fields(name)
		if !strings.Contains(section, "`aether "+words[0]) || !strings.Contains(section, words[len(words)-1]) {
			t.Errorf("README.md does not list aether %s", name)
		}
	}
}

// thisAether returns a program that is aether: this test binary under its name,
// which TestMain knows. It is there at once, where building takes its time.
func thisAether(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "aether")
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	return bin
}
