package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// kindRekey is the operation that orders all machines to seal anew what is under older
// generations. It stays in force: what a machine that was away brings later is done
// then.
const kindRekey = tree.KindForeign + 9

// rekeyRecord is the body of such an operation.
type rekeyRecord struct {
	_      struct{} `cbor:",toarray"`
	Format uint8
	// Generation is the oldest that shall be left.
	Generation uint32
	// Rate is the most bytes a second that each machine may take; 0 for no limit.
	Rate int64
}

const rekeyFormat = 1

// rekeyOrder is the order in force, and what orders it among others: the newest
// generation counts, then the latest.
type rekeyOrder struct {
	_          struct{} `cbor:",toarray"`
	Generation uint32
	Rate       int64
	Time       store.Time
	By         store.MachineID
}

func rekeyKey() []byte { return []byte{store.PrefixNode, 'q'} }

func loadRekey(r store.Reader) (o rekeyOrder, err error) {
	b, err := r.Get(rekeyKey())
	if errors.Is(err, store.ErrNotFound) {
		return o, nil
	}
	if err == nil {
		err = strictCBOR.Unmarshal(b, &o)
	}
	if err != nil {
		return o, fmt.Errorf("node: order to rekey: %w", err)
	}
	return o, nil
}

// hearOfKeys takes an operation that is about keys, if it is.
func (c *core) hearOfKeys(tx store.Txn, op tree.Op) error {
	switch op.Kind {
	case kindGeneration:
		return c.hearGeneration(tx, op)
	case kindRekey:
		return c.hearRekey(tx, op)
	}
	return nil
}

func (c *core) hearRekey(tx store.Txn, op tree.Op) error {
	var r rekeyRecord
	if err := strictCBOR.Unmarshal(op.Body, &r); err != nil || r.Format != rekeyFormat || r.Rate < 0 {
		c.m.log.Warn("an order to rekey makes no sense", "operation", op.Dot.String(), "error", err)
		return nil
	}
	o := rekeyOrder{Generation: r.Generation, Rate: r.Rate, Time: op.Time, By: op.Dot.Machine}
	old := c.heardOf.rekey
	if o.Generation < old.Generation || o.Generation == old.Generation && !after(o, old) {
		return nil
	}
	b, err := cbor.Marshal(o)
	if err != nil {
		return fmt.Errorf("node: order to rekey: %w", err)
	}
	if err := tx.Set(rekeyKey(), b); err != nil {
		return err
	}
	c.heardOf.rekey = o
	c.m.wantRekey()
	return nil
}

// after orders what machines say by its stamps; what was said before may be said again.
func after(o, old rekeyOrder) bool {
	a, b := store.Stamp{Time: o.Time, Machine: o.By}, store.Stamp{Time: old.Time, Machine: old.By}
	return a.Compare(b) >= 0
}

// OrderRekey has all machines seal anew what is sealed under older generations than the
// newest known here, each with at most limit bytes a second (0: no limit). It returns
// when the order is on the disk; [Machine.CountRekey] says how far it has come.
func (m *Machine) OrderRekey(ctx context.Context, limit int64) error {
	body, err := cbor.Marshal(rekeyRecord{Format: rekeyFormat, Generation: m.newestGeneration(), Rate: limit})
	if err != nil {
		return fmt.Errorf("node: order to rekey: %w", err)
	}
	cerr := m.core.call(ctx, func() {
		err = m.core.commit(func(tx store.Txn) error {
			op, err := m.tree.Record(tx, kindRekey, body, m.now())
			if err != nil {
				return err
			}
			if err := m.core.hearRekey(tx, op); err != nil {
				return err
			}
			return m.core.log(tx, op)
		})
	})
	if err = errors.Join(cerr, err); err == nil {
		err = m.core.sync()
	}
	if err != nil {
		return fmt.Errorf("node: order to rekey: %w", err)
	}
	return nil
}
