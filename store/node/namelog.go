package node

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// The index can be lost: a file of it rots, or somebody removes it. Chunks are found
// again in the segments, but not what they are. So the operations that make the drive
// what it is are written to the segments too, sealed, some at a time and a moment
// later. A machine that opens without an index applies them anew.

const (
	// logEvery is how long operations may wait to be written to the segments.
	logEvery = 2 * time.Second
	// logRecord is about how many bytes of operations a record holds.
	logRecord = 256 << 10
	// logFormat is the first byte of a record; bodies of chunks begin with another.
	logFormat = 3
)

// nameLog writes operations to the segments.
type nameLog struct {
	m      *Machine
	aead   cipher.AEAD
	logged store.Vector // written and durable
}

// logged is an operation in a record.
type logged struct {
	_       struct{} `cbor:",toarray"`
	Machine store.MachineID
	Seq     uint64
	Payload []byte
	Seal    []byte // by its author; most have none
}

func loggedKey(id store.MachineID) []byte {
	return append([]byte{store.PrefixNode, 'l'}, id[:]...)
}

func newNameLog(m *Machine) (*nameLog, error) {
	block, err := aes.NewCipher(m.pool.Secret().Derive("aether names"))
	if err != nil {
		return nil, fmt.Errorf("node: log of names: %w", err)
	}
	l := &nameLog{m: m, logged: store.Vector{}}
	if l.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("node: log of names: %w", err)
	}
	err = m.kv.Scan(loggedKey(store.MachineID{}), []byte{store.PrefixNode, 'l' + 1}, func(k, v []byte) bool {
		if len(k) == 2+len(store.MachineID{}) && len(v) == 8 {
			l.logged[store.MachineID(k[2:])] = be64(v)
		}
		return true
	})
	return l, err
}

func be64(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

func isLog(body []byte) bool { return len(body) > 0 && body[0] == logFormat }

// write writes the operations that are not in the segments yet. They are durable when
// it returns.
func (l *nameLog) write() error {
	have, err := l.m.tree.Vector(l.m.kv)
	if err != nil {
		return err
	}
	next := store.Vector{}
	var batch []logged
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		plain, err := cbor.Marshal(batch)
		if err != nil {
			return err
		}
		batch, size = batch[:0], 0
		body := l.aead.Seal([]byte{logFormat}, nil, plain, []byte{logFormat})
		return l.m.bodies.Put(store.Ref(sha256.Sum256(body)), body, segment.Log)
	}
	for _, m := range have.Machines() {
		if have[m] <= l.logged[m] {
			continue
		}
		var bad error
		err := gossip.Entries(l.m.kv, m, l.logged[m], func(e gossip.Entry) bool {
			batch = append(batch, logged{Machine: e.Dot.Machine, Seq: e.Dot.Seq, Payload: e.Payload, Seal: e.Seal})
			next[m] = e.Dot.Seq
			if size += len(e.Payload); size >= logRecord {
				bad = flush()
			}
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return fmt.Errorf("node: log of names: %w", err)
		}
	}
	if len(next) == 0 {
		return nil
	}
	if err := errors.Join(flush(), l.m.bodies.Sync()); err != nil {
		return fmt.Errorf("node: log of names: %w", err)
	}
	tx := l.m.kv.Begin()
	defer tx.Discard()
	for _, m := range next.Machines() {
		var b [8]byte
		for i := range b {
			b[i] = byte(next[m] >> (56 - 8*i))
		}
		_ = tx.Set(loggedKey(m), b[:]) // Commit says so, too
	}
	if err := tx.Commit(false); err != nil && !errors.Is(err, index.ErrFull) {
		return fmt.Errorf("node: log of names: %w", err)
	}
	l.logged.Merge(next)
	return nil
}

// open returns the operations of a record.
func (l *nameLog) open(body []byte) (batch []logged, err error) {
	if !isLog(body) {
		return nil, fmt.Errorf("%w: no record of names", errBadRequest)
	}
	plain, err := l.aead.Open(nil, nil, body[1:], body[:1])
	if err != nil {
		return nil, fmt.Errorf("node: record of names: %w", err)
	}
	if err := strictCBOR.Unmarshal(plain, &batch); err != nil {
		return nil, fmt.Errorf("node: record of names: %w", err)
	}
	return batch, nil
}

// rebuild applies the operations that lie in the segments to an index that has none. It
// returns how many there were.
func (l *nameLog) rebuild() (n int, err error) {
	have, err := l.m.tree.Vector(l.m.kv)
	if err != nil || len(have) > 0 {
		return 0, err
	}
	c := l.m.core
	err = l.m.bodies.Logs(func(ref store.Ref, body []byte) error {
		batch, err := l.open(body)
		if err != nil {
			l.m.log.Error("a record of the log of names cannot be read", "record", ref.String(), "error", err)
			return nil // others can
		}
		now := l.m.now()
		return c.commit(func(tx store.Txn) error {
			for _, e := range batch {
				dot := store.Dot{Machine: e.Machine, Seq: e.Seq}
				if e.Seq != have[e.Machine]+1 {
					continue // written twice, or the one before it is lost
				}
				entry := gossip.Entry{Dot: dot, Payload: e.Payload, Seal: e.Seal}
				if err := c.gossip.Store(tx, []gossip.Entry{entry}); err != nil {
					return err
				}
				if _, err := c.apply(tx, now, entry); err != nil {
					return err
				}
				have[e.Machine] = e.Seq
				n++
			}
			return nil
		})
	})
	if err == nil && n > 0 {
		err = c.sync()
	}
	if err != nil {
		return n, fmt.Errorf("node: rebuild the index: %w", err)
	}
	return n, nil
}
