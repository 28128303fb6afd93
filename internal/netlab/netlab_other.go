//go:build !linux

package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

// errUnsupported reports that this system has no network namespaces.
var errUnsupported = fmt.Errorf("network namespaces need Linux: %w", errors.ErrUnsupported)

// Main runs a package's tests and ends the process; see the Linux version.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run returns the exit status of a package's tests; see the Linux version.
func Run(m interface{ Run() int }) (status int) { return m.Run() }

// namespace does not exist here: New skips before one is made.
type namespace struct{}

func newNamespace(string) (*namespace, error) { return nil, errUnsupported }

func (n *namespace) do(func() error) error           { return errUnsupported }
func (n *namespace) enter(func() error) error        { return errUnsupported }
func (n *namespace) start(*exec.Cmd, []string) error { return errUnsupported }
func (n *namespace) killRest()                       {}
func (n *namespace) close()                          {}

func newVeth(_, _ *namespace, _, _ string, _ int, _ net.HardwareAddr) (wire, error) {
	return nil, errUnsupported
}

func dieWithParent(*exec.Cmd)    {}
func setLink(string, bool) error { return errUnsupported }
func removeLink(string) error    { return errUnsupported }
func awaitCarrier(string) error  { return errUnsupported }
