package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/internal/netlab"
)

// The benchmark here is of mcast recv on a cable between two interfaces of one host,
// beside a loop that only reads:
//
//	go test -run '^$' -bench Mcast -benchtime 1x ./cmd/aether

// speedRun is what came of one measurement.
type speedRun struct {
	sent, read, dropped int64
	took                time.Duration
	cpu                 time.Duration // of the reader
}

func (r speedRun) String() string {
	return fmt.Sprintf("sent %d, read %d, not read %d, dropped by mcast recv's socket %d, %.0f a second, %d ns of CPU a datagram",
		r.sent, r.read, r.sent-r.read, r.dropped, float64(r.sent)/r.took.Seconds(), r.cpu.Nanoseconds()/max(1, r.read))
}

// The load: ten senders of 64 bytes to each of 100 groups 100 times a second, which is
// 100,000 datagrams a second of 1,000 streams.
const (
	speedSenders = 10
	speedGroups  = 100
	speedCount   = 500
	speedRange   = "239.255.1.0+100"
	speedPort    = 1234
)

// BenchmarkMcast_Receive counts what mcast recv loses of 100,000 datagrams a second, and
// what a loop around recvmmsg(2) does, in turn.
func BenchmarkMcast_Receive(b *testing.B) {
	lab := netlab.New(b)
	h := lab.Host("a")
	bin := buildAether(b)
	err := h.Do(func() error {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "v0"})
		veth.PeerName = "v1"
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		peer, err := netlink.LinkByName("v1")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetUp(veth), netlink.LinkSetUp(peer))
	})
	if err != nil {
		b.Fatal(err)
	}
	h.AddAddr("v0", netip.MustParsePrefix("192.0.2.1/24"))
	h.AddAddr("v1", netip.MustParsePrefix("198.51.100.1/24"))
	for name, value := range map[string]string{
		"net.ipv4.conf.all.accept_local": "1", "net.ipv4.conf.v1.accept_local": "1", // both ends are of one machine
		"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.v1.rp_filter": "0",
		"net.ipv4.igmp_max_memberships": "200", // of the loop, which has one socket
	} {
		h.Sysctl(name, value)
	}
	var ours, bare speedRun
	for range b.N {
		for range 3 {
			ours = speedOfRecv(b, h, bin)
			b.Logf("mcast recv: %v", ours)
			bare = speedOfLoop(b, h, bin)
			b.Logf("bare loop:  %v", bare)
			// Where the loop fails too the machine was too busy to read at all.
			if ours.read != ours.sent && bare.read == bare.sent {
				b.Errorf("mcast recv read %d of %d, and its socket dropped %d", ours.read, ours.sent, ours.dropped)
			}
		}
	}
	b.ReportMetric(float64(ours.sent)/ours.took.Seconds(), "sent/s")
	b.ReportMetric(float64(ours.dropped), "dropped")
	b.ReportMetric(float64(ours.cpu)/float64(bare.cpu), "cpu/bare")
}

// speedSend runs the senders and returns how much they sent, and how long it took.
func speedSend(b *testing.B, h *netlab.Host, bin string) (sent int64, took time.Duration) {
	b.Helper()
	var senders []*netlab.Cmd
	var outs []*bytes.Buffer
	began := time.Now()
	for range speedSenders {
		c := h.Command(bin, "mcast", "send", "-i", "v0", "-q", "--json", "-f", "10", "-b", "64", "-c", fmt.Sprint(speedCount), speedRange)
		outs = append(outs, new(bytes.Buffer))
		c.Stdout = outs[len(outs)-1]
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		senders = append(senders, c)
	}
	for i, c := range senders {
		if err := c.Wait(); err != nil {
			b.Fatalf("%v: %s", err, outs[i])
		}
		var total struct{ Sent int64 }
		lines := bytes.Split(bytes.TrimSpace(outs[i].Bytes()), []byte("\n"))
		if err := json.Unmarshal(lines[len(lines)-1], &total); err != nil {
			b.Fatal(err)
		}
		sent += total.Sent
	}
	return sent, time.Since(began)
}

// speedOfRecv measures the command.
func speedOfRecv(b *testing.B, h *netlab.Host, bin string) (r speedRun) {
	b.Helper()
	c := h.Command(bin, "mcast", "recv", "-i", "v1", "-v", "-q", "--json", speedRange)
	var out bytes.Buffer
	c.Stdout = &out
	errs, err := c.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := errs.Read(make([]byte, 1)); err != nil { // the line that says that it listens
		b.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, errs) }()
	r.sent, r.took = speedSend(b, h, bin)
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		b.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		b.Fatal(err)
	}
	r.cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	lines := mcastLines(b, out.Bytes())
	total := lines[len(lines)-1]
	if n := len(ofEvent(lines, "summary")); n != speedSenders*speedGroups {
		b.Errorf("%d streams, want %d", n, speedSenders*speedGroups)
	}
	r.read, r.dropped = int64(total.Received), int64(total.KernelDrops)
	return r
}

// speedOfLoop measures one thread that does nothing but recvmmsg(2).
func speedOfLoop(b *testing.B, h *netlab.Host, bin string) (r speedRun) {
	b.Helper()
	ready, end, done := make(chan error, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- h.Do(func() error {
			fd, err := speedSocket()
			ready <- err
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			var before, after unix.Rusage
			if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
				return err
			}
			r.read = speedLoop(fd, end)
			err = unix.Getrusage(unix.RUSAGE_THREAD, &after)
			r.cpu = time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
			return err
		})
	}()
	if err := <-ready; err != nil {
		b.Fatal(err)
	}
	sent, took := speedSend(b, h, bin)
	close(end)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	r.sent, r.took = sent, took
	return r
}

// speedSocket returns a socket that has joined all groups on v1.
func speedSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	peer, err := netlink.LinkByName("v1")
	err = errors.Join(err,
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, &unix.SockaddrInet4{Port: speedPort}))
	for i := 0; i < speedGroups && err == nil; i++ {
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: [4]byte{239, 255, 1, byte(i)}, Ifindex: int32(peer.Attrs().Index)})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// speedLoop reads until nothing more comes after end, and counts datagrams of the
// streams themselves.
func speedLoop(fd int, end <-chan struct{}) (read int64) {
	type mmsghdr struct {
		hdr unix.Msghdr
		n   uint32
	}
	msgs, iovs, bufs := make([]mmsghdr, 64), make([]unix.Iovec, 64), make([][2048]byte, 64)
	for i := range msgs {
		iovs[i].Base = &bufs[i][0]
		iovs[i].SetLen(len(bufs[i]))
		msgs[i].hdr.Iov = &iovs[i]
		msgs[i].hdr.SetIovlen(1)
	}
	const waitForOne = 0x10000 // MSG_WAITFORONE
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), waitForOne, 0, 0)
		if errno == 0 {
			for i := range n {
				if bufs[i][5] == 1 { // else the end of a stream
					read++
				}
			}
			continue
		}
		select {
		case <-end:
			return read
		default:
		}
	}
}
