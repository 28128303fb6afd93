package main

import (
	"context"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/replica"
)

// watchFrom prints changes after a slot.
func watchFrom(ctx context.Context, cl *replica.Client, prefix []byte, since paxos.Slot, count int, out *printer) error {
	seen := 0
	return cl.Watch(ctx, prefix, since, func(e kv.Event) error {
		var err error
		if e.Deleted {
			err = out.event("deleted", string(e.Key), "key", shownBytes(e.Key), "version", uint64(e.Version))
		} else {
			err = out.event("changed", string(e.Key)+"\t"+string(e.Value), "key", shownBytes(e.Key), "value", shownBytes(e.Value), "version", uint64(e.Version))
		}
		if seen++; err == nil && seen == count {
			err = errEnoughSeen
		}
		return err
	})
}
