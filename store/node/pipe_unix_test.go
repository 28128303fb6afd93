//go:build unix

package node

import (
	"syscall"
	"testing"
)

// makePipe makes a named pipe and runs f; it reports whether the system can.
func makePipe(t *testing.T, path string, f func(string)) bool {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f(path)
	return true
}
