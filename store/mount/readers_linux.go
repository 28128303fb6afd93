package mount

import (
	"os"
	"runtime"
	"sync"
)

// processors guards the number of goroutines that may run at once.
var processors sync.Mutex

// letReadersWait lets as many more goroutines run as go-fuse has wait for requests of
// one mount, until the caller calls back. A goroutine that waits in a system call
// keeps the processor that Go gave it. While another is free it may; where none is, Go
// takes it away after 20 µs and wakes a thread for it, which finds nothing to do: a
// fifth of what a small request costs. An environment that says how many goroutines
// may run has the last word.
func letReadersWait() (back func()) {
	if os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	processors.Lock()
	defer processors.Unlock()
	now := runtime.GOMAXPROCS(0)
	readers := min(max(now, 2), 16) + 1 // fuse.NewServer reckons so
	runtime.GOMAXPROCS(now + readers)
	return sync.OnceFunc(func() {
		processors.Lock()
		defer processors.Unlock()
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)-readers))
	})
}
