package link

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pulled is a connection that can be cut without a word: what is written is lost, and
// nothing comes any more.
type pulled struct {
	net.Conn
	cut *atomic.Bool
}

func (c pulled) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c pulled) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.cut.Load() {
			return n, err
		}
	}
}

// watchers starts meshes that know each other, each with a cable of its own to pull.
func watchers(t *testing.T, n int) (all []*member, cuts []*atomic.Bool) {
	t.Helper()
	network := newPipeNet()
	for i := range n {
		cuts = append(cuts, new(atomic.Bool))
		m := &member{id: identity(t, byte(i+1)).ID()}
		ctx, cancel := context.WithCancel(t.Context())
		m.stop = cancel
		cfg := MeshConfig{
			Config: config(t, byte(i+1), echo), Listener: network.listen(machineAddr(byte(i + 1))), Neighbours: 1,
			Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				to := int(a.Addr().As4()[3]) - 1
				if cuts[i].Load() || cuts[to].Load() {
					return nil, net.ErrClosed
				}
				c, err := network.dial(ctx, a)
				if err != nil {
					return nil, err
				}
				return pulled{pulled{c, cuts[i]}, cuts[to]}, nil
			},
			Up:   func(p PeerID, _ *Conn) { m.tell("up %v", p) },
			Down: func(p PeerID, _ error) { m.tell("down %v", p) },
		}
		cfg.Config.KeepAlive, cfg.Config.DeadAfter = testEvery, testDead
		var err error
		if m.Mesh, err = NewMesh(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	for i, m := range all {
		for j := range i {
			m.AddAddress(all[j].id, machineAddr(byte(j+1)))
		}
	}
	return all, cuts
}

// In each of two to eight meshes one dies without a word, and then half of the others
// at once: all who are left notice within the bound, and nobody else is let go.
func TestMesh_SilentDeathsAreNoticedByAll(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8} {
		synctest.Test(t, func(t *testing.T) {
			all, cuts := watchers(t, n)
			time.Sleep(5*time.Minute + time.Duration(n)*777*time.Millisecond)
			for _, m := range all {
				if got := len(m.Connected()); got != n-1 {
					t.Fatalf("%d of %d machines connected", got, n-1)
				}
				if got := len(m.told); got != n-1 {
					t.Fatalf("while all are well one is told %q", m.told)
				}
			}
			dead := 0
			for _, dying := range []int{1, n / 2} {
				for range min(dying, n-1-dead) {
					// Both directions of the connections of a machine end at its cable.
					cuts[dead].Store(true)
					dead++
				}
				time.Sleep(noticed)
				for _, m := range all[dead:] {
					if got := len(m.Connected()); got != n-dead-1 {
						t.Errorf("of %d machines %d are dead, and %d connected", n, dead, got)
					}
				}
			}
			var wg sync.WaitGroup
			for _, m := range all {
				wg.Go(m.leave)
			}
			wg.Wait()
		})
	}
}

// A machine of the first version pings by itself, and is kept alive the same way.
func TestMesh_OldPeersAreKeptAliveAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipeNet()
		a := network.join(t, 1) // without a vigil
		m := &member{id: identity(t, 2).ID()}
		ctx, cancel := context.WithCancel(t.Context())
		cfg := MeshConfig{
			Config: config(t, 2, echo), Dial: network.dial, Neighbours: 2,
			Down: func(p PeerID, err error) { m.tell("down %v: %v", p, err) },
		}
		cfg.Config.KeepAlive, cfg.Config.DeadAfter = testEvery, testDead
		var err error
		if m.Mesh, err = NewMesh(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		m.AddAddress(a.id, machineAddr(1))
		time.Sleep(10 * time.Minute)
		if m.Conn(a.id) == nil || m.Conn(a.id).watched() || len(m.told) > 0 {
			t.Errorf("connected: %v, told %q", m.Conn(a.id) != nil, m.told)
		}
		cancel()
		m.Wait()
		a.leave()
	})
}
