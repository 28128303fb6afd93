package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// A machine that dies without a word, its cable pulled, is noticed within 10 s.
func TestServe_DeadMachineIsNoticed(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	hosts, ports := addressed(t, l.Switch(netlab.SwitchConfig{Seed: 1}), l, "a", "b")
	bin, dir := buildAether(t), t.TempDir()
	c := hosts[0].Command(bin, "store", "init", "--dir", "a")
	c.Dir = dir
	outputOf(t, c)
	var outs [2]output
	for i, name := range []string{"a", "b"} {
		args := []string{"store", "serve", "--dir", name, "--secret-file", "a/pool.secret", "--listen", "0.0.0.0:7473", "--no-discovery", "--webdav", "off", "--json"}
		if i > 0 {
			args = append(args, "--peer", "192.0.2.1:7473")
		}
		c := hosts[i].Command(bin, args...)
		c.Dir = dir
		c.Stdout = &outs[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if !outs[i].waitFor(regexp.MustCompile(`"event":"serving"`), time.Minute) {
			t.Fatalf("%s does not serve", name)
		}
	}
	if !outs[0].waitFor(regexp.MustCompile(`"event":"connected"`), time.Minute) {
		t.Fatal("they do not find each other")
	}
	ports[1].SetDown(true)
	pulled := time.Now()
	if !outs[0].waitFor(regexp.MustCompile(`"event":"disconnected"`), 30*time.Second) {
		t.Fatalf("it is not noticed: %s", outs[0].String())
	}
	took := time.Since(pulled)
	t.Logf("noticed after %v", took)
	if took > 10*time.Second {
		t.Errorf("noticed after %v only", took)
	}
}
