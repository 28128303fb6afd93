package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netif"
)

// igmpInterfaces returns the interfaces named by -i, or all that can multicast.
func igmpInterfaces(c *cli.Context) ([]netif.Interface, error) {
	var list []netif.Interface
	names := c.StringSlice("interface")
	for _, n := range names {
		i, err := netif.ByName(n)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	if len(names) > 0 {
		return list, nil
	}
	all, err := netif.List()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Up && i.Multicast && !i.Loopback && !i.PointToPoint {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no interface that is up and can multicast; name one with -i")
	}
	return list, nil
}

// igmpInterface returns the interface to work on, where it can be only one.
func igmpInterface(c *cli.Context) (netif.Interface, error) {
	list, err := igmpInterfaces(c)
	if err != nil {
		return netif.Interface{}, err
	}
	if len(list) > 1 {
		names := list[0].Name
		for _, i := range list[1:] {
			names += ", " + i.Name
		}
		return netif.Interface{}, usage("name one interface with -i: %s", names)
	}
	return list[0], nil
}

// igmpListening is a Monitor for each interface.
type igmpListening struct {
	monitors []*igmp.Monitor
	taps     []*igmp.Tap
	calls    []chan func(now time.Time) // to each Monitor while it listens
}

// openIgmpListening opens the taps, all or none.
func openIgmpListening(list []netif.Interface) (*igmpListening, error) {
	l := &igmpListening{}
	for _, i := range list {
		t, err := igmp.OpenTap(i.Name)
		if err != nil {
			for _, t := range l.taps {
				_ = t.Close()
			}
			return nil, err
		}
		l.taps = append(l.taps, t)
		l.monitors = append(l.monitors, igmp.NewMonitor(time.Now(), igmp.MonitorConfig{}))
		l.calls = append(l.calls, make(chan func(time.Time)))
	}
	return l, nil
}

// run listens until ctx ends, or tell fails. Events of different interfaces come from
// different goroutines.
func (l *igmpListening) run(ctx context.Context, tell func(ifi string, e igmp.MonitorEvent) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, t := range l.taps {
		g.Go(func() error {
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			var failed error
			err := igmp.Watch(ctx, l.monitors[i], t, igmp.Watching{Do: l.calls[i], Event: func(e igmp.MonitorEvent) {
				if err := tell(t.Interface(), e); err != nil && failed == nil {
					failed = err
					cancel(err)
				}
			}})
			if failed != nil {
				return failed
			}
			return err
		})
	}
	return g.Wait()
}

// with calls f with the Monitor of interface i while it listens; it reports false
// when ctx has ended first.
func (l *igmpListening) with(ctx context.Context, i int, f func(m *igmp.Monitor)) bool {
	done := make(chan struct{})
	select {
	case l.calls[i] <- func(now time.Time) {
		defer close(done)
		l.monitors[i].HandleTimeout(now)
		f(l.monitors[i])
	}:
	case <-ctx.Done():
		return false
	}
	<-done
	return true
}
