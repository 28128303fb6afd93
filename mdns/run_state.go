package mdns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"sync"
)

// Bounds of a state file. What is beyond is damage.
const (
	stateBytes  = 64 << 10
	stateNames  = 256
	stateNumber = 1 << 20
)

// stateFile is what Config.StateFile holds: {"version":1,"hosts":{"box":2}} says
// that this machine was box-2 when it wanted to be box (RFC 6762 section 9).
type stateFile struct {
	Version int            `json:"version"`
	Hosts   map[string]int `json:"hosts"`
}

// memory keeps the numbers of renamed hosts in a file. The disk is waited for on a
// goroutine of its own, never on the loop's.
type memory struct {
	path string
	wake chan struct{}

	mu    sync.Mutex
	hosts map[string]int // by folded label; 1 is not kept
	dirty bool
}

// recall returns the memory in cfg.StateFile, or nil when none is kept. A file that
// cannot be used is said to be so, once, and taken for empty.
func recall(cfg Config) *memory {
	if cfg.StateFile == "" {
		return nil
	}
	hosts, err := readState(cfg.StateFile)
	if err != nil {
		cfg.Logger.Warn("mdns: the state file is ignored", "file", cfg.StateFile, "error", err)
	}
	return &memory{path: cfg.StateFile, wake: make(chan struct{}, 1), hosts: hosts}
}

func readState(path string) (hosts map[string]int, err error) {
	hosts = make(map[string]int)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return hosts, nil
	}
	if err != nil {
		return hosts, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, stateBytes+1))
	if err != nil {
		return hosts, err
	}
	state, err := parseState(b)
	if err == nil {
		maps.Copy(hosts, state.Hosts)
	}
	return hosts, err
}

func parseState(b []byte) (s stateFile, err error) {
	if len(b) > stateBytes {
		return s, fmt.Errorf("more than %d bytes", stateBytes)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	if s.Version != 1 || len(s.Hosts) > stateNames {
		return s, fmt.Errorf("version %d with %d names", s.Version, len(s.Hosts))
	}
	for label, number := range s.Hosts {
		h := hosted{label: label, number: number}
		if _, err := h.numbered(); err != nil || number < 2 || number > stateNumber {
			return s, fmt.Errorf("%q with number %d: %w", label, number, ErrName)
		}
	}
	return s, nil
}

// number returns the number to begin with for label: 1 when nothing is known.
func (m *memory) number(label string) int {
	if m == nil {
		return 1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(1, m.hosts[foldName(label)])
}

// note remembers what label was claimed with, and has it written.
func (m *memory) note(label string, number int) {
	if m == nil || m.number(label) == number {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	label = foldName(label)
	if _, known := m.hosts[label]; number < 2 || !known && len(m.hosts) >= stateNames {
		return
	}
	m.hosts[label], m.dirty = number, true
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// save writes what has changed, together with what other programs have written
// into the same file.
func (m *memory) save() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirty {
		return nil
	}
	m.dirty = false
	hosts, _ := readState(m.path) // a damaged one is replaced
	maps.Copy(hosts, m.hosts)
	b, err := json.Marshal(stateFile{1, hosts})
	if err != nil {
		return err
	}
	return writeState(m.path, append(b, '\n'))
}

// remember writes the state file whenever it has changed, until the Node ends.
func (n *Node) remember() {
	for ended := false; !ended; {
		select {
		case <-n.memory.wake:
		case <-n.ended:
			ended = true
		}
		if err := n.memory.save(); err != nil {
			n.cfg.Logger.Warn("mdns: the host name is not remembered", "file", n.memory.path, "error", err)
		}
	}
}
