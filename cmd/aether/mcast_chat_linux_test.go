package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
)

// chatMachine is a host in the lab with a chat running on it.
type chatMachine struct {
	t    *testing.T
	cmd  *netlab.Cmd
	in   io.WriteCloser
	name string

	mu    sync.Mutex
	lines []chatLine
	more  chan struct{} // told of each line
	done  chan struct{} // closed at the end of the output
}

// chatLine is what scripts rely on in the lines of chat.
type chatLine struct {
	Event, From, Member, Text, ID string
	Sequence                      int
	Past, Late, Sealed            bool
	Time, Sent                    time.Time
}

func (m *chatMachine) read(out io.Reader) {
	defer close(m.done)
	for s := bufio.NewScanner(out); s.Scan(); {
		var l chatLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil || l.Event == "" || l.Time.IsZero() {
			m.t.Errorf("%s: line %q: %v", m.name, s.Bytes(), err)
		}
		m.mu.Lock()
		m.lines = append(m.lines, l)
		m.mu.Unlock()
		select {
		case m.more <- struct{}{}:
		default:
		}
	}
}

// count returns how many lines pass.
func (m *chatMachine) count(pass func(chatLine) bool) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		if pass(l) {
			n++
		}
	}
	return n
}

// await waits until n lines pass.
func (m *chatMachine) await(what string, n int, pass func(chatLine) bool) {
	m.t.Helper()
	limit := time.After(60 * time.Second)
	for m.count(pass) < n {
		select {
		case <-m.more:
		case <-m.done:
			m.t.Fatalf("%s ended and has %d of %d %s", m.name, m.count(pass), n, what)
		case <-limit:
			m.t.Fatalf("%s has %d of %d %s", m.name, m.count(pass), n, what)
		}
	}
}

func (m *chatMachine) say(text string) {
	if _, err := fmt.Fprintln(m.in, text); err != nil {
		m.t.Errorf("%s: %v", m.name, err)
	}
}

// heard returns the texts of an author's messages in the order of their arrival.
func (m *chatMachine) heard(from string) (texts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		if l.Event == "message" && l.From == from {
			texts = append(texts, l.Text)
		}
	}
	return texts
}

func isMessage(l chatLine) bool { return l.Event == "message" }

// chatIn starts a chat on a host.
func chatIn(t *testing.T, h *netlab.Host, bin, name string, args ...string) *chatMachine {
	t.Helper()
	m := &chatMachine{t: t, name: name, more: make(chan struct{}, 1), done: make(chan struct{})}
	m.cmd = h.Command(bin, append([]string{"mcast", "chat", "--json", "--name", name, "--grace", "30s"}, args...)...)
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		m.in, err = m.cmd.StdinPipe()
	}
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go m.read(out)
	return m
}

