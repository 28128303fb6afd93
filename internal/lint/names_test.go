package lint

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// sayNothing are words that say nothing of what a package, type or file is.
var sayNothing = []string{"util", "utils", "common", "helper", "helpers", "manager", "handler", "data", "info", "base", "misc"}

// mayBeCalled are types whose name is given from outside.
var mayBeCalled = map[string]string{
	"store/webdav fileInfo": "an fs.FileInfo",
}

// words parts a name like fooBarHTTPBaz or foo_bar into lower-case words.
func words(name string) (list []string) {
	from := 0
	rs := []rune(name)
	cut := func(to int) {
		if to > from {
			list = append(list, strings.ToLower(string(rs[from:to])))
		}
	}
	for i, r := range rs {
		switch {
		case r == '_' || r == '.' || r == '-':
			cut(i)
			from = i + 1
		case i > from && unicode.IsUpper(r) && (unicode.IsLower(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])):
			cut(i)
			from = i
		}
	}
	cut(len(rs))
	return list
}

func nameRule(tr *tree) (found []string) {
	bad := func(n ast.Node, kind, name string) {
		for _, w := range words(name) {
			if slices.Contains(sayNothing, w) {
				found = append(found, tr.found(n, "%s %s: %q says nothing", kind, name, w))
			}
		}
	}
	for _, f := range tr.files {
		bad(f.ast.Name, "package", f.ast.Name.Name)
		bad(f.ast.Name, "file", strings.TrimSuffix(path.Base(f.path), ".go"))
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok {
				if _, callback := s.Type.(*ast.FuncType); !callback && mayBeCalled[f.dir+" "+s.Name.Name] == "" {
					bad(s, "type", s.Name.Name)
				}
			}
			return true
		})
	}
	return found
}

func TestNames_SaySomething(t *testing.T) {
	hold(t, nameRule, map[string]plant{
		`package util: "util"`:              {"util/x.go", "package util"},
		`file peer_helpers: "helpers"`:      {"mdns/peer_helpers.go", "package mdns"},
		`type PeerManager: "manager"`:       {"mdns/x.go", "package mdns\ntype PeerManager struct{}"},
		`type HTTPHandler: "handler"`:       {"mdns/x.go", "package mdns\ntype HTTPHandler interface{}"},
		`type baseConn: "base"`:             {"mdns/x.go", "package mdns\nfunc f() { type baseConn int }"},
		`file common_test: "common" says`:   {"mdns/common_test.go", "package mdns"},
		`type fileInfo: "info" says nothin`: {"store/x.go", "package store\ntype fileInfo struct{}"},
	})
	fine := planted(t, map[string]string{"mdns/database.go": "package mdns\ntype Handler func()\ntype Datagram struct{}\ntype Baseline int"})
	if got := nameRule(fine); got != nil {
		t.Errorf("found %q where nothing is wrong", got)
	}
}

// initRule finds functions that run by themselves.
func initRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, tr.found(fn, "no init functions: what runs is called"))
			}
		}
	}
	return found
}

func TestInit_IsNotUsed(t *testing.T) {
	hold(t, initRule, map[string]plant{"no init": {"mdns/x_test.go", "package mdns\nfunc init() {}"}})
}

// mayDecide are calls whose result never changes, so that a variable of it is as
// good as a constant.
var mayDecide = map[string]string{
	"errors.New":            "errors",
	"fmt.Errorf":            "errors that wrap one",
	"regexp.MustCompile":    "expressions",
	"netip.MustParseAddr":   "addresses",
	"netip.MustParsePrefix": "addresses",
	"netip.AddrFrom4":       "addresses",
	"netip.AddrFrom16":      "addresses",
	"netip.AddrPortFrom":    "addresses",
	"crc32.MakeTable":       "tables",
	"time.Date":             "instants",
	"WithPadding":           "alphabets",
}

