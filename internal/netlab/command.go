package netlab

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"sync"
	"time"
)

// pipeGrace is how long Wait goes on reading output that grandchildren hold open
// after the program has ended.
const pipeGrace = 2 * time.Second

// Cmd is a program to be run in a [Host]. It is used like an exec.Cmd; Start,
// Run, Output and CombinedOutput put it into the host's namespaces, and it is
// killed when the test ends or the test process dies.
type Cmd struct {
	*exec.Cmd
	host    *Host
	private []string
	wait    func() error
}

// Command returns a program to be run in the host. Its name is looked up in the
// test's own PATH.
func (h *Host) Command(name string, args ...string) *Cmd {
	c := &Cmd{Cmd: exec.Command(name, args...), host: h}
	c.WaitDelay = pipeGrace
	c.wait = sync.OnceValue(c.Cmd.Wait)
	return c
}

// PrivateDirs gives the program a fresh empty directory of its own, in memory,
// over each of dirs, which must exist; over /sys it gets the one that shows the
// host's interfaces. Other programs do not see them. It must be called before
// Start; it returns c.
func (c *Cmd) PrivateDirs(dirs ...string) *Cmd {
	c.private = append(c.private, dirs...)
	return c
}

// Start starts the program in the host.
func (c *Cmd) Start() error {
	dieWithParent(c.Cmd)
	if err := c.host.ns.start(c.Cmd, c.private); err != nil {
		return err
	}
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	c.host.cmds = append(c.host.cmds, c)
	return nil
}

// Wait waits until the program has ended. Unlike that of exec.Cmd it may be
// called more than once.
func (c *Cmd) Wait() error { return c.wait() }

// Run starts the program and waits until it has ended.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns what it wrote to its standard output.
// An *exec.ExitError holds what it wrote to standard error, unless Stderr is set.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("netlab: Stdout already set")
	}
	var out, complaints bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &complaints
	}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		exit.Stderr = complaints.Bytes()
	}
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns what it wrote to its standard
// output and standard error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("netlab: Stdout or Stderr already set")
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// killAll kills the programs started in the host and their descendants, and
// waits for the former.
func (h *Host) killAll() {
	h.mu.Lock()
	cmds := h.cmds
	h.mu.Unlock()
	for _, c := range cmds {
		// Wait may have reaped it already; Process knows and kills nobody else.
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			h.lab.t.Errorf("netlab: host %s: kill %s: %v", h.name, c.Path, err)
		}
	}
	h.ns.killRest()
	for _, c := range cmds {
		_ = c.wait() // it was killed
	}
}
