package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// A pool begins with the secret of generation 0 (package pool). What follows from it
// for ever is the pool's ID and, on each machine's own disk, the key of the index and
// that of the log of names; all machines also cut files alike because of it. What
// follows from the newest generation are the addresses and keys of the chunks that are
// written, and who is admitted. The WebDAV password and the machine's key are the
// machine's own and follow from none.
//
// A machine that begins a generation has the secret on its disk first and then says so
// in the log. The log does not hold the secret but what it can be checked with; who
// hears of it and lacks it asks those it is connected with (secrets.go).

// kindGeneration is the operation that makes a generation known.
const kindGeneration = tree.KindForeign + 8

// generationRecord is the body of such an operation.
type generationRecord struct {
	_          struct{} `cbor:",toarray"`
	Format     uint8
	Generation uint32
	Check      [32]byte // see checkOf
}

const generationFormat = 1

// checkOf returns what a secret can be recognised by and that tells nothing of it.
func checkOf(s pool.Secret) [32]byte { return [32]byte(s.Derive("aether generation check")) }

// chunkLabel is the use of a secret for chunks.
const chunkLabel = "aether chunks"

// chunkKeys returns the keys of all generations of the pool's secret that are here.
func chunkKeys(ring *pool.Ring) (*chunk.Keys, error) {
	var keys *chunk.Keys
	for _, g := range ring.Generations() { // the first is generation 0
		s, _ := ring.Secret(g)
		var err error
		if keys == nil {
			keys, err = chunk.NewKeys(s.Derive(chunkLabel), g)
		} else {
			err = keys.Add(s.Derive(chunkLabel), g)
		}
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// newestGeneration is the generation of the pool's secret under which this machine
// writes.
func (m *Machine) newestGeneration() uint32 { return m.pool.Ring().Newest() }

// secretOf returns the pool's secret of generation g, where it is known here.
func (m *Machine) secretOf(g uint32) (pool.Secret, bool) { return m.pool.Ring().Secret(g) }

// generations returns the generations that are known here, the newest first.
func (m *Machine) generations() []uint32 {
	all := m.pool.Ring().Generations()
	slices.Reverse(all)
	return all
}

// heardOf is what the log says about keys: the generations that there are, and the last
// order to seal anew what is under older ones.
type heardOf struct {
	announced map[uint32][32]byte // the checks of their secrets
	rekey     rekeyOrder
}

func loadHeardOf(r store.Reader) (h heardOf, err error) {
	var rerr error
	h.announced, err = loadGenerations(r)
	h.rekey, rerr = loadRekey(r)
	return h, errors.Join(err, rerr)
}

func generationKey(g uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{store.PrefixNode, 'k'}, g)
}

// loadGenerations reads the generations that were made known, and their checks.
func loadGenerations(r store.Reader) (map[uint32][32]byte, error) {
	known := map[uint32][32]byte{}
	var bad error
	err := r.Scan([]byte{store.PrefixNode, 'k'}, []byte{store.PrefixNode, 'k' + 1}, func(k, v []byte) bool {
		if len(k) != 6 || len(v) != 32 {
			bad = fmt.Errorf("node: generations: a record of %d and %d bytes", len(k), len(v))
			return false
		}
		known[binary.BigEndian.Uint32(k[2:])] = [32]byte(v)
		return true
	})
	return known, errors.Join(err, bad)
}

// hearGeneration takes an operation that makes a generation known.
func (c *core) hearGeneration(tx store.Txn, op tree.Op) error {
	var r generationRecord
	err := strictCBOR.Unmarshal(op.Body, &r)
	old, known := c.announced[r.Generation]
	switch {
	case err == nil && r.Format != generationFormat:
		err = fmt.Errorf("format %d", r.Format)
	case err == nil && r.Generation == 0:
		err = errors.New("generation 0 was there before")
	case err == nil && known && old != r.Check:
		err = pool.ErrClash
	case err == nil && !known && len(c.announced) >= pool.MaxGenerations:
		err = pool.ErrRingFull
	}
	if err != nil {
		c.m.log.Warn("a generation of keys cannot be made known", "operation", op.Dot.String(), "error", err)
		return nil
	}
	if err := tx.Set(generationKey(r.Generation), r.Check[:]); err != nil {
		return err
	}
	c.announced[r.Generation] = r.Check
	if known {
		return nil
	}
	if _, ok := c.m.secretOf(r.Generation); !ok {
		c.m.log.Info("a new generation of keys has begun; its secret is to come", "generation", r.Generation, "by", op.Dot.Machine.String())
		c.m.wantSecrets()
	}
	return nil
}

// announceGenerations says in the log which generations this machine has, as far as the
// log does not: one that a crash kept from being made known, or that came with an
// invitation before the log did.
func (c *core) announceGenerations(now time.Time) error {
	for _, g := range c.m.pool.Ring().Generations() {
		if _, known := c.announced[g]; known || g == 0 {
			continue
		}
		s, _ := c.m.secretOf(g)
		body, err := cbor.Marshal(generationRecord{Format: generationFormat, Generation: g, Check: checkOf(s)})
		if err != nil {
			return fmt.Errorf("node: generations: %w", err)
		}
		err = c.commit(func(tx store.Txn) error {
			op, err := c.m.tree.Record(tx, kindGeneration, body, now)
			if err != nil {
				return err
			}
			if err := c.hearGeneration(tx, op); err != nil {
				return err
			}
			return c.log(tx, op)
		})
		if err != nil {
			delete(c.announced, g)
			return err
		}
	}
	return nil
}

// newGeneration begins a new generation of the pool's secret: what is written from now
// on can be read by nobody who does not get it. It is on this machine's disk, and in its
// log, when newGeneration returns; the others hear of it and ask for it. Two machines
// that begin one at the same time both keep both, and all agree which is the newest.
func (m *Machine) newGeneration(ctx context.Context) error {
	m.secrets.making.Lock()
	defer m.secrets.making.Unlock()
	s, err := m.pool.Ring().Next()
	if err == nil {
		err = m.pool.Ring().Add(m.cfg.Dir, s, m.cfg.Passphrase)
	}
	if err != nil {
		return fmt.Errorf("node: new generation of keys: %w", err)
	}
	cerr := m.core.call(ctx, func() { err = m.core.announceGenerations(m.now()) })
	if err = errors.Join(cerr, err); err == nil {
		err = m.core.sync()
	}
	if err == nil {
		err = m.keys.Add(s.Derive(chunkLabel), s.Generation())
	}
	if err != nil {
		return fmt.Errorf("node: new generation of keys: %w", err)
	}
	m.log.Info("a new generation of keys has begun", "generation", s.Generation())
	return nil
}
