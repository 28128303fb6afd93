package replica

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// errNotTaken says that a node that was asked to lead does not.
var errNotTaken = errors.New("the node did not take the lead over")

// memberEvery is how often it is looked whether a change of the membership took effect.
const memberEvery = 5 * time.Millisecond

// member changes who is in the cluster, and returns when the change is in effect.
// What another moment may cure is waited for: a change under way, a leader that is
// new, and, for two election times, members that are not heard.
func (r *Replica) member(ctx context.Context, q memberRequest) error {
	if q.Action == "add" {
		if _, err := netip.ParseAddrPort(q.Addr); err != nil {
			return fmt.Errorf("%w: %w", errRequest, err)
		}
	}
	patience := 2 * r.cfg.Timing.Election
	if patience == 0 {
		patience = 2 * time.Second
	}
	c, began := change{memberRequest: q}, time.Now()
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	for {
		var err error
		if cerr := r.call(ctx, func(l *loop) { err = c.step(l) }); cerr != nil {
			return cerr
		}
		waited := time.Since(began)
		switch {
		case err == nil && c.done:
			return nil
		case err == nil && q.Action == "lead" && waited > 3*patience:
			return errNotTaken
		case err == nil && q.Action == "lead" && waited > patience:
			c.begun = false // the leader has gone on: ask it again
		case err == nil, errors.Is(err, paxos.ErrChanging):
		case errors.Is(err, paxos.ErrNoQuorum) && waited < patience:
		default:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.ended:
			return ErrEnded
		}
	}
}

// change is a change of the membership on its way.
type change struct {
	memberRequest
	begun, done bool
}

// step begins the change, or looks whether it is in effect.
func (c *change) step(l *loop) error {
	if !c.begun {
		if err := c.begin(l); err != nil {
			return err
		}
		c.begun = true
	}
	s := l.node.Status(time.Now())
	m, ok := s.Members.Find(c.ID)
	switch c.Action {
	case "add":
		c.done = ok
	case "remove":
		c.done = !ok
	case "promote":
		c.done = ok && !m.Learner
	case "lead":
		c.done = s.Leader == c.ID
		return nil // another leader is what is waited for
	}
	if !c.done && s.Role != paxos.Leading {
		return ErrUncertain
	}
	return nil
}

// begin asks the node for the change.
func (c *change) begin(l *loop) error {
	now := time.Now()
	switch c.Action {
	case "add":
		a, err := netip.ParseAddrPort(c.Addr)
		if err == nil {
			err = l.node.AddMember(now, paxos.Member{ID: c.ID, Addr: a.String(), Promote: !c.Stay})
		}
		if err == nil {
			l.r.mesh.SetAddress(c.ID, a)
		}
		return err
	case "remove":
		return l.node.RemoveMember(now, c.ID)
	case "promote":
		return l.node.PromoteMember(now, c.ID)
	case "lead":
		if s := l.node.Status(now); s.Role == paxos.Leading && s.ID == c.ID {
			return nil // it does already
		}
		return l.node.Transfer(now, c.ID)
	}
	return fmt.Errorf("%w: %q", errRequest, c.Action)
}
