package lint

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// packageDocRule wants one package comment a package, beginning as go doc wants.
func packageDocRule(tr *tree) (found []string) {
	for dir, files := range tr.packages() {
		var with []source
		for _, f := range files {
			if f.ast.Doc != nil {
				with = append(with, f)
			}
		}
		if len(with) != 1 {
			found = append(found, tr.found(files[0].ast.Name, "%s has %d package comments, want 1", dir, len(with)))
			continue
		}
		name, begin := files[0].ast.Name.Name, "Package "+files[0].ast.Name.Name+" "
		if name == "main" {
			begin = "Command "
		}
		if !strings.HasPrefix(with[0].ast.Doc.Text(), begin) {
			found = append(found, tr.found(with[0].ast.Name, "the package comment begins with %q", begin))
		}
	}
	return found
}

func TestPackages_HaveOneComment(t *testing.T) {
	hold(t, packageDocRule, map[string]plant{
		"has 0 package comments": {"mdns/x.go", "package mdns"},
		"comment begins with":    {"mdns/x.go", "// About names.\npackage mdns"},
	})
	two := planted(t, map[string]string{"a/x.go": "// Package a is.\npackage a", "a/y.go": "// Package a is.\npackage a"})
	if len(packageDocRule(two)) != 1 {
		t.Error("two package comments were not found")
	}
}

// receiver returns the name of the type a method belongs to, or "".
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// exportedFunc reports whether d can be called from other packages.
func exportedFunc(d *ast.FuncDecl) bool {
	return d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d)))
}

// exportedDocRule wants a comment on every exported name. Constants and errors may
// share the comment of their group or say it behind the name.
func exportedDocRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		if f.test || f.ast.Name.Name == "main" {
			continue
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if exportedFunc(d) && d.Doc == nil {
					found = append(found, tr.found(d, "%s has no comment", d.Name.Name))
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					found = append(found, undocumented(tr, d, s)...)
				}
			}
		}
	}
	return found
}

func undocumented(tr *tree, d *ast.GenDecl, s ast.Spec) (found []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
			found = append(found, tr.found(s, "type %s has no comment", s.Name.Name))
		}
	case *ast.ValueSpec:
		exported := slices.ContainsFunc(s.Names, (*ast.Ident).IsExported)
		if exported && s.Doc == nil && s.Comment == nil && d.Doc == nil {
			found = append(found, tr.found(s, "%s has no comment", s.Names[0].Name))
		}
	}
	return found
}

func TestExported_IsDocumented(t *testing.T) {
	hold(t, exportedDocRule, map[string]plant{
		"A has no comment":      {"mdns/x.go", "package mdns\nfunc A() {}"},
		"M has no comment":      {"mdns/x.go", "package mdns\n// T is.\ntype T[K any] struct{}\nfunc (t *T[K]) M() {}"},
		"type T has no comment": {"mdns/x.go", "package mdns\ntype T int"},
		"C has no comment":      {"mdns/x.go", "package mdns\nconst C = 1"},
		"ErrX has no comment":   {"mdns/x.go", "package mdns\nvar ErrX error"},
		"type U has no comment": {"mdns/x.go", "package mdns\n// Types.\ntype (\nU int\n)"},
	})
	fine := planted(t, map[string]string{"mdns/x.go": "package mdns\ntype t int\nfunc (t) M() {}\n// C and D are.\nconst (\nC = 1\nD = 2\n)\nconst E = 3 // is three"})
	if got := exportedDocRule(fine); got != nil {
		t.Errorf("found %q where nothing is wrong", got)
	}
}

// innerTypeRule keeps internal types out of what other modules can see: parameters,
// results, exported fields and variables of the public packages.
func innerTypeRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		if f.test || f.ast.Name.Name == "main" || strings.HasPrefix(f.dir, "internal/") {
			continue
		}
		inner := map[string]bool{}
		for _, p := range f.imports() {
			if strings.HasPrefix(p, module+"/internal/") {
				inner[f.importName(p)] = true
			}
		}
		check := func(e ast.Node) {
			ast.Inspect(e, func(n ast.Node) bool {
				if field, ok := n.(*ast.Field); ok && len(field.Names) > 0 && !slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) && !isParameter(e, field) {
					return false
				}
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && inner[x.Name] && x.Obj == nil {
						found = append(found, tr.found(n, "%s.%s of an internal package in a public place", x.Name, sel.Sel.Name))
					}
				}
				return true
			})
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if exportedFunc(d) {
					check(d.Type)
				}
			case *ast.GenDecl:
				for _, e := range publicTypes(d) {
					check(e)
				}
			}
		}
	}
	return found
}

// isParameter reports whether field is a parameter or result in the type e, where
// its name does not matter.
func isParameter(e ast.Node, field *ast.Field) (is bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		if t, ok := n.(*ast.FuncType); ok {
			is = is || slices.Contains(t.Params.List, field) || t.Results != nil && slices.Contains(t.Results.List, field)
		}
		return !is
	})
	return is
}

// publicTypes returns the type expressions of a declaration that others see.
func publicTypes(d *ast.GenDecl) (list []ast.Node) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() {
				list = append(list, s.Type)
			}
		case *ast.ValueSpec:
			if d.Tok == token.VAR && s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
				list = append(list, s.Type)
			}
		}
	}
	return list
}

func TestExported_NamesNoInternalType(t *testing.T) {
	head := "package mdns\nimport \"" + module + "/internal/netif\"\n"
	hold(t, innerTypeRule, map[string]plant{
		"netif.A of an internal": {"mdns/x.go", head + "func F(a netif.A) {}"},
		"netif.B of an internal": {"mdns/x.go", head + "type T struct{}\nfunc (T) F() []netif.B { return nil }"},
		"netif.C of an internal": {"mdns/x.go", head + "type T struct{ C *netif.C }"},
		"netif.D of an internal": {"mdns/x.go", head + "type T struct{ netif.D }"},
		"netif.E of an internal": {"mdns/x.go", head + "type T interface{ F(e netif.E) }"},
		"netif.G of an internal": {"mdns/x.go", head + "var V map[string]netif.G"},
	})
	fine := planted(t, map[string]string{"mdns/x.go": head + "type T struct{ c netif.C }\nfunc f(netif.C) {}\ntype u struct{ C netif.C }"})
	if got := innerTypeRule(fine); got != nil {
		t.Errorf("found %q where nothing is wrong", got)
	}
}
