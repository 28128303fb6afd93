package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// insideEnv is set in a test binary that Main has started again.
const insideEnv = "AETHER_NETLAB_INSIDE"

// Main runs a package's tests and ends the process. Call it from TestMain:
//
//	func TestMain(m *testing.M) { netlab.Main(m) }
//
// If the process may not make network namespaces, Main runs the test binary
// again, with the same arguments, as root of a new user namespace
// (user_namespaces(7)), where it may. The outside sees its output and its exit
// status; files it makes belong to the user who called.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has more to do: it returns the exit status.
func Run(m interface{ Run() int }) (status int) {
	if os.Getenv(insideEnv) == "" && permitted() != nil {
		if status, err := again(); err == nil {
			return status
		}
		// New says why it skips.
	}
	return m.Run()
}

// permitted tries to make a namespace.
func permitted() error {
	n, err := newNamespace("netlab")
	if err == nil {
		n.close()
	}
	return err
}

// again runs the test binary in a user namespace and returns its exit status, or
// an error if it could not be started.
func again() (status int, err error) {
	// The death signal comes when this thread ends, so it stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), insideEnv+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "netlab: test binary in a user namespace:", err)
		return 1, nil
	}
	return 0, nil
}
