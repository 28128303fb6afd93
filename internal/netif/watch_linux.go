package netif

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
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

// news is what one reading of the kernel's notifications says.
type news struct {
	carriers []carrierNews // in the order they were sent
	err      error         // the reader has ended
}

type carrierNews struct {
	index int
	up    bool
}

// watch opens both sockets here, on the caller's thread, so that both are in
// its namespace whatever thread serves them later.
func watch(ctx context.Context, heard func(Event)) error {
	sub, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		sub.Close()
		return err
	}
	defer h.Close()
	from := make(chan news)
	ctx, stop := context.WithCancel(ctx)
	go read(ctx, sub, from)
	defer func() { // the reader is gone when watch returns
		stop()
		sub.Close()
		for range from {
		}
	}()
	w := watcher{heard: heard, list: func() ([]Interface, error) { return listOn(h) }}
	return w.run(ctx, from)
}

// read hands over what the kernel tells until sub is closed, then closes out.
// ENOBUFS says that notifications were lost: news without content, which makes
// the watcher list everything again.
func read(ctx context.Context, sub *nl.NetlinkSocket, out chan<- news) {
	defer close(out)
	for {
		msgs, from, err := sub.Receive()
		var n news
		switch {
		case err == unix.ENOBUFS || err == unix.EINTR:
		case err != nil:
			n.err = err
		case from.Pid != nl.PidKernel:
			continue
		default:
			n.carriers = carriersIn(msgs)
		}
		select {
		case out <- n:
		case <-ctx.Done():
			return
		}
		if n.err != nil {
			return
		}
	}
}

// carriersIn returns the carrier states in link messages. Messages of other
// families (a bridge port, say) and short ones say nothing about the link; all
// else a message holds is read from the next listing, because some drivers send
// messages with most attributes left out.
func carriersIn(msgs []syscall.NetlinkMessage) []carrierNews {
	var found []carrierNews
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		link := nl.DeserializeIfInfomsg(m.Data)
		if link.Family == unix.AF_UNSPEC {
			found = append(found, carrierNews{int(link.Index), hasCarrier(link.Flags)})
		}
	}
	return found
}

type watcher struct {
	heard func(Event)
	list  func() ([]Interface, error)
	table table
}

func (w *watcher) run(ctx context.Context, from <-chan news) error {
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
		case n, open := <-from:
			if !open || n.err != nil {
				return fmt.Errorf("receive: %w", n.err)
			}
			for _, c := range n.carriers {
				w.tell(w.table.carrier(c.index, c.up))
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
			w.tell(w.table.update(list))
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

func (w *watcher) tell(events []Event) {
	for _, e := range events {
		w.heard(e)
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
