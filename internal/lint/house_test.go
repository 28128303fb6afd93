package lint

import (
	"bufio"
	"cmp"
	"go/ast"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// topLevel is what the root of the project may hold, beside hidden files.
var topLevel = []string{
	"LICENSE", "README.md", "go.mod", "go.sum",
	"cmd", "internal", "testdata",
	"linklocal", "mdns", "dnssd", "igmp", "multicast", "paxos", "dht", "store",
}

// topRule returns the entries that do not belong into the root.
func topRule(names []string) (found []string) {
	for _, n := range names {
		if !strings.HasPrefix(n, ".") && !slices.Contains(topLevel, n) {
			found = append(found, n+" does not belong into the root")
		}
	}
	for _, n := range []string{"LICENSE", "README.md", "go.mod", "go.sum", "cmd", "testdata"} {
		if !slices.Contains(names, n) {
			found = append(found, n+" is missing in the root")
		}
	}
	return found
}

func TestRoot_HoldsWhatItMay(t *testing.T) {
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, s := range topRule(names) {
		t.Error(s)
	}
	got := topRule([]string{".git", "LICENSE", "README.md", "go.mod", "go.sum", "cmd", "pkg"})
	if want := []string{"pkg does not belong into the root", "testdata is missing in the root"}; !slices.Equal(got, want) {
		t.Errorf("planted: %q, want %q", got, want)
	}
}

// The words are parted so that this file does not hold them.
var unwanted = []string{
	"TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK:",
	"not imple" + "mented", "unimple" + "mented", "place" + "holder", "lorem " + "ipsum",
	"/wo" + "rk/", "work" + "tree", "this " + "brief",
	"cla" + "ude", "anthro" + "pic", "open" + "ai", "co" + "pilot", "language " + "model",
	"go" + "proxy=", "sum." + "golang.org",
}

// wordRule finds what does not belong into a text of the project.
func wordRule(name, text string) (found []string) {
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		for _, w := range unwanted {
			line, word := lines.Text(), w
			if strings.ToUpper(w) != w { // capitals are meant as capitals
				line = strings.ToLower(line)
			}
			if strings.Contains(line, word) {
				found = append(found, name+": "+w+" in "+strings.TrimSpace(lines.Text()))
			}
		}
	}
	return found
}

// texts returns the texts of the project by name.
func texts(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || p == "dist" || d.Name() == "fuzz"):
			return fs.SkipDir
		case d.IsDir(), p == "go.sum", p == ".git", !slices.Contains([]string{".go", ".md", ".txt", ".txtar", ".yml", ".mod", ""}, path.Ext(p)):
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
			return err
		}
		b, err := fs.ReadFile(root, p)
		m[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTexts_HoldNothingUnfinished(t *testing.T) {
	for name, text := range texts(t) {
		for _, s := range wordRule(name, text) {
			t.Error(s)
		}
	}
	for _, w := range unwanted {
		if wordRule("x", "fine\n// a "+w+" here") == nil {
			t.Errorf("planted %q was not found", w)
		}
	}
	if got := wordRule("x", "a hacker's todos, without capitals\nPIPE_XXX"); got != nil {
		t.Errorf("found %q where nothing is wrong", got)
	}
}

// measure is how long a thing is and what it is called.
type measure struct {
	size int
	name string
}

// spread describes the distribution of sizes: median, ninth decile, the largest.
func spread(t *testing.T, what string, list []measure, aim string) {
	if len(list) == 0 {
		t.Errorf("nothing measured: %s", what)
		return
	}
	slices.SortFunc(list, func(a, b measure) int { return cmp.Compare(a.size, b.size) })
	at := func(q float64) measure { return list[int(q*float64(len(list)-1))] }
	t.Logf("%-22s %5d   p50 %4d   p90 %4d   max %4d %s (aim %s)", what, len(list), at(.5).size, at(.9).size, at(1).size, at(1).name, aim)
}

// TestSizes tells how large things are; it fails only where nothing is measured.
// Run it with -v.
func TestSizes(t *testing.T) {
	tr := project(t)
	var files, tests, funcs, structs []measure
	for _, f := range tr.files {
		n := strings.Count(f.text, "\n")
		if f.test {
			tests = append(tests, measure{n, f.path})
			continue
		}
		files = append(files, measure{n, f.path})
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				from, to := tr.fset.Position(n.Pos()), tr.fset.Position(n.End())
				funcs = append(funcs, measure{to.Line - from.Line + 1, f.dir + " " + n.Name.Name})
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					structs = append(structs, measure{s.Fields.NumFields(), f.dir + " " + n.Name.Name})
				}
			}
			return true
		})
	}
	spread(t, "lines a file", files, "400/600")
	spread(t, "lines a test file", tests, "none")
	spread(t, "lines a function", funcs, "40/100")
	spread(t, "fields a struct", structs, "12")
}
