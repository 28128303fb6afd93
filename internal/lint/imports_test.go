package lint

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// mayImport is the map of the house: what each package may import of this module.
// Arrows go down. A package that is not here is a mistake, here or there.
var mayImport = map[string][]string{
	"internal/wire":     {},
	"internal/loop":     {},
	"internal/netif":    {},
	"internal/link":     {"internal/wire"},
	"internal/netsim":   {"internal/loop"},
	"internal/netlab":   {"internal/netif", "igmp"},
	"internal/script":   {},
	"internal/lint":     {},
	"internal/capture":  {},
	"internal/failstop": {},

	"linklocal":    {"internal/wire", "internal/loop", "internal/netif"},
	"multicast":    {"internal/wire", "internal/loop", "internal/netif"},
	"mdns":         {"multicast", "internal/wire", "internal/loop", "internal/netif"},
	"mdns/conform": {"mdns", "multicast", "internal/loop", "internal/netif", "internal/wire"},
	"dnssd":        {"mdns"},
	"igmp":         {"multicast", "internal/capture", "internal/wire", "internal/loop", "internal/netif"},
	"igmp/doctor":  {"igmp", "multicast", "internal/wire"},

	"mdns/doctor": {"mdns", "multicast", "internal/capture", "internal/loop", "internal/netif", "internal/wire"},

	"multicast/chat":  {"multicast", "multicast/seal", "internal/wire", "internal/loop", "internal/netif"},
	"multicast/probe": {"multicast", "internal/wire", "internal/loop", "internal/netif"},
	"multicast/bulk":  {"multicast", "multicast/seal", "internal/wire", "internal/loop", "internal/netif"},
	"multicast/seal":  {"multicast"},

	"paxos":         {},
	"paxos/log":     {"paxos", "internal/link", "internal/wire"},
	"paxos/peer":    {"paxos", "internal/link", "internal/wire"},
	"paxos/sim":     {"paxos"},
	"paxos/kv":      {"paxos", "internal/link", "internal/wire"},
	"paxos/replica": {"paxos", "paxos/log", "paxos/peer", "paxos/kv"},
	"dht":           {},
	"dht/sim":       {"dht"},
	"dht/records":   {"dht", "paxos", "internal/link", "internal/wire"},
	"dht/topics":    {"dht", "paxos", "internal/link", "internal/wire"},
	"dht/tasks":     {"dht", "dht/records", "internal/wire"},
	"dht/peer":      {"dht", "dht/records", "dht/topics", "dht/tasks", "internal/failstop", "internal/link", "internal/wire"},

	"store":                 {},
	"store/index":           {"store", "internal/failstop"},
	"store/pool":            {"store"},
	"store/place":           {"store"},
	"store/internal/oracle": {"store", "store/tree"},
	"store/tree":            {"store", "internal/wire"},
	"store/gossip":          {"store", "internal/wire"},
	"store/replicate":       {"store", "internal/wire"},
	"store/chunk":           {"store", "internal/wire"},
	"store/segment":         {"store", "internal/wire"},
	"store/drive":           {"store", "store/tree", "store/chunk", "store/segment"},
	"store/webdav":          {"store", "store/drive", "store/tree"},
	"store/mount":           {"store", "store/drive", "store/tree"},
	"store/web":             {"store", "store/drive", "store/tree"},
	"store/node": {
		"store", "store/index", "store/pool", "store/place", "store/tree", "store/gossip", "store/replicate",
		"store/chunk", "store/segment", "store/drive", "store/webdav", "store/mount", "store/web",
		"dnssd", "mdns", "linklocal", "multicast", "paxos", "dht", "internal/link", "internal/wire", "internal/loop", "internal/netif",
	},
}

// designed are the packages of the map that the design names and the tree does not
// have. One that is built leaves this list.
var designed = []string{
	"store/web",
}

// testsMayImport is what the tests of a package import beyond that. All tests may
// import their own package and those of onlyTests.
var testsMayImport = map[string][]string{
	"store/segment": {"store/index", "store/chunk"}, // a real index and real chunks
	"store/drive":   {"store/index"},                // the same
	"store/webdav":  {"store/index", "store/chunk", "store/segment"},
	"store/mount":   {"store/node", "store/pool"}, // a real machine, in another process
	"store/tree":    {"store/index"},              // the disk, for its benchmarks
}

