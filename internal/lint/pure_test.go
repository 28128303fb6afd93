package lint

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// engines are the packages whose protocols are values: they eat packets and
// instants and give back packets and events.
var engines = []string{
	"linklocal", "mdns", "mdns/conform", "mdns/doctor", "dnssd", "multicast", "multicast/seal", "multicast/chat", "igmp", "igmp/doctor",
	"paxos", "dht", "dht/records", "dht/topics", "dht/tasks",
	"store", "store/tree", "store/gossip", "store/place", "store/replicate", "store/chunk",
}

// shell are the files of an engine package that may touch the world.
var shell = []string{"conn*.go", "run*.go", "*_linux.go", "*_other.go", "*_unix.go", "*_windows.go"}

// world are packages that reach a socket, a file, a log or randomness nobody gave.
var world = []string{
	"net", "os", "syscall", "log", "io/fs", "path/filepath", "math/rand", "crypto/rand", "golang.org/x/net/ipv4", "golang.org/x/net/ipv6",
}

// worldBelow are the same with all that is below them.
var worldBelow = []string{"os/", "log/", "net/http", "golang.org/x/sys/", "github.com/mdlayher/packet", "github.com/vishvananda/"}

// clock are the names of package time that read a clock or wait for one.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// given are the names of math/rand/v2 that use a source they are given.
var given = []string{"Rand", "Source", "PCG", "ChaCha8", "Zipf", "New", "NewPCG", "NewChaCha8", "NewZipf"}

// mayStart are the engine packages that may start goroutines, by sync.WaitGroup
// only, so that they are waited for.
var mayStart = map[string]string{
	"store/chunk": "seals and opens chunks on all cores; they end with the writer or the reader",
}

func pureRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		syncName := f.importName("sync")
		inShell := slices.ContainsFunc(shell, func(p string) bool { ok, _ := path.Match(p, path.Base(f.path)); return ok })
		if f.test || inShell || !slices.Contains(engines, f.dir) {
			continue
		}
		for s, p := range f.imports() {
			if slices.Contains(world, p) || slices.ContainsFunc(worldBelow, func(w string) bool { return strings.HasPrefix(p, w) }) {
				found = append(found, tr.found(s, "an engine may not import %s", p))
			}
		}
		timeName, randName, fmtName := f.importName("time"), f.importName("math/rand/v2"), f.importName("fmt")
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = append(found, tr.found(n, "an engine may not start a goroutine"))
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok || x.Obj != nil { // a variable, not a package
					return true
				}
				switch {
				case x.Name == timeName && slices.Contains(clock, n.Sel.Name):
					found = append(found, tr.found(n, "an engine may not call time.%s", n.Sel.Name))
				case x.Name == randName && !slices.Contains(given, n.Sel.Name):
					found = append(found, tr.found(n, "an engine may not use the global rand.%s", n.Sel.Name))
				case x.Name == syncName && n.Sel.Name == "WaitGroup" && mayStart[f.dir] == "":
					found = append(found, tr.found(n, "an engine may not start goroutines"))
				case x.Name == fmtName && strings.HasPrefix(n.Sel.Name, "Print"):
					found = append(found, tr.found(n, "an engine may not print"))
				}
			}
			return true
		})
	}
	return found
}

func TestEngines_ArePure(t *testing.T) {
	hold(t, pureRule, map[string]plant{
		"not import net":             {"mdns/x.go", `package mdns; import "net"; var _ net.Conn`},
		"not import log/slog":        {"dnssd/x.go", `package dnssd; import _ "log/slog"`},
		"not import os":              {"store/tree/x.go", `package tree; import _ "os"`},
		"not import crypto/rand":     {"store/gossip/x.go", `package gossip; import _ "crypto/rand"`},
		"not call time.Now":          {"linklocal/x.go", `package linklocal; import "time"; func f() { _ = time.Now() }`},
		"not call time.AfterFunc":    {"linklocal/x.go", `package linklocal; import clock "time"; func f() { clock.AfterFunc(0, nil) }`},
		"not use the global rand.In": {"store/replicate/x.go", `package replicate; import "math/rand/v2"; func f() int { return rand.IntN(2) }`},
		"not start a goroutine":      {"store/place/x.go", `package place; func f() { go f() }`},
		"not start goroutines":       {"store/place/x.go", `package place; import "sync"; var wg sync.WaitGroup`},
		"not call time.Since":        {"paxos/x.go", `package paxos; import "time"; var _ = time.Since`},
		"not import syscall":         {"igmp/x.go", `package igmp; import _ "syscall"`},
		"not print":                  {"store/x.go", `package store; import "fmt"; func f() { fmt.Println() }`},
	})
	// What the shell may do.
	for _, p := range []plant{
		{"mdns/conn_linux.go", `package mdns; import "net"; var _ net.Conn`},
		{"linklocal/run.go", `package linklocal; import "time"; func f() { time.Sleep(0) }`},
		{"linklocal/x.go", `package linklocal; import "math/rand/v2"; func f(r *rand.Rand) int { return r.IntN(2) }`},
	} {
		if got := pureRule(planted(t, map[string]string{p.path: p.text})); got != nil {
			t.Errorf("%s: %q", p.path, got)
		}
	}
}
