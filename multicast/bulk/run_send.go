package bulk

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/multicast/seal"
)

// SendConfig says where to send a file and how. Its zero value lacks a group and an
// interface.
type SendConfig struct {
	// Interface is the name of the interface to send on.
	Interface string
	// Group is the group and port that receivers listen to.
	Group netip.AddrPort
	// HopLimit is the TTL or hop limit. Zero means 1.
	HopLimit int
	// Name to offer the file by. "" is the file's own.
	Name string
	// Receivers, Wait, Evict, Patience, MinRate, MaxRate, Mode, Secret and Key are
	// those of [SenderConfig].
	Receivers             int
	Wait, Evict, Patience time.Duration
	MinRate, MaxRate      int64
	Mode                  Mode
	Secret                *seal.Secret
	Key                   ed25519.PrivateKey
	// Event hears what happens, on a goroutine that sends meanwhile; it must not
	// block. Nil drops it.
	Event func(Event)
	// Logger hears details. Nil is silent.
	Logger *slog.Logger
}

// Result is what became of a transfer.
type Result struct {
	Object    Object
	Receivers []Outcome
	Duration  time.Duration
	// Sent is what left this machine in bytes, headers of IP and UDP included, and
	// PullSent what was fetched from it by TCP, headers not included.
	Sent, PullSent uint64
	Stats          SenderStats
	// Unsendable packets were refused by the system.
	Unsendable uint64
}

// Ratio is bytes sent per byte of the object.
func (r *Result) Ratio() float64 {
	return float64(r.Sent+r.PullSent) / float64(max(1, r.Object.Size))
}

// ErrIncomplete says that not all receivers that were asked for have the object.
var ErrIncomplete = errors.New("not all receivers got it")

// Send sends the file at path to cfg.Receivers receivers of a group and returns when
// all have it or are given up. The result is also there when the error is
// [ErrIncomplete]. When ctx ends the receivers are told.
func Send(ctx context.Context, cfg SendConfig, path string) (Result, error) {
	block, err := blockFor(cfg.Interface, cfg.Group.Addr())
	if err != nil {
		return Result{}, fmt.Errorf("bulk: send: %w", err)
	}
	f, o, tree, err := describeFile(path, cfg.Name, block)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	c, err := dial(ctx, cfg.Interface, cfg.Group, cfg.HopLimit, false)
	if err != nil {
		return Result{}, fmt.Errorf("bulk: send: %w", err)
	}
	sh := new(shelf)
	sh.show(&o, func(section int, blocks [SectionBlocks / 8]byte) (Piece, bool, error) {
		p, err := cut(&o, f, section, blocks)
		p.Proof = tree.Proof(section)
		return p, err == nil, err
	})
	server, err := listenPull(ctx, c.addr, c.zone, cfg.Secret, rand.Reader, sh)
	if err != nil {
		return Result{}, errors.Join(err, c.Close())
	}
	defer server.close()
	began := time.Now()
	s, err := NewSender(began, SenderConfig{
		Object: o, Tree: tree, Content: f, Group: cfg.Group, From: c.local(), Pull: server.port(),
		Receivers: cfg.Receivers, Wait: cfg.Wait, Evict: cfg.Evict, Patience: cfg.Patience,
		MinRate: cfg.MinRate, MaxRate: cfg.MaxRate, Mode: cfg.Mode, Secret: cfg.Secret, Key: cfg.Key, Random: rand.Reader,
	})
	if err != nil {
		return Result{}, errors.Join(err, c.Close())
	}
	if cfg.Event != nil {
		cfg.Event(Offering{Object: o, Sealed: cfg.Secret != nil, Key: s.Offer().Key})
	}
	ok, err := drive(ctx, s, c, &cfg)
	r := Result{
		Object: o, Receivers: s.Outcomes(), Duration: time.Since(began), Stats: s.Stats(),
		PullSent: server.sent.Load(), Unsendable: c.failed.Load(),
	}
	r.Sent = r.Stats.Bytes + r.Stats.Packets*headers(cfg.Group.Addr())
	switch {
	case err != nil:
		return r, fmt.Errorf("bulk: send: %w", err)
	case !ok:
		return r, fmt.Errorf("bulk: send: %w", ErrIncomplete)
	}
	return r, nil
}

// headers of UDP and IP before each datagram, in bytes.
func headers(group netip.Addr) uint64 {
	if group.Is4() {
		return 28
	}
	return 48
}

// minMTU is what every link that carries IPv6 has (RFC 8200 section 5), and what
// control messages must not exceed either.
const minMTU = 1280

// blockFor returns the longest block whose packets the interface carries whole.
func blockFor(ifname string, group netip.Addr) (int, error) {
	ifi, err := netif.ByName(ifname)
	if err != nil {
		return 0, err
	}
	return min(MaxBlock, max(ifi.MTU, minMTU)-int(headers(group))-blockHeader-tagLen), nil
}

// describeFile opens the file and hashes it.
func describeFile(path, name string, block int) (*os.File, Object, *Tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Object{}, nil, fmt.Errorf("bulk: %w", err)
	}
	st, err := f.Stat()
	switch {
	case err == nil && st.IsDir():
		err = fmt.Errorf("bulk: %s is a directory; send an archive of it (tar -cf x.tar %s)", path, path)
	case err == nil && !st.Mode().IsRegular():
		err = fmt.Errorf("bulk: %s is not a regular file", path)
	}
	if err != nil {
		return nil, Object{}, nil, errors.Join(err, f.Close())
	}
	if name == "" {
		name = filepath.Base(path)
	}
	o, tree, err := Describe(name, f, st.Size(), block)
	if err != nil {
		return nil, o, nil, errors.Join(err, f.Close())
	}
	return f, o, tree, nil
}

// drive turns the engine until it has ended.
func drive(ctx context.Context, s *Sender, c *conn, cfg *SendConfig) (ok bool, err error) {
	turn, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	over := errors.New("over")
	do := make(chan func(time.Time))
	ended := make(chan struct{})
	interrupt := context.AfterFunc(ctx, func() {
		_ = loop.Call(turn, do, ended, func(now time.Time) { s.Abort(now, "interrupted") })
	})
	defer interrupt()
	err = loop.Run(turn, s, c, loop.Config[Packet, Event]{
		Do: do,
		Event: func(e Event) {
			if cfg.Logger != nil {
				cfg.Logger.Debug("bulk", "event", fmt.Sprintf("%T%+v", e, e))
			}
			if cfg.Event != nil {
				cfg.Event(e)
			}
			if e, is := e.(Ended); is {
				ok = e.OK
				stop(over)
			}
		},
	})
	close(ended)
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, over):
		return ok, nil
	}
	return false, err
}
