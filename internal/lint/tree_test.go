package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path of this module.
const module = "github.com/aether-lan/aether"

// source is one Go file.
type source struct {
	path string // from the root, with slashes
	dir  string
	test bool
	text string
	ast  *ast.File
}

// tree is all Go files of a project.
type tree struct {
	fset  *token.FileSet
	files []source
}

// rule returns what breaks it, a line each, with the place in front.
type rule func(*tree) []string

// add parses a file.
func (tr *tree) add(name, text string) error {
	f, err := parser.ParseFile(tr.fset, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	tr.files = append(tr.files, source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), text, f})
	return nil
}

// found places a finding.
func (tr *tree) found(n ast.Node, format string, args ...any) string {
	p := tr.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...))
}

// packages returns the files of each directory, tests left out.
func (tr *tree) packages() map[string][]source {
	m := map[string][]source{}
	for _, f := range tr.files {
		if !f.test {
			m[f.dir] = append(m[f.dir], f)
		}
	}
	return m
}

// imports returns the import paths of f by the node that names them.
func (f *source) imports() map[*ast.ImportSpec]string {
	m := map[*ast.ImportSpec]string{}
	for _, s := range f.ast.Imports {
		m[s], _ = strconv.Unquote(s.Path.Value) // the parser has checked it
	}
	return m
}

// importName returns the name by which f knows package p, or "".
func (f *source) importName(p string) string {
	for s, q := range f.imports() {
		if q != p {
			continue
		}
		if s.Name != nil {
			return s.Name.Name
		}
		base := path.Base(p)
		if len(base) > 1 && base[0] == 'v' && base[1] >= '0' && base[1] <= '9' {
			base = path.Base(path.Dir(p))
		}
		return base
	}
	return ""
}

// project reads the sources of this project.
func project(t *testing.T) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".go":
			return nil
		}
		b, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		return tr.add(p, string(b))
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.files) < 100 {
		t.Fatalf("read only %d files", len(tr.files))
	}
	return tr
}

// planted is a tree of a few files that breaks a rule.
func planted(t *testing.T, files map[string]string) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	for name, text := range files {
		if err := tr.add(name, text); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(tr.files, func(a, b source) int { return strings.Compare(a.path, b.path) })
	return tr
}

// hold holds the project to r and shows that r finds each planted violation: the
// keys of plants are what it must say, the values the file that breaks it.
func hold(t *testing.T, r rule, plants map[string]plant) {
	t.Helper()
	for _, s := range r(project(t)) {
		t.Error(s)
	}
	for want, p := range plants {
		got := r(planted(t, map[string]string{p.path: p.text}))
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("planted %s: found %q, want %q", p.path, got, want)
		}
	}
}

// plant is a file that breaks a rule.
type plant struct{ path, text string }