// Five machines at 5 % loss talk while one is cut off; when the cable is back, all
// have all. One comes late, one is killed, one leaves.
func TestMcastChat_FiveMachinesWithLossAndAPartition(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 s until somebody counts as gone: run without -short")
	}
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 7})
	bin := buildAether(t)
	pass := writePassphrase(t)
	var all []*chatMachine
	var ports []*netlab.Port
	for i := range 5 {
		h := lab.Host(fmt.Sprint("m", i))
		p := h.Attach(sw, "eth0")
		p.SetFaults(netlab.Faults{Loss: 0.05})
		ports = append(ports, p)
		h.AddAddr("eth0", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)))
		all = append(all, chatIn(t, h, bin, fmt.Sprint("m", i), "--passphrase-file", pass))
	}
	for _, m := range all {
		m.await("members", 4, func(l chatLine) bool { return l.Event == "joined" })
	}
	said := 0
	talk := func() {
		for i, m := range all {
			m.say(fmt.Sprintf("message %d of m%d", said, i))
			if said%4 == 0 {
				m.say(fmt.Sprintf("long %d %s", said, strings.Repeat("and longer ", 800)))
			} else {
				m.say(fmt.Sprintf("short %d", said))
			}
		}
		said += 2
	}
	for range 5 {
		talk()
	}
	sw.Partition(ports[:4], ports[4:])
	for range 5 {
		talk()
	}
	all[0].await("vanished", 1, func(l chatLine) bool { return l.Event == "vanished" && l.Member == "m4" })
	sw.Heal()
	for range 3 {
		talk()
	}
	for _, m := range all {
		m.await("messages", 4*said, isMessage)
	}
	for i, m := range all {
		for j := range all {
			if got := m.heard(fmt.Sprint("m", j)); i != j && (len(got) != said || !slices.Equal(got, all[(j+1)%5].heard(fmt.Sprint("m", j)))) {
				t.Errorf("m%d heard %d messages of m%d, want %d in their order", i, len(got), j, said)
			}
		}
		if n := m.count(func(l chatLine) bool { return l.Event == "lost" || l.Late }); n > 0 {
			t.Errorf("m%d lost %d", i, n)
		}
	}

	// Who comes late gets the past; who leaves is seen to.
	h := lab.Host("late")
	h.Attach(sw, "eth0")
	h.AddAddr("eth0", netip.MustParsePrefix("192.0.2.9/24"))
	late := chatIn(t, h, bin, "late", "--passphrase-file", pass)
	late.await("messages", 5*said, func(l chatLine) bool { return isMessage(l) && l.Past })
	all[3].in.Close() // the end of its input
	all[0].await("left", 1, func(l chatLine) bool { return l.Event == "left" && l.Member == "m3" })
	if err := all[3].cmd.Wait(); err != nil {
		t.Errorf("m3: %v", err)
	}
	for _, m := range []*chatMachine{all[0], all[1], all[2], all[4], late} {
		if err := m.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		<-m.done
		if err := m.cmd.Wait(); err != nil {
			t.Errorf("%s: an interrupted chat must end with 0: %v", m.name, err)
		}
	}
}

func writePassphrase(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(path, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Over IPv6, in an open room, with two people of the same name.
func TestMcastChat_TwoOfTheSameNameOverIPv6(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 8})
	bin := buildAether(t)
	var all []*chatMachine
	for i, name := range []string{"ana", "ana", "bob"} {
		h := lab.Host(fmt.Sprint("h", i))
		h.Attach(sw, "eth0") // with a link-local address only
		all = append(all, chatIn(t, h, bin, name, "-6"))
	}
	for _, m := range all {
		m.await("members", 2, func(l chatLine) bool { return l.Event == "joined" })
	}
	all[0].say("first")
	all[1].say("second")
	bob := all[2]
	bob.await("messages", 2, isMessage)
	var labels []string
	bob.count(func(l chatLine) bool {
		if isMessage(l) {
			labels = append(labels, l.From)
		}
		return false
	})
	if len(labels) != 2 || labels[0] == labels[1] || !strings.HasPrefix(labels[0], "ana#") || !strings.HasPrefix(labels[1], "ana#") {
		t.Errorf("shown as %q", labels)
	}
}

// A chat that began without a network, on the loopback interface, goes on when the
// network comes.
func TestMcastChat_NetworkThatComesLater(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a network that comes late: run without -short")
	}
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 9})
	bin := buildAether(t)
	var hosts []*netlab.Host
	var all []*chatMachine
	for i, name := range []string{"ana", "bob"} {
		hosts = append(hosts, lab.Host(name))
		if i == 0 {
			all = append(all, chatIn(t, hosts[i], bin, name))
			all[0].await("rooms", 1, func(l chatLine) bool { return l.Event == "entered" })
		}
		hosts[i].Attach(sw, "eth0")
		hosts[i].AddAddr("eth0", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)))
	}
	all = append(all, chatIn(t, hosts[1], bin, "bob"))
	all[0].await("members", 1, func(l chatLine) bool { return l.Event == "joined" && l.Member == "bob" })
	all[0].say("at last")
	all[1].await("messages", 1, isMessage)
}
