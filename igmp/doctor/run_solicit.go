package doctor

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/multicast"
)

// settle is how long a membership is given to be reported, heard and acted on.
const settle = 400 * time.Millisecond

// Solicit makes a querier on the interface called ifi speak: it joins a random
// group, which nobody else uses, and leaves it, times times. Whoever listens
// meanwhile hears the group-specific queries that answer. It ends early with ctx.
// The kernel says the leave; it needs no privileges.
func Solicit(ctx context.Context, ifi string, six bool, times int) error {
	for range times {
		c, err := multicast.Listen(ctx, multicast.Config{Interface: ifi, Group: netip.AddrPortFrom(randomGroup(six), 0)})
		if err != nil {
			return fmt.Errorf("doctor: solicit: %w", err)
		}
		wait(ctx, settle)
		if err := c.Close(); err != nil {
			return fmt.Errorf("doctor: solicit: %w", err)
		}
		if !wait(ctx, leaveWait) {
			return nil
		}
	}
	return nil
}

// leaveWait is how long to wait for an answer to a leave, before the next.
const leaveWait = 1600 * time.Millisecond

// wait reports whether d has passed before ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// randomGroup returns a group of local scope that is not flooded: 239.255.x.y (RFC
// 2365 section 6.1) or a transient one of ff15::/16.
func randomGroup(six bool) netip.Addr {
	var r [4]byte
	_, _ = crand.Read(r[:]) // it never fails
	if six {
		return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x15, 12: 0x40 | r[0]&0x3f, 13: r[1], 14: r[2], 15: r[3]})
	}
	return netip.AddrFrom4([4]byte{239, 255, 1 + r[1]%255, r[2]})
}

// aliasOf returns another group with the Ethernet address of a randomGroup.
func aliasOf(group netip.Addr) netip.Addr {
	if group.Is6() {
		b := group.As16()
		b[11] = 1
		return netip.AddrFrom16(b)
	}
	b := group.As4()
	b[1] &= 0x7f
	return netip.AddrFrom4(b)
}
