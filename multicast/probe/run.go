package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/multicast"
)

// DefaultReadBuffer is the receive buffer in bytes that [Receive] asks for when the
// Config names none: room for 0.8 s of 100,000 small datagrams a second.
const DefaultReadBuffer = 32 << 20

// errFinished ends a loop whose engine has done all.
var errFinished = errors.New("probe: finished")

// ReceiveConfig says what [Receive] listens to.
type ReceiveConfig struct {
	// Conns are what to listen to, one for each family and interface.
	Conns []multicast.Config
	// Receiver says how to count. Its Groups is set from Conns.
	Receiver ReceiverConfig
	// Ready is called when all groups are joined. Nil is not called.
	Ready func()
	// Event hears what happens, some events at a time. It must not block for longer
	// than the receive buffers hold. Nil drops.
	Event func([]Event)
}

// Result is what [Receive] measured.
type Result struct {
	Reports []Report
	Totals  Totals
	// Socket has the counts of the sockets, those of several added up. KernelDrops is
	// loss at this machine, which the reports count as lost too.
	Socket multicast.Stats
}

// Receive counts what comes to groups until ctx ends, which is no error, or the
// Receiver's Count is reached.
func Receive(ctx context.Context, cfg ReceiveConfig) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := gather{arrived: make(chan *batch), quit: make(chan struct{}), free: make(chan *batch, 4)}
	cfg.Receiver.Groups = 0
	for _, c := range cfg.Conns {
		if c.ReadBuffer == 0 {
			c.ReadBuffer = DefaultReadBuffer
		}
		conn, err := multicast.Listen(ctx, c)
		if err != nil {
			_ = in.Close()
			return Result{}, fmt.Errorf("probe: receive: %w", err)
		}
		in.conns = append(in.conns, conn)
		cfg.Receiver.Groups += 1 + len(c.More)
	}
	if len(in.conns) == 0 {
		return Result{}, errors.New("probe: receive: nothing to listen to")
	}
	r := NewReceiver(cfg.Receiver, time.Now())
	in.start()
	if cfg.Ready != nil {
		cfg.Ready()
	}
	e := &batched{Receiver: r, free: in.free}
	err := loop.Run(ctx, e, &in, loop.Config[*batch, []Event]{
		Stop: e.stop, Grace: lastReads,
		Event: func(events []Event) {
			if cfg.Event != nil {
				cfg.Event(events)
			}
			if events[len(events)-1].Kind == Finished {
				cancel(errFinished)
			}
		},
	})
	result := Result{Reports: r.Reports(), Totals: r.Totals(), Socket: in.stats()}
	if ctx.Err() == nil {
		return result, fmt.Errorf("probe: receive: %w", err)
	}
	return result, nil
}

// batch is some datagrams that were read at once.
type batch struct {
	ds []multicast.Datagram
	n  int
	to uint16 // the port of the groups
}

// What waits in the kernel when ctx ends is still read: until a datagram comes that
// arrived later, until none comes for lastRead, or for lastReads in all.
const (
	lastRead  = 20 * time.Millisecond
	lastReads = 2 * time.Second
)

// batched makes an engine of a Receiver that takes batches: a goroutine need not be
// woken for each datagram.
type batched struct {
	*Receiver
	free    chan *batch
	stopped time.Time // zero: it goes on
	until   time.Time // when stopped, unless more comes
}

func (e *batched) HandlePacket(now time.Time, b *batch) {
	for i := range b.ds[:b.n] {
		d := &b.ds[i]
		if !e.stopped.IsZero() && d.Received.After(e.stopped) {
			e.until = time.Time{}
			break
		}
		e.Receiver.HandlePacket(now, packetOf(d, b.to))
	}
	if !e.until.IsZero() {
		e.until = now.Add(lastRead)
	}
	select {
	case e.free <- b:
	default:
	}
}

// stop begins to read the last.
func (e *batched) stop(now time.Time) {
	if e.stopped = now; !e.done {
		e.until = now.Add(lastRead)
	}
}

func (e *batched) HandleTimeout(time.Time) { e.until = time.Time{} }

func (e *batched) NextTimeout() (time.Time, bool) { return e.until, !e.until.IsZero() }

func (e *batched) Outgoing() []*batch { return nil }

func (e *batched) Events() [][]Event {
	if ev := e.Receiver.Events(); len(ev) > 0 {
		return [][]Event{ev}
	}
	return nil
}

// gather is several multicast connections as one for the loop.
type gather struct {
	conns   []*multicast.Conn
	arrived chan *batch
	free    chan *batch // to be used again
	quit    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
	pace    pace // of the only connection
}

// start starts a reader for each connection, when there are several.
func (g *gather) start() {
	if len(g.conns) == 1 {
		return
	}
	for _, c := range g.conns {
		g.wg.Go(func() {
			var p pace
			for {
				b, err := g.read(c, &p)
				if err != nil {
					return
				}
				select {
				case g.arrived <- b:
				case <-g.quit:
					return
				}
			}
		})
	}
}

// read reads what has come by c, at a pace.
func (g *gather) read(c *multicast.Conn, p *pace) (b *batch, err error) {
	p.pause(time.Now(), p.last)
	select {
	case b = <-g.free:
	default:
		b = &batch{ds: make([]multicast.Datagram, 64)}
	}
	b.to = c.Group().Port()
	b.n, err = c.ReadBatch(b.ds)
	p.last = b.n
	return b, err
}

// pace makes a reader wait a little for more datagrams when many come: waking up for
// each costs more than reading it. The kernel notes when each arrived.
type pace struct {
	since time.Time
	n     int
	last  int // of the last batch
	busy  bool
}

// The rate is looked at every paceWindow. From paceRate datagrams a second on, a reader
// that found few waits for pacePause, in which not many more than a hundred come.
const (
	paceWindow = 10 * time.Millisecond
	paceRate   = 20_000
	paceFew    = 32
	pacePause  = time.Millisecond
)

// pause waits if that is worth while, after n datagrams were read at now.
func (p *pace) pause(now time.Time, n int) {
	p.n += n
	if d := now.Sub(p.since); d >= paceWindow {
		p.busy, p.since, p.n = float64(p.n) >= paceRate*d.Seconds(), now, 0
	}
	if p.busy && n < paceFew {
		time.Sleep(pacePause)
	}
}

func (g *gather) ReadPacket() (*batch, error) {
	if len(g.conns) == 1 {
		return g.read(g.conns[0], &g.pace)
	}
	select {
	case b := <-g.arrived:
		return b, nil
	case <-g.quit:
		return nil, net.ErrClosed
	}
}

func (g *gather) WritePacket(*batch) error { return errors.ErrUnsupported }

func (g *gather) Close() error {
	g.once.Do(func() {
		close(g.quit)
		for _, c := range g.conns {
			_ = c.Close()
		}
	})
	g.wg.Wait()
	return nil
}

// stats adds up what the connections counted.
func (g *gather) stats() (all multicast.Stats) {
	for _, c := range g.conns {
		s := c.Stats()
		all.Foreign += s.Foreign
		all.Overrun += s.Overrun
		all.KernelDrops += s.KernelDrops
		all.ReadBuffer += s.ReadBuffer
		all.Backoffs += s.Backoffs
	}
	return all
}

// newID draws a sender's identity.
func newID() uint64 { return rand.Uint64() & bits48 }
