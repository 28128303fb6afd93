package lint

import (
	"go/ast"
	"testing"
)

// inBubble are functions that sleep and are called from synctest bubbles only.
var inBubble = map[string]string{
	"internal/link/link_test.go TestConn_ServesNoMoreThanItsBound": "its handler is called in the bubble below it",
}

// bubbleMakers returns the functions of dir that call synctest.Test on a function
// they are given.
func bubbleMakers(tr *tree, dir string) map[string]bool {
	makers := map[string]bool{}
	for _, f := range tr.files {
		bubbleName := f.importName("testing/synctest")
		if f.dir != dir || bubbleName == "" {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Type.Params.NumFields() == 0 {
				continue
			}
			params := fn.Type.Params.List
			if _, takes := params[len(params)-1].Type.(*ast.FuncType); !takes {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				makers[fn.Name.Name] = makers[fn.Name.Name] || calls(n, bubbleName, "Test")
				return true
			})
		}
	}
	return makers
}

// calls reports whether n calls the function name of the package known as pkg.
func calls(n ast.Node, pkg, name string) bool {
	c, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && x.Obj == nil
}

// sleepRule finds tests that sleep by the real clock: time.Sleep outside the
// function given to synctest.Test.
func sleepRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		timeName, bubbleName := f.importName("time"), f.importName("testing/synctest")
		if !f.test || timeName == "" {
			continue
		}
		makers := bubbleMakers(tr, f.dir)
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && inBubble[f.path+" "+fn.Name.Name] != "" {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if bubbleName != "" && calls(n, bubbleName, "Test") {
					return false
				}
				if c, ok := n.(*ast.CallExpr); ok {
					if fn, ok := c.Fun.(*ast.Ident); ok && makers[fn.Name] {
						return false
					}
				}
				if calls(n, timeName, "Sleep") {
					found = append(found, tr.found(n, "a test may not sleep outside a bubble"))
				}
				return true
			})
		}
	}
	return found
}

func TestTests_DoNotSleep(t *testing.T) {
	hold(t, sleepRule, map[string]plant{
		"may not sleep": {"mdns/x_test.go", "package mdns\nimport \"time\"\nfunc f() { time.Sleep(1) }"},
	})
	fine := planted(t, map[string]string{"mdns/x_test.go": `package mdns
import ("testing"; "testing/synctest"; "time")
func TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }`})
	if got := sleepRule(fine); got != nil {
		t.Errorf("found %q where nothing is wrong", got)
	}
}
