package index

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

// Config bounds the memory of a [Pebble]. Its zero value suits a machine that does
// other things too.
type Config struct {
	// CacheBytes is the memory for blocks read. Zero means 32 MiB.
	CacheBytes int64
	// MemTableBytes is the memory for what is not yet in a table. Zero means 16 MiB.
	MemTableBytes uint64
	// Error hears of errors that no caller sees, of compactions for example. Nil
	// means that nobody does.
	Error func(error)
}

// Pebble is a store.KV on disk. It is safe for concurrent use.
type Pebble struct{ db *pebble.DB }

// Open opens the database in dir of fs and makes it where there is none.
func Open(fs vfs.FS, dir string, cfg Config) (*Pebble, error) {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 32 << 20
	}
	if cfg.MemTableBytes == 0 {
		cfg.MemTableBytes = 16 << 20
	}
	opts := &pebble.Options{
		FS:                 fs,
		CacheSize:          cfg.CacheBytes,
		MemTableSize:       cfg.MemTableBytes,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{},
		EventListener: &pebble.EventListener{BackgroundError: func(err error) {
			if cfg.Error != nil {
				cfg.Error(fmt.Errorf("index: %w", err))
			}
		}},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("index: open %s: %w", dir, err)
	}
	return &Pebble{db: db}, nil
}

// quiet is a Pebble logger that says nothing: what matters comes back as errors.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf is called for broken invariants only, after which nothing may be written.
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("index: "+format, args...))
}

// Close closes the database. Everything committed is durable when it returns nil.
func (p *Pebble) Close() error {
	if err := errors.Join(p.Sync(), p.db.Close()); err != nil {
		return fmt.Errorf("index: close: %w", err)
	}
	return nil
}

// Sync returns once everything committed before is on the disk. Callers that wait
// at the same time share one fsync.
func (p *Pebble) Sync() error {
	if err := p.db.LogData(nil, pebble.Sync); err != nil {
		return fmt.Errorf("index: sync: %w", err)
	}
	return nil
}

// source is what Pebble's database and batches have in common.
type source interface {
	Get(key []byte) ([]byte, io.Closer, error)
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

func get(s source, key []byte) ([]byte, error) {
	v, c, err := s.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("index: get: %w", err)
	}
	out := append([]byte{}, v...)
	return out, c.Close()
}

func scan(s source, from, to []byte, f func(key, value []byte) bool) error {
	it, err := s.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("index: scan: %w", err)
	}
	for ok := it.First(); ok && f(it.Key(), it.Value()); ok = it.Next() {
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("index: scan: %w", err)
	}
	return nil
}

func last(s source, from, to []byte) (key, value []byte, err error) {
	it, err := s.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, nil, fmt.Errorf("index: last: %w", err)
	}
	found := it.Last()
	if found {
		key, value = append([]byte{}, it.Key()...), append([]byte{}, it.Value()...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, nil, fmt.Errorf("index: last: %w", err)
	}
	if !found {
		return nil, nil, store.ErrNotFound
	}
	return key, value, nil
}

// Get implements store.Reader.
func (p *Pebble) Get(key []byte) ([]byte, error) { return get(p.db, key) }

// Scan implements store.Reader; f sees the state at the beginning.
func (p *Pebble) Scan(from, to []byte, f func(key, value []byte) bool) error {
	return scan(p.db, from, to, f)
}

// Last implements store.Reader.
func (p *Pebble) Last(from, to []byte) (key, value []byte, err error) { return last(p.db, from, to) }

// Begin implements store.KV.
func (p *Pebble) Begin() store.Txn { return &pebbleTxn{b: p.db.NewIndexedBatch()} }

// pebbleTxn is an indexed batch: reads go through it to the database.
type pebbleTxn struct{ b *pebble.Batch }

// errUsed reports a Txn that was committed or discarded.
var errUsed = errors.New("index: the transaction has ended")

func (t *pebbleTxn) Get(key []byte) ([]byte, error) {
	if t.b == nil {
		return nil, errUsed
	}
	return get(t.b, key)
}

func (t *pebbleTxn) Scan(from, to []byte, f func(key, value []byte) bool) error {
	if t.b == nil {
		return errUsed
	}
	return scan(t.b, from, to, f)
}

func (t *pebbleTxn) Last(from, to []byte) (key, value []byte, err error) {
	if t.b == nil {
		return nil, nil, errUsed
	}
	return last(t.b, from, to)
}

func (t *pebbleTxn) Set(key, value []byte) error {
	if t.b == nil {
		return errUsed
	}
	return t.b.Set(key, value, nil)
}

func (t *pebbleTxn) Delete(key []byte) error {
	if t.b == nil {
		return errUsed
	}
	return t.b.Delete(key, nil)
}

func (t *pebbleTxn) Commit(sync bool) error {
	if t.b == nil {
		return errUsed
	}
	b := t.b
	t.b = nil
	how := pebble.NoSync
	if sync {
		how = pebble.Sync
	}
	if err := errors.Join(b.Commit(how), b.Close()); err != nil {
		return fmt.Errorf("index: commit: %w", err)
	}
	return nil
}

func (t *pebbleTxn) Discard() {
	if t.b != nil {
		_ = t.b.Close() // an error of giving up concerns nobody
		t.b = nil
	}
}
