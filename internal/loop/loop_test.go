package loop_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/internal/loop"
)

// echo is an engine: it answers every packet a second later, reports it, and
// says goodbye twice, a second apart, when it is stopped.
type echo struct {
	due   []time.Time
	words []string
	out   []string
	ev    []string
}

func (e *echo) HandlePacket(now time.Time, p string) {
	e.say(now.Add(time.Second), "re: "+p)
	e.ev = append(e.ev, "got "+p)
}

func (e *echo) say(at time.Time, s string) { e.due, e.words = append(e.due, at), append(e.words, s) }

func (e *echo) HandleTimeout(now time.Time) {
	for len(e.due) > 0 && !e.due[0].After(now) {
		e.out = append(e.out, e.words[0])
		e.due, e.words = e.due[1:], e.words[1:]
	}
}

func (e *echo) NextTimeout() (time.Time, bool) {
	if len(e.due) == 0 {
		return time.Time{}, false
	}
	return e.due[0], true
}

func (e *echo) Outgoing() []string { o := e.out; e.out = nil; return o }
func (e *echo) Events() []string   { o := e.ev; e.ev = nil; return o }

func (e *echo) stop(now time.Time) {
	e.due, e.words = nil, nil
	e.out = append(e.out, "bye")
	e.say(now.Add(time.Second), "bye again")
}

// wire is a Conn on two channels.
type wire struct {
	in     chan string
	closed chan struct{}
	sent   []string
	at     []time.Duration
	start  time.Time
	fail   error
}

func newWire() *wire {
	return &wire{in: make(chan string), closed: make(chan struct{}), start: time.Now()}
}

func (w *wire) ReadPacket() (string, error) {
	select {
	case p := <-w.in:
		return p, nil
	case <-w.closed:
		return "", net.ErrClosed
	}
}

func (w *wire) WritePacket(p string) error {
	if w.fail != nil {
		return w.fail
	}
	w.sent, w.at = append(w.sent, p), append(w.at, time.Since(w.start))
	return nil
}

func (w *wire) Close() error {
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
	return nil
}

func TestRun_DrivesAnEngineAndSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := newWire(), new(echo)
		ctx, cancel := context.WithCancel(t.Context())
		var heard []string
		do := make(chan func(time.Time))
		ended := make(chan struct{})
		var err error
		go func() {
			defer close(ended)
			err = loop.Run(ctx, e, w, loop.Config[string, string]{
				Do: do, Event: func(s string) { heard = append(heard, s) }, Stop: e.stop, Grace: 2 * time.Second,
			})
		}()
		w.in <- "a"
		synctest.Wait() // the reader hands it on in a goroutine of its own
		if err := loop.Call(ctx, do, ended, func(now time.Time) { e.say(now.Add(3*time.Second), "called") }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		cancel()
		<-ended
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		if want := []string{"re: a", "called", "bye", "bye again"}; !slices.Equal(w.sent, want) {
			t.Errorf("sent %q, want %q", w.sent, want)
		}
		if want := []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, 11 * time.Second}; !slices.Equal(w.at, want) {
			t.Errorf("sent at %v, want %v", w.at, want)
		}
		if !slices.Equal(heard, []string{"got a"}) {
			t.Errorf("heard %q", heard)
		}
		if err := loop.Call(t.Context(), do, ended, func(time.Time) {}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Call after the end = %v", err)
		}
	})
}

func TestRun_GraceIsABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := newWire(), new(echo)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = loop.Run(ctx, e, w, loop.Config[string, string]{Stop: e.stop, Grace: time.Second / 2})
		if !slices.Equal(w.sent, []string{"bye"}) {
			t.Errorf("sent %q, want the first goodbye only", w.sent)
		}
	})
}

func TestRun_EndsWithTheConnsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.Close()
		if err := loop.Run(t.Context(), new(echo), w, loop.Config[string, string]{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read error: Run = %v", err)
		}
		broken := errors.New("broken")
		w, e := newWire(), new(echo)
		w.fail = broken
		e.say(time.Now().Add(time.Second), "x")
		if err := loop.Run(t.Context(), e, w, loop.Config[string, string]{}); !errors.Is(err, broken) {
			t.Errorf("write error: Run = %v", err)
		}
		w, e = newWire(), new(echo)
		w.fail = broken
		e.say(time.Now().Add(time.Second), "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		seen := 0
		err := loop.Run(ctx, e, w, loop.Config[string, string]{WriteError: func(string, error) error { seen++; return nil }})
		if !errors.Is(err, context.DeadlineExceeded) || seen != 1 {
			t.Errorf("forgiven write error: Run = %v after %d", err, seen)
		}
	})
}
