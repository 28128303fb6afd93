package igmp_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netsim"
)

// A querier and a host on a simulated link, driven by the loop: the host joins,
// is heard, and leaves within its grace when its context ends.
func TestRun_HostLeavesWhenItsContextEnds(t *testing.T) {
	for _, version := range []igmp.Version{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			medium := netsim.NewMedium[igmp.Packet](1, netsim.Faults{Delay: time.Millisecond})
			q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.1"), Version: version})
			h := newHost(t, igmp.HostConfig{Address: addr("10.0.0.7"), Version: version})
			router, conn := medium.Attach(), medium.Attach()
			var heard []igmp.QuerierEvent
			qctx, stopQuerier := context.WithCancel(t.Context())
			hctx, stopHost := context.WithCancel(t.Context())
			qended, hended := make(chan error, 1), make(chan error, 1)
			go func() {
				qended <- igmp.RunQuerier(qctx, q, router, igmp.RunConfig[igmp.QuerierEvent]{
					Event: func(e igmp.QuerierEvent) { heard = append(heard, e) }})
			}()
			do, hostEnded := make(chan func(time.Time)), make(chan struct{})
			sent := 0
			go func() {
				defer close(hostEnded)
				hended <- igmp.RunHost(hctx, h, conn, igmp.RunConfig[igmp.HostEvent]{Do: do, Sent: func(igmp.Packet) { sent++ }})
			}()
			if err := loop.Call(t.Context(), do, hostEnded, func(now time.Time) {
				if err := h.Join(now, addr("239.1.1.1")); err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(heard) == 0 || heard[len(heard)-1].Kind == igmp.GroupExpired {
				t.Errorf("version %d: a member of an hour is not one: %v", version, heard)
			}
			if sent < 25 {
				t.Errorf("version %d: %d reports in an hour", version, sent)
			}
			began := time.Now()
			stopHost()
			if err := <-hended; !errors.Is(err, context.Canceled) {
				t.Errorf("host ended with %v", err)
			}
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("version %d: leaving took %v", version, d)
			}
			if _, err := conn.ReadPacket(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is open: %v", err)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if last := heard[len(heard)-1]; last.Kind != igmp.GroupExpired {
				t.Errorf("version %d: the group lives on: %v", version, last)
			}
			stopQuerier()
			if err := <-qended; !errors.Is(err, context.Canceled) {
				t.Errorf("querier ended with %v", err)
			}
		})
	}
}

// failing is a connection that cannot send.
type failing struct{ *netsim.Conn[igmp.Packet] }

var errSend = errors.New("no route")

func (failing) WritePacket(igmp.Packet) error { return errSend }

func TestRun_EndsWithTheConnsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		medium := netsim.NewMedium[igmp.Packet](1, netsim.Faults{})
		q := newQuerier(t, igmp.QuerierConfig{Address: addr("10.0.0.1")})
		if err := igmp.RunQuerier(t.Context(), q, failing{medium.Attach()}, igmp.RunConfig[igmp.QuerierEvent]{}); !errors.Is(err, errSend) {
			t.Errorf("ended with %v", err)
		}
	})
}
