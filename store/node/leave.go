package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// ErrLast reports that files would be lost: no other machine keeps any.
var ErrLast = errors.New("there is no other machine in the pool to hand the files over to; --now leaves all the same, and they are lost")

const (
	// handOverInterval is how often a machine that leaves looks what is still to be
	// copied.
	handOverInterval = 500 * time.Millisecond
	// goodbyeTime bounds the wait for another machine to hear the goodbye.
	goodbyeTime = 5 * time.Second
)

// LeaveProgress says how far a machine is that leaves.
type LeaveProgress struct {
	// Files and Bytes are what others do not yet keep as they shall; TotalFiles and
	// TotalBytes are all there is in the drive.
	Files      int64 `json:"files"`
	Bytes      int64 `json:"bytes"`
	TotalFiles int64 `json:"total_files"`
	TotalBytes int64 `json:"total_bytes"`
	// Connected counts the machines that can be talked to.
	Connected int `json:"connected"`
	// Left says that the machine has left: the last thing it tells.
	Left bool `json:"left"`
	// Heard says that another machine has heard the goodbye.
	Heard bool `json:"heard"`
}

// Leave ends this machine's membership: it hands over what it keeps, says goodbye, and
// when the machine is closed, which a node that serves it does by itself, its directory
// belongs to no pool any more. When ctx ends before the goodbye it stays a member. With
// atOnce it hands over nothing. tell hears how far it is.
func (m *Machine) Leave(ctx context.Context, atOnce bool, tell func(LeaveProgress)) error {
	sv := m.serving.Load()
	if !atOnce {
		if sv == nil {
			return fmt.Errorf("node: leave: %w; or hand over nothing with --now", ErrNotServing)
		}
		if err := m.handOver(ctx, tell); err != nil {
			return fmt.Errorf("node: leave: %w", err)
		}
	}
	if err := m.declare(ctx, m.ID(), Left, ""); err != nil {
		return err
	}
	heard := m.awaitHearing(ctx)
	if err := m.giveUp(leftText); err != nil {
		return fmt.Errorf("node: leave: %w", err)
	}
	tell(LeaveProgress{Left: true, Heard: heard})
	if sv != nil {
		sv.end()
	}
	return nil
}

// handOver waits until others keep everything, as many as shall.
func (m *Machine) handOver(ctx context.Context, tell func(LeaveProgress)) (err error) {
	first, err := m.unsafe(ctx)
	if err != nil {
		return err
	}
	others := 0
	if err := m.core.call(ctx, func() { others = len(m.others()) }); err != nil {
		return err
	}
	if others == 0 && first.TotalFiles > 0 {
		return ErrLast
	}
	if err := m.declare(ctx, m.ID(), Leaving, ""); err != nil {
		return err
	}
	defer func() {
		if err != nil { // it stays
			err = errors.Join(err, m.declare(context.WithoutCancel(ctx), m.ID(), Member, ""))
		}
	}()
	for {
		if err := m.reassign(ctx, nil); err != nil {
			return err
		}
		p, err := m.unsafe(ctx)
		if err != nil {
			return err
		}
		tell(p)
		if p.Files == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(handOverInterval):
		}
	}
}

// others returns the machines that keep files besides this one. It runs alone with the
// core.
func (m *Machine) others() []store.MachineID {
	var out []store.MachineID
	for _, x := range m.core.members.list() {
		if x.ID != m.ID() {
			out = append(out, x.ID)
		}
	}
	return out
}

// unsafe counts what other machines do not yet keep as they shall.
func (m *Machine) unsafe(ctx context.Context) (p LeaveProgress, err error) {
	if mesh := m.mesh.Load(); mesh != nil {
		p.Connected = len(mesh.Connected())
	}
	var batch []tree.Entry
	count := func() error {
		err := m.core.call(ctx, func() {
			others := m.others()
			for _, e := range batch {
				if m.core.keptBy(others, e) < min(m.copiesWanted(), len(others)) {
					p.Files++
					p.Bytes += e.Version.Content.Size
				}
			}
		})
		batch = batch[:0]
		return err
	}
	var inner error
	err = m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir {
			p.TotalFiles++
			p.TotalBytes += e.Version.Content.Size
			batch = append(batch, e)
		}
		if len(batch) == statusBatch {
			inner = count()
		}
		return inner == nil && ctx.Err() == nil
	})
	return p, errors.Join(err, inner, count(), ctx.Err())
}

// keptBy returns how many of machines are known to keep e's bytes as holders.
func (c *core) keptBy(machines []store.MachineID, e tree.Entry) int {
	holders := slices.DeleteFunc(slices.Clone(e.Version.Holders), func(h store.MachineID) bool { return !slices.Contains(machines, h) })
	return c.copying.Copies(replicate.Assignment{Dot: e.Version.Dot, File: e.ID, Content: e.Version.Content, Holders: holders})
}

// awaitHearing waits for a moment until a machine that is connected has heard all that
// this one has said, and reports whether one has.
func (m *Machine) awaitHearing(ctx context.Context) bool {
	for end := time.Now().Add(goodbyeTime); time.Now().Before(end); {
		heard, connected := false, false
		_ = m.core.call(ctx, func() {
			own := m.core.gossip.Vector()[m.ID()]
			for _, id := range m.sources(nil) {
				connected = true
				v, ok := m.core.gossip.Known(id)
				heard = heard || ok && v[m.ID()] >= own
			}
		})
		if heard || !connected {
			return heard
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(goodbyeTime / 100):
		}
	}
	return false
}
