package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// linklocalLine is what scripts rely on in the lines of the linklocal commands.
type linklocalLine struct {
	Event        string
	Time         time.Time
	Address      string
	Interface    string
	HardwareAddr string `json:"hardware_addr"`
	Remembered   string
}

func parseLinklocalLine(t *testing.T, b []byte) linklocalLine {
	t.Helper()
	var l linklocalLine
	if err := json.Unmarshal(bytes.TrimSpace(b), &l); err != nil || l.Event == "" || l.Time.IsZero() {
		t.Fatalf("line %q: %v", b, err)
	}
	return l
}

// exitStatus returns the status a program ended with.
func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var ee *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ee):
		return ee.ExitCode()
	}
	t.Fatal(err)
	return -1
}

// A machine claims an address; another one watches and finds it in use.
func TestLinklocal_ClaimWatchProbeShow(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 1})
	a, b := lab.Host("a"), lab.Host("b")
	hw := a.Attach(sw, "eth0").HardwareAddr().String()
	b.Attach(sw, "eth0")
	bin, state := buildAether(t), filepath.Join(t.TempDir(), "state")

	watch := b.Command(bin, "linklocal", "watch", "--json")
	var watched bytes.Buffer
	watch.Stdout = &watched
	claim := a.Command(bin, "linklocal", "claim", "-i", "eth0", "--json", "--state", state)
	out, err := claim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(watch.Start(), claim.Start()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var events []string
	var last linklocalLine
	for last.Event != "claimed" && lines.Scan() {
		last = parseLinklocalLine(t, lines.Bytes())
		events = append(events, last.Event)
	}
	addr := last.Address
	if got := strings.Join(events, " "); got != "probe probe probe announce claimed" || last.Interface != "eth0" || !strings.HasPrefix(addr, "169.254.") {
		t.Fatalf("events %q, the last %+v", got, last)
	}

	found, err := b.Command(bin, "linklocal", "probe", addr, "--json").Output()
	if l := parseLinklocalLine(t, found); exitStatus(t, err) != 1 || l.Event != "in_use" || l.Address != addr || l.HardwareAddr != hw {
		t.Errorf("probe: %+v, %v", l, err)
	}
	shown, err := a.Command(bin, "linklocal", "show", "--state", state, "--json").Output()
	if l := parseLinklocalLine(t, shown); err != nil || l.Address != addr || l.Remembered != addr || l.Interface != "eth0" || l.HardwareAddr != hw {
		t.Errorf("show: %+v, %v", l, err)
	}

	for _, p := range []*netlab.Cmd{claim, watch} {
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	for lines.Scan() {
		last = parseLinklocalLine(t, lines.Bytes())
	}
	if last.Event != "released" || last.Address != addr {
		t.Errorf("last line of claim: %+v", last)
	}
	if err := errors.Join(claim.Wait(), watch.Wait()); err != nil {
		t.Errorf("interrupted commands must end with 0: %v", err)
	}
	if left := fmt.Sprint(a.Interface("eth0").Addresses); strings.Contains(left, addr) {
		t.Errorf("left behind: %v", left)
	}
	for _, want := range []string{`"event":"probe"`, `"event":"announce"`, `"event":"claimed"`, addr, hw} {
		if !strings.Contains(watched.String(), want) {
			t.Errorf("watch does not show %s:\n%s", want, watched.String())
		}
	}
}

// What a user may get wrong, and what is missing, has its status and one line.
func TestLinklocal_Statuses(t *testing.T) {
	bin := buildAether(t)
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"claim -i nosuch0", 1, `no such interface: "nosuch0"`},
		{"claim -i lo", 1, "not an Ethernet interface"},
		{"claim -i lo --address 10.0.0.1", 2, "not an address from 169.254.1.0"},
		{"claim -i lo --policy x", 2, "unknown policy"},
		{"claim lo", 2, "want no arguments"},
		{"probe", 2, "ADDR"},
		{"probe fe80::1", 2, "not an IPv4 address"},
		{"probe 192.0.2.1 -i nosuch0", 1, "no such interface"},
		{"watch --nonsense", 2, "nonsense"},
		{"nonsense", 2, "nonsense"},
	} {
		cmd := exec.Command(bin, append([]string{"linklocal"}, strings.Fields(c.args)...)...)
		var errout bytes.Buffer
		cmd.Stderr = &errout
		out, err := cmd.Output()
		if exitStatus(t, err) != c.status || len(out) != 0 || !strings.Contains(errout.String(), c.says) || strings.Count(errout.String(), "\n") != 1 {
			t.Errorf("linklocal %s: %v, stdout %q, stderr %q", c.args, err, out, errout.String())
		}
	}
}
