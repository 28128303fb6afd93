package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// maxSocketPath is the longest path in bytes by which every system binds a Unix
// socket: the address has room for 104 with the NUL on macOS, 108 on Linux.
const maxSocketPath = 103

// errLongPath reports a directory whose path is too long for a socket in it.
var errLongPath = errors.New("the path of the machine's directory is too long for a control socket")

// shortPath returns a path of the socket that is short enough: the path itself, or
// on Linux one by way of its directory, opened. It holds until done is called.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	tooLong := fmt.Errorf("%w: %d bytes, at most %d", errLongPath, len(path), maxSocketPath)
	if runtime.GOOS != "linux" {
		return "", nil, tooLong
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	dir := fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	if _, err := os.Stat(dir); err != nil { // no /proc here
		d.Close()
		return "", nil, tooLong
	}
	return filepath.Join(dir, filepath.Base(path)), func() { d.Close() }, nil
}

// dialSocket connects to the control socket at path.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", short)
}

// listenSocket listens on a socket at path, which is removed with the listener.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", short)
	if err != nil {
		done()
		return nil, err
	}
	return &socketListener{l, done}, nil
}

// socketListener holds the directory of its socket open.
type socketListener struct {
	net.Listener
	done func()
}

func (l *socketListener) Close() error {
	err := l.Listener.Close() // removes the socket, by way of the directory
	l.done()
	return err
}
