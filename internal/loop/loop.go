// Package loop drives a protocol engine on a connection.
//
// An engine is a value that eats packets and instants and gives back packets
// and events; it has no goroutine, clock or socket. [Run] gives it all three
// until its context ends, and leaves nothing behind:
//
//	          ┌────────────── Run ──────────────┐
//	ReadPacket ─► HandlePacket ─┐                │
//	time.Timer ─► HandleTimeout ├─► Outgoing ─► WritePacket
//	Config.Do  ─► func(now)    ─┘   Events   ─► Config.Event
//
// Everything that touches the engine runs on the goroutine that called Run, so
// engines need no locks. In tests the same Run turns over a simulated network
// in a testing/synctest bubble, where an hour passes in a millisecond.
package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Engine is a protocol as a value: P is what it receives and sends, E what its
// user hears about.
type Engine[P, E any] interface {
	// HandlePacket takes one received packet.
	HandlePacket(now time.Time, p P)
	// HandleTimeout does the work that is due at now.
	HandleTimeout(now time.Time)
	// NextTimeout reports when HandleTimeout must next be called.
	NextTimeout() (t time.Time, ok bool)
	// Outgoing returns the packets to send and forgets them.
	Outgoing() []P
	// Events returns what the user should hear and forgets it.
	Events() []E
}

// Conn is what packets travel on: a socket, or the end of a simulated wire.
type Conn[P any] interface {
	// ReadPacket waits for the next packet. After Close it returns an error
	// that wraps net.ErrClosed. The packet is the caller's to keep.
	ReadPacket() (P, error)
	// WritePacket sends p.
	WritePacket(p P) error
	// Close wakes a waiting ReadPacket. It may be called more than once.
	Close() error
}

// Config says what Run does beside turning the engine. Its zero value is a loop
// that drops events, takes no calls and stops at once.
type Config[P, E any] struct {
	// Do carries calls to be made on the loop's goroutine, between inputs. Nil
	// means none. See [Call].
	Do <-chan func(now time.Time)
	// Event hears each event, on the loop's goroutine; it must not block. Nil
	// means that events are dropped.
	Event func(E)
	// Stop is called once when the context has ended, so that the engine can
	// queue its goodbyes. Nil means there is nothing to say.
	Stop func(now time.Time)
	// Grace bounds how long the loop goes on after Stop for timeouts that the
	// engine still asks for. Zero means that only what Stop queued is sent.
	Grace time.Duration
	// WriteError decides about a packet that could not be sent: nil goes on,
	// an error ends Run with it. A nil func ends Run with the error itself.
	WriteError func(p P, err error) error
}

// Run drives e on c until ctx is done, then says goodbye as cfg tells, closes c
// and waits for the goroutine that it started. It returns the cause of ctx's
// end, or the first error of c.
func Run[P, E any](ctx context.Context, e Engine[P, E], c Conn[P], cfg Config[P, E]) error {
	in := make(chan P)
	quit := make(chan struct{})
	var readErr error // written before in is closed
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(in)
		for {
			p, err := c.ReadPacket()
			if err != nil {
				readErr = err
				return
			}
			select {
			case in <- p:
			case <-quit:
				return
			}
		}
	})
	defer wg.Wait()
	defer c.Close()
	defer close(quit)

	r := runner[P, E]{e: e, c: c, cfg: cfg}
	if err := r.turn(ctx.Done(), in); err != nil {
		if errors.Is(err, errReadEnded) {
			return fmt.Errorf("loop: read: %w", readErr)
		}
		return err
	}
	if err := r.goodbye(in); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// errReadEnded says that the reading goroutine met an error.
var errReadEnded = errors.New("loop: read ended")

type runner[P, E any] struct {
	e   Engine[P, E]
	c   Conn[P]
	cfg Config[P, E]
}

// turn serves inputs until done is closed (nil) or something fails.
func (r *runner[P, E]) turn(done <-chan struct{}, in <-chan P) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := r.drain(); err != nil {
			return err
		}
		var due <-chan time.Time
		if t, ok := r.e.NextTimeout(); ok {
			timer.Reset(time.Until(t))
			due = timer.C
		}
		select {
		case <-done:
			return nil
		case p, ok := <-in:
			if !ok {
				return errReadEnded
			}
			r.e.HandlePacket(time.Now(), p)
		case f := <-r.cfg.Do:
			f(time.Now())
		case <-due:
			r.e.HandleTimeout(time.Now())
		}
	}
}

// goodbye lets the engine speak its last words for at most the grace.
func (r *runner[P, E]) goodbye(in <-chan P) error {
	if r.cfg.Stop == nil {
		return nil
	}
	r.cfg.Stop(time.Now())
	if err := r.drain(); err != nil {
		return err
	}
	end := time.Now().Add(r.cfg.Grace)
	for {
		t, ok := r.e.NextTimeout()
		if !ok || t.After(end) {
			return nil
		}
		select {
		case p, ok := <-in:
			if !ok {
				return nil
			}
			r.e.HandlePacket(time.Now(), p)
		case <-time.After(time.Until(t)):
			r.e.HandleTimeout(time.Now())
		}
		if err := r.drain(); err != nil {
			return err
		}
	}
}

// drain hands out what the engine has to say.
func (r *runner[P, E]) drain() error {
	for _, p := range r.e.Outgoing() {
		err := r.c.WritePacket(p)
		if err != nil && r.cfg.WriteError != nil {
			err = r.cfg.WriteError(p, err)
		}
		if err != nil {
			return fmt.Errorf("loop: write: %w", err)
		}
	}
	for _, ev := range r.e.Events() {
		if r.cfg.Event != nil {
			r.cfg.Event(ev)
		}
	}
	return nil
}

// Call runs f on the goroutine of the loop that reads do, and returns when f has
// returned. It fails with ctx's error, or with net.ErrClosed once ended is
// closed: the owner of the loop closes it after Run has returned.
func Call(ctx context.Context, do chan<- func(time.Time), ended <-chan struct{}, f func(now time.Time)) error {
	done := make(chan struct{})
	select {
	case do <- func(now time.Time) { defer close(done); f(now) }:
	case <-ended:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-done
	return nil
}
