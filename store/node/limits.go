package node

import (
	"context"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// limits bound the bytes of chunks a second that are sent to other machines and received
// from them. It is safe for concurrent use; the zero value bounds nothing.
type limits struct {
	up, down atomic.Pointer[rate.Limiter]
}

const (
	// leastBurst is how many bytes may be sent or received at once under any limit: more
	// than a chunk needs.
	leastBurst = 256 << 10
	// maxLimit is the greatest limit that is one.
	maxLimit = 1 << 40
)

// set sets the limits, in bytes a second; zero is none.
func (l *limits) set(up, down int64) {
	l.up.Store(newLimiter(up))
	l.down.Store(newLimiter(down))
}

func newLimiter(n int64) *rate.Limiter {
	if n <= 0 || n > maxLimit {
		return nil
	}
	return rate.NewLimiter(rate.Limit(n), int(max(n/4, leastBurst)))
}

// room returns how many bytes of those wanted an answer may have, so that one answer
// does not take the link for long.
func (l *limits) room(wanted int64) int64 {
	if up := l.up.Load(); up != nil {
		return min(wanted, int64(up.Burst()))
	}
	return wanted
}

// sending counts n bytes of chunks and waits until they may be sent.
func (m *Machine) sending(ctx context.Context, n int) error {
	m.traffic.sent.add(m.now(), n)
	return take(ctx, m.limits.up.Load(), n)
}

// receiving counts n bytes of chunks that have come and waits until they were due: whoever
// asks for more asks later.
func (m *Machine) receiving(ctx context.Context, n int) error {
	m.traffic.received.add(m.now(), n)
	return take(ctx, m.limits.down.Load(), n)
}

func take(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		k := min(n, l.Burst())
		if err := l.WaitN(ctx, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
