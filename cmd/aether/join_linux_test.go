package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// poolLab is a lab where each host has the program and a directory for its machine.
type poolLab struct {
	t     *testing.T
	bin   string
	dir   string
	hosts map[string]*netlab.Host
}

// newPoolLab is hosts on one switch that have addresses.
func newPoolLab(t *testing.T, names ...string) *poolLab {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 1})
	p := &poolLab{t: t, bin: buildAether(t), dir: t.TempDir(), hosts: map[string]*netlab.Host{}}
	for i, name := range names {
		h := lab.Host(name)
		h.Attach(sw, "eth0")
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 24))
		p.hosts[name] = h
	}
	return p
}

func (p *poolLab) command(host string, args ...string) *netlab.Cmd {
	c := p.hosts[host].Command(p.bin, args...)
	c.Dir = p.dir
	return c
}

// run runs a command on a host and returns what it prints; it must succeed.
func (p *poolLab) run(host string, args ...string) string {
	p.t.Helper()
	out, errs, err := p.try(host, "", args...)
	if err != nil {
		p.t.Fatalf("%s: %v: %v\n%s%s", host, args, err, out, errs)
	}
	return out
}

func (p *poolLab) try(host, in string, args ...string) (out, errs string, err error) {
	c := p.command(host, args...)
	c.Stdin = strings.NewReader(in)
	var e bytes.Buffer
	c.Stderr = &e
	b, err := c.Output()
	return string(b), e.String(), err
}

// start starts a command that goes on, and waits until it prints what re matches.
func (p *poolLab) start(host string, re string, args ...string) (*netlab.Cmd, *output) {
	p.t.Helper()
	c := p.command(host, args...)
	var out, errs output
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("%s: %v\n%s%s", host, args, out.String(), errs.String())
		}
	})
	if !out.waitFor(regexp.MustCompile(re), 60*time.Second) {
		p.t.Fatalf("%s: %v: no %s in\n%s%s", host, args, re, out.String(), errs.String())
	}
	return c, &out
}

func (p *poolLab) serve(name string) *output {
	p.t.Helper()
	_, out := p.start(name, `"event":"serving"`, "store", "serve", "--dir", name, "--name", name, "--webdav", "off", "--json")
	return out
}

// join has one person invite and the other join, with more flags; the inviter is found
// on the network.
func (p *poolLab) join(inviter, guest string, more ...string) {
	p.t.Helper()
	_, inv := p.start(inviter, `"event":"invitation"[^\n]*\n`, "store", "invite", "--dir", inviter, "--json")
	var ev struct{ Code string }
	line, _, _ := strings.Cut(inv.String(), "\n")
	if err := json.Unmarshal([]byte(line), &ev); err != nil {
		p.t.Fatal(err)
	}
	out, errs, err := p.try(guest, ev.Code+"\n", append([]string{"store", "join", "--dir", guest}, more...)...)
	if err != nil || !strings.Contains(out, "let in by "+inviter) {
		p.t.Fatalf("%s joins: %v\n%s%s", guest, err, out, errs)
	}
	if !inv.waitFor(regexp.MustCompile(`"event":"joined"[^\n]*"name":"`+guest+`"`), 10*time.Second) {
		p.t.Errorf("%s has not heard that %s joined: %s", inviter, guest, inv.String())
	}
}

// until repeats a command on a host until its output matches.
func (p *poolLab) until(host, re string, args ...string) {
	p.t.Helper()
	expr := regexp.MustCompile(re)
	var out, errs string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		if out, errs, _ = p.try(host, "", args...); expr.MatchString(out) {
			return
		}
		select {
		case <-p.t.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	p.t.Fatalf("%s: %v: no %s in\n%s%s", host, args, re, out, errs)
}

// TestInviteJoinRevoke is how a pool grows and shrinks: one machine begins, two are let
// in by a code that people read to each other, files arrive; one is lost and revoked,
// and refused by all; one leaves, and what it kept is there. A pool of others on the
// same network has no part in it.
func TestInviteJoinRevoke(t *testing.T) {
	t.Parallel()
	p := newPoolLab(t, "alice", "bob", "carol", "mallory")
	began := time.Now()
	now := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }
	p.run("alice", "store", "init", "--dir", "alice", "--name", "alice")
	alice := p.serve("alice")
	mallory := p.serve("mallory") // makes a pool of her own
	p.join("alice", "bob", "--name", "bob")
	now("bob has joined")
	bob := p.serve("bob")
	carol := p.serve("carol") // as people do: all start, and then they read each other a code
	p.join("bob", "carol")
	now("carol has joined")
	for _, name := range []string{"alice", "bob", "carol"} {
		p.run(name, "store", "status", "--dir", name, "--wait-machines", "3", "--timeout", "60s")
	}
	now("all are connected")
	if err := os.WriteFile(filepath.Join(p.dir, "plan.txt"), []byte("the plan\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("alice", "store", "put", "--dir", "alice", "plan.txt", "/")
	p.run("alice", "store", "flush", "--dir", "alice", "--timeout", "60s")
	p.until("carol", `(?m)^the plan$`, "store", "cat", "--dir", "carol", "/plan.txt")
	p.until("alice", `"name":"carol","state":"connected".*"generation":0,.*"invited_by_name":"bob"`, "store", "members", "--dir", "alice", "--json")

	now("the file is everywhere")
	if out := p.run("alice", "store", "revoke", "--dir", "alice", "bob"); !strings.HasPrefix(out, "revoked bob (") {
		t.Errorf("revoke says %q", out)
	}
	for who, out := range map[string]*output{"alice": alice, "carol": carol} {
		if !out.waitFor(regexp.MustCompile(`"event":"refused"[^\n]*was revoked by alice`), 60*time.Second) {
			t.Errorf("%s does not refuse bob: %s", who, out.String())
		}
		p.until(who, `"name":"bob","state":"revoked".*"by_name":"alice"`, "store", "members", "--dir", who, "--json")
	}
	p.until("bob", `"name":"carol","state":"away"`, "store", "members", "--dir", "bob", "--json")

	now("bob is refused by all")
	p.run("alice", "store", "put", "--dir", "alice", "plan.txt", "/later.txt")
	p.until("carol", `(?m)^the plan$`, "store", "cat", "--dir", "carol", "/later.txt") // under the new secret
	if out, _, err := p.try("bob", "", "store", "cat", "--dir", "bob", "/later.txt"); err == nil {
		t.Errorf("bob reads %q", out)
	}
	p.until("carol", `"event":"left".*"heard":true`, "store", "leave", "--dir", "carol", "--json")
	if !carol.waitFor(regexp.MustCompile(`"event":"left"`), 20*time.Second) {
		t.Errorf("carol's node goes on: %s", carol.String())
	}
	if _, err := os.Stat(filepath.Join(p.dir, "carol", "pool.secret")); !os.IsNotExist(err) {
		t.Errorf("carol's directory is a pool's: %v", err)
	}
	if out := p.run("alice", "store", "cat", "--dir", "alice", "/plan.txt"); out != "the plan\n" {
		t.Errorf("the plan is now %q", out)
	}
	p.until("alice", `"name":"carol","state":"left"`, "store", "members", "--dir", "alice", "--json")
	now("carol has left")
	if s := mallory.String(); strings.Contains(s, `"event":"connected"`) || strings.Contains(s, `"event":"refused"`) {
		t.Errorf("mallory's pool: %s", s)
	}
	if s := bob.String(); strings.Count(s, `"event":"connected"`) == 0 {
		t.Errorf("bob was never connected: %s", s)
	}
}
