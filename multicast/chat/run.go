package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/multicast"
)

const (
	// goodbyeGrace bounds how long a Conversation that ends goes on sending.
	goodbyeGrace = 250 * time.Millisecond
	// eventQueue bounds the events that wait to be read.
	eventQueue = 8192
)

// What all rooms share, unless Config.Group says otherwise: the port, and the name
// that multicast.Pick gives their group for.
const (
	groupName = "aether chat"
	groupPort = 20239
)

// Group returns the group and port of all rooms: 239.255.174.118:20239 and
// [ff15::ae00:5868]:20239.
func Group(family multicast.Family) netip.AddrPort {
	return netip.AddrPortFrom(multicast.Pick(groupName, family), groupPort)
}

// ErrUnsettled says that not everybody present has what was said.
var ErrUnsettled = errors.New("not everybody has it")

// Config describes a [Conversation]. Its zero value is the open room "lobby" on all
// interfaces by IPv4.
type Config struct {
	// RoomConfig describes the room. Its Rand and Random may be nil: the system's
	// randomness.
	RoomConfig
	// Passphrase, when set, makes a sealed room: RoomConfig.Secret is made from it.
	Passphrase []byte
	// Interfaces are the names of those to use. None means all that are up, can
	// multicast and have an address, and the loopback interface while there is
	// none of those. A member on several of them joins their rooms into one.
	Interfaces []string
	// IPv6 says to use IPv6 instead of IPv4.
	IPv6 bool
	// Group is the group and port to use. The zero value means that of [Group].
	Group netip.AddrPort
	// HopLimit is how many routers a datagram may pass, plus one. Zero means 1.
	HopLimit int
	// Logger hears what goes wrong on single interfaces. Nil is silent.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Rand == nil {
		var seed [32]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return c, err
		}
		c.Rand = mathrand.New(mathrand.NewChaCha8(seed))
	}
	switch {
	case c.Group.IsValid():
		c.IPv6 = c.Group.Addr().Unmap().Is6()
	case c.IPv6:
		c.Group = Group(multicast.IPv6)
	default:
		c.Group = Group(multicast.IPv4)
	}
	if len(c.Passphrase) == 0 {
		return c, nil
	}
	room, err := c.RoomConfig.withDefaults()
	if err != nil {
		return c, err
	}
	secret, err := Secret(c.Passphrase, room.Room)
	c.Secret = &secret
	return c, err
}

// Conversation takes part in a room until it is closed. Its methods may be called
// from several goroutines.
type Conversation struct {
	room   *Room // on the loop's goroutine only
	cfg    Config
	self   MemberID
	wires  *wires // nil in tests
	do     chan func(time.Time)
	ended  chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup
	events *queue
	// settled are who waits in Flush, on the loop's goroutine.
	settled []chan struct{}
}

// Join enters the room that cfg describes and stays until ctx ends or
// [Conversation.Close]. It fails when something in cfg cannot be, or when an
// interface that cfg names is not there or cannot be used. It needs no privileges.
// Without any usable interface it waits for one to appear.
func Join(ctx context.Context, cfg Config) (*Conversation, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("chat: join: %w", err)
	}
	w := newWires(cfg.Group, cfg.HopLimit, cfg.Logger)
	f := &follower{cfg: cfg, wires: w}
	if err := f.start(ctx); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("chat: join: %w", err)
	}
	c, err := converse(ctx, cfg, w)
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	c.wires = w
	follow, stop := context.WithCancel(ctx)
	c.wg.Go(func() { <-c.ended; stop() })
	c.wg.Go(func() { f.follow(follow) })
	return c, nil
}

// converse runs a room on a connection.
func converse(ctx context.Context, cfg Config, conn loop.Conn[Packet]) (*Conversation, error) {
	room, err := NewRoom(time.Now(), cfg.RoomConfig)
	if err != nil {
		return nil, err
	}
	c := &Conversation{
		room: room, cfg: cfg, self: room.Self().ID, do: make(chan func(time.Time)), ended: make(chan struct{}), events: newQueue(eventQueue),
	}
	ctx, c.cancel = context.WithCancel(ctx)
	c.wg.Go(func() {
		defer c.events.close()
		defer close(c.ended)
		err := loop.Run(ctx, room, conn, loop.Config[Packet, Event]{Do: c.do, Event: c.heard, Stop: room.Leave, Grace: goodbyeGrace})
		if ctx.Err() == nil {
			cfg.Logger.Error("chat: ended", "error", err)
		}
		c.cancel()
	})
	return c, nil
}

// heard takes an event, on the loop's goroutine.
func (c *Conversation) heard(e Event) {
	if _, ok := e.(Settled); ok {
		for _, s := range c.settled {
			close(s)
		}
		c.settled = nil
		return
	}
	c.events.push(e)
}

