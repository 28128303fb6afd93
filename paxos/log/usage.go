package log

import "sync"

// usage counts who reads from Pebble, which must not be closed under them.
type usage struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when the last one ends, once nobody may begin
}

// begin reports whether a read may begin; end must follow then. It does not wait, so
// that what is called within a read may read.
func (u *usage) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.n++
	return true
}

func (u *usage) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n--; u.n == 0 && u.idle != nil {
		close(u.idle)
		u.idle = nil
	}
}

// close lets nobody begin any more, and waits for those who have.
func (u *usage) close() {
	u.mu.Lock()
	u.closed = true
	var idle chan struct{}
	if u.n > 0 {
		if u.idle == nil {
			u.idle = make(chan struct{})
		}
		idle = u.idle
	}
	u.mu.Unlock()
	if idle != nil {
		<-idle
	}
}