// mayStand are other variables of packages, by directory and name.
var mayStand = map[string]string{
	"internal/link bufferPools": "pools of buffers, for all connections of the process",
	"internal/script update":    "a flag of the test binary",
	"store/mount processors":    "guards GOMAXPROCS, which is the process's own",
	"store/node strictCBOR":     "a codec, which is made once and never changes",
	"store/tree wire":           "a codec",
	"store/replicate recordEnc": "a codec",
	"store/replicate recordDec": "a codec",
	"store/gossip encMode":      "a codec",
	"store/gossip decMode":      "a codec",
	"store/place log2Table":     "a table that is computed",

	"store/pool certificateEncoding": "a codec",
	"store/pool certificateDecoding": "a codec",
	"store/pool wordText":            "a table in a file",
	"store/pool wordList":            "the same table, parted",
	"store/tree Root":                "the ID of the root: an array of zeros, which Go has no constants of",
}

// globalRule finds variables of packages that are more than errors and tables.
func globalRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		for _, decl := range f.ast.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || f.test {
				continue
			}
			for _, s := range d.Specs {
				v, ok := s.(*ast.ValueSpec)
				if !ok || v.Names[0].Obj == nil || v.Names[0].Obj.Kind != ast.Var {
					continue
				}
				for i, name := range v.Names {
					if mayStand[f.dir+" "+name.Name] == "" && name.Name != "_" && (i >= len(v.Values) || !constant(v.Values[i])) {
						found = append(found, tr.found(name, "variable %s of package %s", name.Name, f.dir))
					}
				}
			}
		}
	}
	return found
}

// constant reports whether e is as good as a constant.
func constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		return len(e.Elts) > 0 // an empty one waits to be filled
	case *ast.SelectorExpr: // another package's error under this one's name
		return strings.HasPrefix(e.Sel.Name, "Err")
	case *ast.CallExpr:
		switch fn := e.Fun.(type) {
		case *ast.SelectorExpr:
			if x, ok := fn.X.(*ast.Ident); ok {
				return mayDecide[x.Name+"."+fn.Sel.Name] != ""
			}
			return mayDecide[fn.Sel.Name] != ""
		}
	}
	return false
}

// changedRule finds assignments to variables of packages in the file that declares
// them; tables stay as they were written.
func changedRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		if f.test {
			continue
		}
		global := func(e ast.Expr) string {
			for {
				switch x := e.(type) {
				case *ast.IndexExpr:
					e = x.X
					continue
				case *ast.SelectorExpr:
					e = x.X
					continue
				case *ast.Ident:
					if x.Obj != nil && x.Obj.Kind == ast.Var && f.ast.Scope.Lookup(x.Name) == x.Obj {
						return x.Name
					}
				}
				return ""
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			var left []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				left = n.Lhs
			case *ast.IncDecStmt:
				left = []ast.Expr{n.X}
			}
			for _, e := range left {
				if name := global(e); name != "" {
					found = append(found, tr.found(n, "%s of the package changes", name))
				}
			}
			return true
		})
	}
	return found
}

func TestGlobals_AreErrorsAndTables(t *testing.T) {
	hold(t, globalRule, map[string]plant{
		"variable peers of":  {"mdns/x.go", "package mdns\nvar peers = map[string]int{}"},
		"variable count of":  {"mdns/x.go", "package mdns\nvar count int"},
		"variable now of":    {"mdns/x.go", "package mdns\nimport \"time\"\nvar now = time.Now"},
		"variable seed of":   {"mdns/x.go", "package mdns\nvar seed = pick()\nfunc pick() int { return 4 }"},
		"variable mu of":     {"mdns/x.go", "package mdns\nimport \"sync\"\nvar (\nmu sync.Mutex\n)"},
		"variable second of": {"mdns/x.go", "package mdns\nimport \"errors\"\nvar errFirst, second = errors.New(\"x\"), 2"},
	})
	hold(t, changedRule, map[string]plant{
		"names of the package changes": {"mdns/x.go", "package mdns\nvar names = [...]string{\"a\"}\nfunc f() { names[0] = \"b\" }"},
		"sizes of the package changes": {"mdns/x.go", "package mdns\nvar sizes = []int{1}\nfunc f() { sizes = nil }"},
	})
}

func TestGlobals_ExceptionsAreNeeded(t *testing.T) {
	have := map[string]bool{}
	for _, f := range project(t).files {
		for name, o := range f.ast.Scope.Objects {
			have[f.dir+" "+name] = have[f.dir+" "+name] || o.Kind == ast.Var
		}
	}
	for name := range mayStand {
		if !have[name] {
			t.Errorf("no variable %s; take it off the list", name)
		}
	}
}
