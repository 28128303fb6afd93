package bulk

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/multicast/seal"
)

// ReceiveConfig says where to receive files from and to. Its zero value lacks a
// group and an interface.
type ReceiveConfig struct {
	// Interface is the name of the interface to listen on.
	Interface string
	// Group is the group and port to listen to.
	Group netip.AddrPort
	// Dir is where files are put. "" is the current directory.
	Dir string
	// Count is how many files to receive. Zero means 1, less goes on until ctx ends.
	Count int
	// Force replaces files of the same name.
	Force bool
	// Name of this machine, shown by the sender. "" is the host's.
	Name string
	// Secret, Key, Window and Silence are those of [ReceiverConfig].
	Secret  *seal.Secret
	Key     ed25519.PublicKey
	Window  uint32
	Silence time.Duration
	// Event hears what happens, on a goroutine that receives meanwhile; it must not
	// block. Nil drops it.
	Event func(Event)
	// Received hears of each file as soon as it is there, or failed.
	Received func(Received)
	// Logger hears details. Nil is silent.
	Logger *slog.Logger
}

// Received is one file, or one that was offered and could not be had.
type Received struct {
	Object Object
	// Path of the file, below Dir.
	Path string
	// From is the sender, Key what it signs with.
	From     netip.AddrPort
	Key      [ed25519.PublicKeySize]byte
	Sealed   bool
	Duration time.Duration
	// Resumed bytes were there already, from an earlier run; Pulled came by TCP.
	Resumed, Pulled uint64
	Err             error
}

// Receive receives files until cfg.Count were tried or ctx ends, and returns what
// became of each. What is unfinished when it ends stays beside its state, and the
// next call goes on with it; a file that failed for want of space is removed. The
// error is the first of a file, or that of a socket or of ctx.
func Receive(ctx context.Context, cfg ReceiveConfig) ([]Received, error) {
	g, err := newGetter(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("bulk: receive: %w", err)
	}
	return g.run(ctx)
}

// getter drives a Receiver. What touches the engine runs on the goroutine of its
// loop; files are opened, finished and fetched by goroutines that call back.
type getter struct {
	cfg    ReceiveConfig
	engine *Receiver
	c      *conn
	root   *os.Root
	shelf  *shelf
	server *pullServer
	do     chan func(time.Time)
	ended  chan struct{}
	ctx    context.Context // ends when the loop is to end
	stop   context.CancelCauseFunc
	wg     sync.WaitGroup
	task   getting
	list   []Received
}

// getting is the file in progress.
type getting struct {
	offer   Offer
	file    *partial
	began   time.Time
	pulling context.CancelFunc
	noted   bool // the result is in the list
	pulled  uint64
}

// errEnough ends the loop.
var errEnough = errors.New("enough files")

func newGetter(ctx context.Context, cfg ReceiveConfig) (g *getter, err error) {
	if cfg.Dir == "" {
		cfg.Dir = "."
	}
	if cfg.Count == 0 {
		cfg.Count = 1
	}
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname() // the sender shows the address of who has no name
	}
	g = &getter{cfg: cfg, shelf: new(shelf), do: make(chan func(time.Time)), ended: make(chan struct{})}
	if g.root, err = os.OpenRoot(cfg.Dir); err != nil {
		return nil, err
	}
	if g.c, err = dial(ctx, cfg.Interface, cfg.Group, 0, true); err != nil {
		return nil, errors.Join(err, g.root.Close())
	}
	if g.server, err = listenPull(ctx, g.c.addr, g.c.zone, cfg.Secret, rand.Reader, g.shelf); err != nil {
		return nil, errors.Join(err, g.c.Close(), g.root.Close())
	}
	var seed [16]byte
	if _, err = rand.Read(seed[:]); err == nil {
		g.engine, err = NewReceiver(ReceiverConfig{
			Name: cfg.Name, Pull: g.server.port(), Secret: cfg.Secret, Key: cfg.Key, Window: cfg.Window, Silence: cfg.Silence,
			Rand:   mathrand.New(mathrand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:]))),
			Random: rand.Reader,
		})
	}
	if err != nil {
		g.server.close()
		return nil, errors.Join(err, g.c.Close(), g.root.Close())
	}
	return g, nil
}

func (g *getter) run(ctx context.Context) ([]Received, error) {
	g.ctx, g.stop = context.WithCancelCause(ctx)
	g.event(Listening{Sealed: g.cfg.Secret != nil})
	err := loop.Run(g.ctx, g.engine, g.c, loop.Config[Packet, Event]{Do: g.do, Event: g.event})
	close(g.ended)
	g.stop(nil)
	g.wg.Wait()
	g.server.close()
	if g.task.file != nil {
		err = errors.Join(err, g.task.file.close())
	}
	err = errors.Join(err, g.root.Close())
	if errors.Is(err, errEnough) {
		err = nil
		for _, r := range g.list {
			if err == nil && r.Err != nil {
				err = r.Err
			}
		}
	}
	return g.list, err
}

