package lint

import (
	"go/ast"
	"testing"
)

// inBubble are functions that sleep and are called from synctest bubbles only.
var inBubble = map[string]string{}

// sleepRule finds tests that sleep by the real clock: time.Sleep outside the
// function given to synctest.Test.
func sleepRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		timeName, bubbleName := f.importName("time"), f.importName("testing/synctest")
		if !f.test || timeName == "" {
			continue
		}
		calls := func(n ast.Node, pkg, name string) bool {
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
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && inBubble[f.path+" "+fn.Name.Name] != "" {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if bubbleName != "" && calls(n, bubbleName, "Test") {
					return false
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
