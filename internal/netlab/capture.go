package netlab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// observers hear of every frame a host sends. The list is replaced, never
// changed, so that frames need no lock when nobody listens.
type observers struct {
	list    atomic.Pointer[[]*observer]
	changes sync.Mutex
	files   []*Capture
}

type observer struct {
	see func(at time.Time, in *Port, frame []byte)
}

func (o *observers) add(see func(time.Time, *Port, []byte)) (remove func()) {
	ob := &observer{see}
	o.replace(func(l []*observer) []*observer { return append(l, ob) })
	return func() {
		o.replace(func(l []*observer) []*observer {
			return slices.DeleteFunc(l, func(x *observer) bool { return x == ob })
		})
	}
}

func (o *observers) replace(f func([]*observer) []*observer) {
	o.changes.Lock()
	defer o.changes.Unlock()
	var l []*observer
	if old := o.list.Load(); old != nil {
		l = slices.Clone(*old)
	}
	l = f(l)
	o.list.Store(&l)
}

// close ends all captures.
func (o *observers) close() error {
	var errs []error
	for _, c := range o.files {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// observe shows a frame that a host has sent to whoever listens.
func (s *Switch) observe(in *Port, b []byte) {
	l := s.observers.list.Load()
	if l == nil || len(*l) == 0 {
		return
	}
	now := time.Now()
	for _, o := range *l {
		o.see(now, in, b)
	}
}

// Observe calls see with every frame that a host sends, before any fault strikes
// it, until stop is called. Calls come from several goroutines at once, one a
// port; frame is valid only during the call, and a slow see slows the network.
func (s *Switch) Observe(see func(at time.Time, in *Port, frame []byte)) (stop func()) {
	return s.observers.add(see)
}

// Capture is a pcap file that is being written.
type Capture struct {
	mu     sync.Mutex
	file   *os.File
	buf    *bufio.Writer
	pcap   *pcapgo.Writer
	stop   func()
	err    error // the first that occurred
	closed bool
}

// Capture writes every frame that a host sends from now on to a new pcap file at
// path, with times in nanoseconds, until Close or the end of the test. It shows
// what was sent, also of what faults and partitions keep from arriving.
func (s *Switch) Capture(path string) *Capture {
	s.lab.t.Helper()
	c, err := newCapture(path)
	if err != nil {
		s.lab.fail("capture: %w", err)
	}
	c.stop = s.observers.add(func(at time.Time, _ *Port, b []byte) { c.write(at, b) })
	s.observers.changes.Lock()
	defer s.observers.changes.Unlock()
	s.observers.files = append(s.observers.files, c)
	return c
}

func newCapture(path string) (*Capture, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	c := &Capture{file: f, buf: bufio.NewWriter(f), stop: func() {}}
	c.pcap = pcapgo.NewWriterNanos(c.buf)
	c.err = c.pcap.WriteFileHeader(65535, layers.LinkTypeEthernet)
	return c, nil
}

func (c *Capture) write(at time.Time, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.closed {
		return
	}
	c.err = c.pcap.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b), Length: len(b)}, b)
}

// Close ends the capture; the file is complete when it returns. It may be called
// more than once and returns the first error of the whole capture.
func (c *Capture) Close() error {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.err
	}
	c.closed = true
	if err := errors.Join(c.err, c.buf.Flush(), c.file.Close()); err != nil {
		c.err = fmt.Errorf("capture %s: %w", c.file.Name(), err)
	}
	return c.err
}
