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
// that this machine was box-2 when it wanted to be box (RFC 6762 section 9), and "names"
// what users of a Node have been called in place of a name; see [Node.Remember].
type stateFile struct {
	Version int               `json:"version"`
	Hosts   map[string]int    `json:"hosts"`
	Names   map[string]string `json:"names,omitempty"`
}

// memory keeps the numbers of renamed hosts in a file. The disk is waited for on a
// goroutine of its own, never on the loop's.
type memory struct {
	path string
	wake chan struct{}

	mu    sync.Mutex
	hosts map[string]int    // by folded label; 1 is not kept
	names map[string]string // by folded name
	dirty bool
}

// recall returns the memory in cfg.StateFile, or nil when none is kept. A file that
// cannot be used is said to be so, once, and taken for empty.
func recall(cfg Config) *memory {
	if cfg.StateFile == "" {
		return nil
	}
	state, err := readState(cfg.StateFile)
	if err != nil {
		cfg.Logger.Warn("mdns: the state file is ignored", "file", cfg.StateFile, "error", err)
	}
	return &memory{path: cfg.StateFile, wake: make(chan struct{}, 1), hosts: state.Hosts, names: state.Names}
}

// readState returns what is in the file, or an empty state with maps to write to.
func readState(path string) (state stateFile, err error) {
	state = stateFile{1, make(map[string]int), make(map[string]string)}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, stateBytes+1))
	if err != nil {
		return state, err
	}
	found, err := parseState(b)
	if err == nil {
		maps.Copy(state.Hosts, found.Hosts)
		maps.Copy(state.Names, found.Names)
	}
	return state, err
}

func parseState(b []byte) (s stateFile, err error) {
	if len(b) > stateBytes {
		return s, fmt.Errorf("more than %d bytes", stateBytes)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	if s.Version != 1 || len(s.Hosts) > stateNames || len(s.Names) > stateNames {
		return s, fmt.Errorf("version %d with %d hosts and %d names", s.Version, len(s.Hosts), len(s.Names))
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
	m.hosts[label] = number
	m.changed()
}

// changed has the file written; the caller holds mu.
func (m *memory) changed() {
	m.dirty = true
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Recall returns what was remembered for name, in any case, or name itself.
func (n *Node) Recall(name string) string {
	if n.memory == nil {
		return name
	}
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	if taken := n.memory.names[foldName(name)]; taken != "" {
		return taken
	}
	return name
}

// Remember keeps in Config.StateFile that who wanted to be called name is called taken
// since another host had it (RFC 6762 section 9: the new name should be kept in
// persistent storage). Up to 256 names are kept; without a StateFile none is.
func (n *Node) Remember(name, taken string) {
	if n.memory == nil || n.Recall(name) == taken {
		return
	}
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	name = foldName(name)
	if _, known := n.memory.names[name]; known || len(n.memory.names) < stateNames {
		n.memory.names[name] = taken
		n.memory.changed()
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
	state, _ := readState(m.path) // a damaged one is replaced
	maps.Copy(state.Hosts, m.hosts)
	maps.Copy(state.Names, m.names)
	b, err := json.Marshal(state)
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
