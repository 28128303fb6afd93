package replica

import (
	"context"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// read calls find, which reads from the state, so that it finds all that was answered
// to anybody before: by the leader's lease while there is one, or after asking the
// others. find may be called twice; the last call counts.
func (r *Replica) read(ctx context.Context, find func() error) error {
	if r.cfg.Timing.Lease > 0 {
		if ok, err := r.readLeased(ctx, find); ok {
			return err
		}
	}
	if err := r.Confirm(ctx); err != nil {
		return err
	}
	return find()
}

// readLeased reads while the lease lasts; ok is false when there is none, or when it
// has ended meanwhile: a node that was paused in between may have read what was true
// long ago (yugabyte-db issue 16).
func (r *Replica) readLeased(ctx context.Context, find func() error) (ok bool, err error) {
	to := make(chan outcome, 1)
	err = r.call(ctx, func(l *loop) {
		var slot paxos.Slot
		if slot, ok = l.node.LeaseRead(time.Now()); ok {
			l.tasks = append(l.tasks, task{read: slot, answer: []chan<- outcome{to}}) // when all is applied
		}
	})
	if err != nil {
		return true, err
	}
	if !ok {
		return false, nil
	}
	select {
	case o := <-to:
		err = o.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-r.ended:
		err = ErrEnded
	}
	if err != nil {
		return true, err
	}
	err = find()
	if cerr := r.call(ctx, func(l *loop) { _, ok = l.node.LeaseRead(time.Now()) }); cerr != nil {
		return true, cerr
	}
	return ok, err
}
