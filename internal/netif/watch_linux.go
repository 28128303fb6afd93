package netif

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// resumeLook is how often the clocks are compared, sleepFelt how long a
	// sleep must last to be reported.
	resumeLook = 2 * time.Second
	sleepFelt  = 2 * time.Second
	// retryList is the pause after a listing that failed.
	retryList = 100 * time.Millisecond
)

// watch opens both sockets here, on the caller's thread, so that both are in
// its namespace whatever thread serves them later.
func watch(ctx context.Context, heard func(Event)) error {
	sub, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	k, err := dial()
	if err != nil {
		sub.Close()
		return err
	}
	defer k.close()
	from := make(chan error)
	ctx, stop := context.WithCancel(ctx)
	go read(ctx, sub, from)
	defer func() { // the reader is gone when watch returns
		stop()
		sub.Close()
		for range from {
		}
	}()
	w := watcher{heard: heard, list: k.list}
	return w.run(ctx, from)
}

// read sends a nil for each word from the kernel until sub fails or is closed;
// the error comes last, then read closes out. What the kernel says is not
// looked at: some drivers send messages with most in them left out, and ENOBUFS
// says that messages were lost. The watcher asks for everything again.
func read(ctx context.Context, sub *nl.NetlinkSocket, out chan<- error) {
	defer close(out)
	for {
		_, from, err := sub.Receive()
		if err == unix.ENOBUFS || err == unix.EINTR {
			err = nil
		} else if err == nil && from.Pid != nl.PidKernel {
			continue
		}
		select {
		case out <- err:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

type watcher struct {
	heard func(Event)
	list  func() ([]state, error)
	table table
}

func (w *watcher) run(ctx context.Context, from <-chan error) error {
	if err := w.relist(ctx); err != nil {
		return err
	}
	look := time.NewTicker(resumeLook)
	defer look.Stop()
	slept := timeAsleep()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			now := timeAsleep()
			if now-slept >= sleepFelt {
				w.heard(Event{Kind: Resumed})
			}
			slept = now
		case err, open := <-from:
			if !open {
				return nil // ctx has ended
			}
			if err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			if err := w.relist(ctx); err != nil {
				return err
			}
		}
	}
}

// relist lists until it succeeds once or has failed for a second.
func (w *watcher) relist(ctx context.Context) error {
	for try := 1; ; try++ {
		list, err := w.list()
		if err == nil {
			for _, e := range w.table.update(list) {
				w.heard(e)
			}
			return nil
		}
		if try == 10 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryList):
		}
	}
}

// timeAsleep returns how long the machine has slept since it started:
// CLOCK_BOOTTIME counts sleep and CLOCK_MONOTONIC does not. Where a clock cannot
// be read it is zero and no sleep is ever seen.
func timeAsleep() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
