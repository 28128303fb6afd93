package multicast

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A full queue is waited for, a while; other errors are not; Close ends the wait.
func TestPatiently_WaitsForAFullQueue(t *testing.T) {
	full := &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.ENOBUFS)}
	for _, c := range []struct {
		name   string
		fulls  int
		then   error
		want   error
		calls  int
		waited time.Duration
	}{
		{"at once", 0, nil, nil, 1, 0},
		{"third time", 2, nil, nil, 3, 750 * time.Microsecond},
		{"another error", 1, syscall.EMSGSIZE, syscall.EMSGSIZE, 2, 250 * time.Microsecond},
		{"never", 100, nil, syscall.ENOBUFS, 9, 63750 * time.Microsecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn := &Conn{quit: make(chan struct{})}
			calls, began := 0, time.Now()
			err := conn.patiently(func() error {
				if calls++; calls <= c.fulls {
					return full
				}
				return c.then
			})
			if !errors.Is(err, c.want) || calls != c.calls || time.Since(began) != c.waited || conn.counts.backoffs.Load() != uint64(min(c.fulls, maxBackoffs)) {
				t.Errorf("%s: %v after %d calls and %v, %d pauses", c.name, err, calls, time.Since(began), conn.counts.backoffs.Load())
			}
		})
	}
	conn := &Conn{quit: make(chan struct{})}
	close(conn.quit)
	if err := conn.patiently(func() error { return full }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