// Next waits for the next event. After the end it returns an error that wraps
// [net.ErrClosed], when all events were read. Of more than 8,192 that wait the
// oldest are dropped.
func (c *Conversation) Next(ctx context.Context) (Event, error) { return c.events.next(ctx) }

// Events gives the events until the end of the Conversation or of ctx.
func (c *Conversation) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for e, err := c.Next(ctx); err == nil && yield(e); {
			e, err = c.Next(ctx)
		}
	}
}

// Missed returns how many events were dropped since nobody read them.
func (c *Conversation) Missed() uint64 { return c.events.missed() }

// Self returns this member's ID.
func (c *Conversation) Self() MemberID { return c.self }

// Sealed reports whether the room has a passphrase.
func (c *Conversation) Sealed() bool { return c.cfg.Secret != nil }

// Group returns the group and port in use.
func (c *Conversation) Group() netip.AddrPort { return c.cfg.Group }

// Interfaces returns the names of the interfaces in use now.
func (c *Conversation) Interfaces() (names []string) {
	if c.wires == nil {
		return nil
	}
	for _, index := range c.wires.indices() {
		if ifi, err := net.InterfaceByIndex(index); err == nil {
			names = append(names, ifi.Name)
		}
	}
	return names
}

// call runs f on the loop's goroutine.
func (c *Conversation) call(ctx context.Context, f func(now time.Time)) error {
	if err := loop.Call(ctx, c.do, c.ended, f); err != nil {
		return fmt.Errorf("chat: %w", err)
	}
	return nil
}

// Say says text to the room; it comes back as an event. It fails as [Room.Say] does,
// with ctx's error, or with [net.ErrClosed] after the end.
func (c *Conversation) Say(ctx context.Context, text string) error {
	return c.speak(ctx, func(now time.Time) error { return c.room.Say(now, text) })
}

// Act tells the room what this member does, and fails as [Conversation.Say] does.
func (c *Conversation) Act(ctx context.Context, text string) error {
	return c.speak(ctx, func(now time.Time) error { return c.room.Act(now, text) })
}

func (c *Conversation) speak(ctx context.Context, f func(time.Time) error) (err error) {
	if ended := c.call(ctx, func(now time.Time) { err = f(now) }); ended != nil {
		return ended
	}
	return err
}

// Members returns who is here, this member among them, by name.
func (c *Conversation) Members(ctx context.Context) (list []Member, err error) {
	err = c.call(ctx, func(time.Time) { list = c.room.Members() })
	return list, err
}

// Stats returns the counters.
func (c *Conversation) Stats(ctx context.Context) (s Stats, err error) {
	err = c.call(ctx, func(time.Time) { s = c.room.Stats() })
	return s, err
}

// Flush waits until everybody present has all that was said here; while nobody is
// present it waits for somebody, unless nothing was said. When ctx ends first it
// fails with [ErrUnsettled] and tells how many are waited for; zero means that
// nobody was there.
func (c *Conversation) Flush(ctx context.Context) (waiting int, err error) {
	settled := make(chan struct{})
	err = c.call(ctx, func(now time.Time) {
		c.settled = append(c.settled, settled)
		c.room.Flush(now)
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-settled:
		return 0, nil
	case <-c.ended:
		return 0, fmt.Errorf("chat: flush: %w", net.ErrClosed)
	case <-ctx.Done():
	}
	_ = c.call(context.WithoutCancel(ctx), func(time.Time) { waiting = c.room.Unsettled() })
	return waiting, fmt.Errorf("chat: flush: %w", ErrUnsettled)
}

// Close says goodbye, within a quarter of a second, and waits until nothing of the
// Conversation is left running. It may be called more than once.
func (c *Conversation) Close() error {
	c.cancel()
	c.wg.Wait()
	return nil
}

// queue hands events from the loop to the user. The loop never waits.
type queue struct {
	mu     sync.Mutex
	list   []Event
	limit  int
	lost   uint64
	wake   chan struct{}
	closed chan struct{}
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (q *queue) push(e Event) {
	q.mu.Lock()
	if len(q.list) >= q.limit {
		q.list = q.list[1:]
		q.lost++
	}
	q.list = append(q.list, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() { close(q.closed) }

func (q *queue) missed() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

func (q *queue) pop() (e Event, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return nil, false
	}
	e = q.list[0]
	q.list = q.list[1:]
	if len(q.list) > 0 { // somebody else may wait too
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return e, true
}

func (q *queue) next(ctx context.Context) (Event, error) {
	for {
		if e, ok := q.pop(); ok {
			return e, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-q.closed:
			if e, ok := q.pop(); ok {
				return e, nil
			}
			return nil, fmt.Errorf("chat: %w", net.ErrClosed)
		}
	}
}
