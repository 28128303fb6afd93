package mdns

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// claimWith claims box on m with a state file and returns the name that came of
// it, and what the log says.
func claimWith(t *testing.T, m network, path string) (name, log string) {
	t.Helper()
	var b bytes.Buffer
	n, err := open(t.Context(), Config{StateFile: path, Logger: slog.New(slog.NewTextHandler(&b, nil)), Rand: rand.New(rand.NewPCG(5, 5))}, m)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := n.ClaimHost(t.Context(), "Box")
	if err != nil {
		t.Fatal(err)
	}
	name = claim.Name()
	n.Close()
	return name, b.String()
}

func TestNode_RFC6762_9_ARenamedHostRemembersItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mdns.json")
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		holder := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		if _, err := holder.ClaimHost(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		if name, log := claimWith(t, newMachine(t, seg, "10.0.0.2/24"), path); name != "Box-2.local." || log != "" {
			t.Errorf("claimed %s; log %s", name, log)
		}
	})
	// The other host has gone, and still Box-2 is tried first.
	synctest.Test(t, func(t *testing.T) {
		net := &tap{network: newMachine(t, new(segment), "10.0.0.2/24")}
		if name, log := claimWith(t, net, path); name != "Box-2.local." || log != "" {
			t.Errorf("after a restart: claimed %s; log %s", name, log)
		}
		for _, m := range net.messages() {
			for _, q := range m.Questions {
				if q.Name != "Box-2.local." {
					t.Errorf("after a restart: asked for %s", q.Name)
				}
			}
		}
	})
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
}

func TestNode_NoRenameWritesNoStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mdns.json")
	synctest.Test(t, func(t *testing.T) {
		if name, log := claimWith(t, newMachine(t, new(segment), "10.0.0.2/24"), path); name != "Box.local." || log != "" {
			t.Errorf("claimed %s; log %s", name, log)
		}
	})
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a state file")
	}
}

func TestNode_ADamagedStateFileIsIgnoredWithOneLine(t *testing.T) {
	for _, damage := range []string{
		"", "{", `{"version":2}`, `{"version":1,"hosts":{"box":1}}`, `{"version":1,"hosts":{"a.b":2}}`,
		`{"version":1,"hosts":{"box":99999999999}}`, strings.Repeat(" ", stateBytes+1),
	} {
		path := filepath.Join(t.TempDir(), "mdns.json")
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			name, log := claimWith(t, newMachine(t, new(segment), "10.0.0.2/24"), path)
			if name != "Box.local." || strings.Count(log, "\n") != 1 || !strings.Contains(log, path) {
				t.Errorf("%.40q: claimed %s; log %s", damage, name, log)
			}
		})
	}
}

func TestMemory_KeepsWhatOthersWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mdns.json")
	cfg := Config{StateFile: path}.withDefaults()
	a, b := recall(cfg), recall(cfg)
	a.note("box", 3)
	b.note("printer", 2)
	for _, m := range []*memory{a, b} {
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
	}
	c := recall(cfg)
	if c.number("BOX") != 3 || c.number("printer") != 2 || c.number("else") != 1 {
		t.Errorf("hosts %v", c.hosts)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"version":1,"hosts":{"box":2}}`))
	f.Add([]byte(`{"version":1,"hosts":{"":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > stateBytes {
			return
		}
		if _, err := parseState(again); err != nil {
			t.Errorf("%q was read, %q is not: %v", b, again, err)
		}
		for label := range s.Hosts {
			if _, err := (&hosted{label: label, number: s.Hosts[label]}).numbered(); err != nil {
				t.Errorf("label %q: %v", label, err)
			}
		}
	})
}

func TestNode_RemembersNamesOfItsUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	cfg := Config{StateFile: file}.withDefaults()
	n := &Node{cfg: cfg, memory: recall(cfg)}
	n.Remember("Office._ipp._tcp.local.", `Office\032\0402\041._ipp._tcp.local.`)
	if err := n.memory.save(); err != nil {
		t.Fatal(err)
	}
	n = &Node{cfg: cfg, memory: recall(cfg)}
	if got := n.Recall("OFFICE._ipp._tcp.local."); got != `Office\032\0402\041._ipp._tcp.local.` {
		t.Errorf("recalls %s", got)
	}
	if got := n.Recall("other.local."); got != "other.local." {
		t.Errorf("recalls %s", got)
	}
	if got := new(Node).Recall("x."); got != "x." {
		t.Errorf("without a file recalls %s", got)
	}
}
