package peer

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/internal/failstop"
)

// database is Pebble, which takes no more when its disk has failed.
type database struct {
	*pebble.DB
	disk *failstop.Disk
}

func openDatabase(fsys vfs.FS, dir string) (*database, error) {
	d := &database{disk: failstop.New(fsys)}
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	opts := &pebble.Options{
		Cache: cache, MemTableSize: 16 << 20, MaxOpenFiles: 256,
		EventListener:      &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
		FormatMajorVersion: pebble.FormatTableFormatV6,
	}
	d.disk.Attach(opts)
	opened := make(chan *pebble.DB, 1)
	err := d.disk.Do(func() error {
		db, err := pebble.Open(dir, opts)
		opened <- db
		return err
	})
	if err != nil {
		return nil, named(err)
	}
	d.DB = <-opened
	return d, nil
}

// commit makes a batch durable, and closes it: after a failure Pebble has it for good.
func (d *database) commit(b *pebble.Batch, o *pebble.WriteOptions) error {
	return named(d.disk.Do(func() error { return errors.Join(d.Apply(b, o), b.Close()) }))
}

// set makes one value durable.
func (d *database) set(key, value []byte, o *pebble.WriteOptions) error {
	b := d.NewBatch()
	if err := b.Set(key, value, nil); err != nil {
		return err
	}
	return d.commit(b, o)
}

// Close closes the database.
func (d *database) Close() error { return named(d.disk.Close(d.DB.Close)) }

// named gives an error of Pebble the name that callers look for.
func named(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDamaged), errors.Is(err, ErrDiskFull):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case vfs.IsNoSpaceError(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}