// onlyTests are the packages that no part of the program may import.
var onlyTests = []string{"internal/netsim", "internal/netlab", "internal/script", "store/internal/oracle"}

func importRule(tr *tree) (found []string) {
	for _, f := range tr.files {
		row, known := mayImport[f.dir]
		if f.dir == "cmd/aether" { // imports everything, but for what is only for tests
			row, known = slices.Collect(maps.Keys(mayImport)), true
			row = slices.DeleteFunc(row, func(p string) bool { return slices.Contains(onlyTests, p) || p == "internal/lint" })
		}
		if !known {
			found = append(found, tr.found(f.ast.Name, "package %s is not in the table of imports", f.dir))
			continue
		}
		allowed := slices.Clone(row)
		if f.test {
			allowed = slices.Concat(row, testsMayImport[f.dir], onlyTests, []string{f.dir})
		}
		for s, p := range f.imports() {
			p, ours := strings.CutPrefix(p, module+"/")
			if ours && !slices.Contains(allowed, p) {
				found = append(found, tr.found(s, "%s may not import %s", f.dir, p))
			}
		}
	}
	return found
}

func TestImports(t *testing.T) {
	hold(t, importRule, map[string]plant{
		"mdns may not import store":                {"mdns/x.go", `package mdns; import _ "` + module + `/store"`},
		"store/tree may not import store/gossip":   {"store/tree/x.go", `package tree; import _ "` + module + `/store/gossip"`},
		"dnssd may not import internal/script":     {"dnssd/x.go", `package dnssd; import _ "` + module + `/internal/script"`},
		"store/tree may not import mdns":           {"store/tree/x_test.go", `package tree; import _ "` + module + `/mdns"`},
		"cmd/aether may not import internal/netl":  {"cmd/aether/x.go", `package main; import _ "` + module + `/internal/netlab"`},
		"paxos may not import internal/link":       {"paxos/x.go", `package paxos; import _ "` + module + `/internal/link"`},
		"dht/records may not import mdns":          {"dht/records/x.go", `package records; import _ "` + module + `/mdns"`},
		"igmp may not import dnssd":                {"igmp/x.go", `package igmp; import _ "` + module + `/dnssd"`},
		"package novel is not in the table":        {"novel/x.go", `package novel`},
		"multicast may not import linklocal":       {"multicast/x_linux.go", `package multicast; import _ "` + module + `/linklocal"`},
		"internal/wire may not import internal/lo": {"internal/wire/x.go", `package wire; import _ "` + module + `/internal/loop"`},
	})
}

// A row without a package would let a new one in unseen.
func TestImports_TableIsCurrent(t *testing.T) {
	have := project(t).packages()
	for p := range mayImport {
		if have[p] == nil && !slices.Contains(designed, p) {
			t.Errorf("the table of imports has %s, which is not there", p)
		}
	}
	for _, p := range designed {
		if have[p] != nil {
			t.Errorf("%s is there; take it off the list of what is designed", p)
		}
		if mayImport[p] == nil {
			t.Errorf("%s is designed, but the table of imports does not have it", p)
		}
	}
	for p := range testsMayImport {
		if have[p] == nil {
			t.Errorf("the table of test imports has %s, which is not there", p)
		}
	}
}

// The store's rooms must stay usable without a network, and the network's without
// a store: what they reach through others counts too.
func TestImports_NetworkAndStoreMeetInNodeAlone(t *testing.T) {
	var reach func(p string, seen map[string]bool)
	reach = func(p string, seen map[string]bool) {
		for _, q := range mayImport[p] {
			if !seen[q] {
				seen[q] = true
				reach(q, seen)
			}
		}
	}
	network := []string{"linklocal", "multicast", "igmp", "mdns", "dnssd", "paxos", "dht", "internal/link", "internal/netif"}
	for p := range mayImport {
		seen := map[string]bool{}
		reach(p, seen)
		for q := range seen {
			if p != "store/node" && strings.HasPrefix(p, "store") && slices.Contains(network, q) {
				t.Errorf("%s reaches %s", p, q)
			}
			if !strings.HasPrefix(p, "store") && strings.HasPrefix(q, "store") {
				t.Errorf("%s reaches %s", p, q)
			}
		}
	}
}
