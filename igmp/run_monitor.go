package igmp

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/aether-lan/aether/internal/loop"
)

// Watching says what [Watch] does beside listening. Its zero value listens only.
type Watching struct {
	// Event hears each event; it must not block. Nil means that they are dropped.
	Event func(MonitorEvent)
	// Do carries calls to be made between frames, for instance to read the Monitor.
	// Nil means none.
	Do <-chan func(now time.Time)
}

// Watch has m listen on t until ctx ends, which is no error, and closes t. Between
// its start and its end m belongs to it.
func Watch(ctx context.Context, m *Monitor, t *Tap, w Watching) error {
	err := loop.Run(ctx, monitorOfFrames{m}, &tapFrames{Tap: t}, loop.Config[[]byte, MonitorEvent]{Event: w.Event, Do: w.Do})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end that was asked for
	}
	return err
}

// monitorOfFrames is a Monitor as an engine of frames.
type monitorOfFrames struct{ *Monitor }

func (w monitorOfFrames) HandlePacket(now time.Time, frame []byte) { w.HandleFrame(now, frame) }
func (w monitorOfFrames) Outgoing() [][]byte                       { return nil }

// tapFrames is a tap as what frames are read from.
type tapFrames struct {
	*Tap
	b [maxFrame]byte
}

// maxFrame holds any frame of an interface with offloads.
const maxFrame = 1 << 16

func (f *tapFrames) ReadPacket() ([]byte, error) {
	for {
		n, err := f.Read(f.b[:])
		if err == nil {
			return append([]byte(nil), f.b[:n]...), nil
		}
		// An interface that goes down for a while tells it once.
		if errors.Is(err, net.ErrClosed) || !isDown(err) {
			return nil, err
		}
	}
}

func (f *tapFrames) WritePacket([]byte) error { return errors.ErrUnsupported }