// call runs f on the loop's goroutine.
func (g *getter) call(f func(now time.Time)) { _ = loop.Call(g.ctx, g.do, g.ended, f) }

// event answers the engine. It runs on the loop's goroutine, and must not call the
// engine: what the engine then had to say would wait for the next packet.
func (g *getter) event(e Event) {
	if g.cfg.Logger != nil {
		g.cfg.Logger.Debug("bulk", "event", fmt.Sprintf("%T%+v", e, e))
	}
	switch e := e.(type) {
	case Offered:
		g.offered(e)
	case SectionDone:
		if g.task.file != nil {
			if err := g.task.file.note(e); err != nil && g.cfg.Logger != nil {
				g.cfg.Logger.Warn("the state of the unfinished file cannot be kept", "err", err)
			}
		}
	case PullWanted:
		g.startPulling()
	case Complete:
		g.complete()
	case Delivered:
		g.noteResult(nil)
	case Left:
		g.left(e)
	}
	if g.cfg.Event != nil {
		g.cfg.Event(e)
	}
}

func (g *getter) offered(e Offered) {
	if e.Again {
		g.task.offer = e.Offer
		g.stopPulling()
		return
	}
	if g.task.file != nil {
		_ = g.task.file.close() // it was read only to give sections away
	}
	g.task = getting{offer: e.Offer, began: time.Now()}
	g.wg.Go(func() {
		file, err := openPartial(g.root, e.Offer.Object, g.cfg.Force)
		taken := false
		g.call(func(now time.Time) {
			if g.task.offer.Session != e.Offer.Session {
				return // the sender is gone already
			}
			if err != nil {
				g.engine.Refuse(now, err)
				return
			}
			if g.engine.Accept(now, file, file.have()) == nil {
				taken = true
				g.task.file = file
				g.shelf.show(&file.object, file.piece)
			}
		})
		if !taken && file != nil {
			_ = file.close()
		}
	})
}

func (g *getter) complete() {
	g.stopPulling()
	file := g.task.file
	if file == nil {
		return
	}
	g.wg.Go(func() {
		err := file.complete()
		g.call(func(now time.Time) { g.engine.Finish(now, err) })
	})
}

// noteResult keeps what became of the file in progress.
func (g *getter) noteResult(err error) {
	t := &g.task
	if t.noted {
		return
	}
	t.noted = true
	o := t.offer.Object
	r := Received{
		Object: o, Path: filepath.Join(g.cfg.Dir, o.Name), From: t.offer.From, Key: t.offer.Key, Sealed: g.cfg.Secret != nil,
		Duration: time.Since(t.began), Pulled: t.pulled, Err: err,
	}
	if t.file != nil {
		r.Resumed = uint64(min(o.Size, int64(t.file.resumed)*int64(o.SectionSize())))
	}
	g.list = append(g.list, r)
	if g.cfg.Received != nil {
		g.cfg.Received(r)
	}
}

// left ends the file in progress. A sender that went away is waited for: it may come
// back and go on.
func (g *getter) left(e Left) {
	g.stopPulling()
	t := &g.task
	gone := errors.Is(e.Err, ErrSilent) || errors.Is(e.Err, ErrClosed)
	if e.Err != nil && t.file != nil {
		g.shelf.show(nil, nil)
		if !gone {
			t.file.discard()
		}
		_ = t.file.close()
		t.file = nil
	}
	if gone && errors.Is(e.Err, ErrSilent) {
		return
	}
	g.noteResult(e.Err)
	if g.cfg.Count > 0 && len(g.list) >= g.cfg.Count {
		g.stop(errEnough)
	}
}

func (g *getter) stopPulling() {
	if g.task.pulling != nil {
		g.task.pulling()
		g.task.pulling = nil
	}
}

// startPulling fetches by TCP what the engine wants, until it is told to stop.
func (g *getter) startPulling() {
	g.stopPulling()
	ctx, cancel := context.WithCancel(g.ctx)
	g.task.pulling = cancel
	root := g.task.offer.Root
	g.wg.Go(func() {
		defer cancel()
		p, err := newPuller(root, g.cfg.Secret, rand.Reader, g.c)
		if err != nil {
			return // no randomness: nothing works any more
		}
		defer p.close()
		for ctx.Err() == nil {
			if !g.pullOne(ctx, p) {
				pause(ctx, 200*time.Millisecond)
			}
		}
	})
}

// pullOne fetches a section and reports whether it got one.
func (g *getter) pullOne(ctx context.Context, p *puller) bool {
	var w Want
	var ok bool
	g.call(func(time.Time) { w, ok = g.engine.Want() })
	if !ok {
		return false
	}
	piece, source, err := p.fetch(ctx, &w)
	g.call(func(now time.Time) {
		if err != nil || ctx.Err() != nil {
			g.engine.NotPulled(w.Section)
			return
		}
		g.task.pulled += uint64(len(piece.Content))
		err = g.engine.Pulled(now, piece)
	})
	if errors.Is(err, ErrLied) {
		p.drop(source, time.Hour)
	}
	return err == nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
