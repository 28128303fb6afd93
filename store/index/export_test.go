package index

import "errors"

// Flush brings what is in memory into tables and returns when that is done: the log
// that held it may then be used again.
func Flush(p *Pebble) error {
	return p.disk.Do(func() error { return errors.Join(p.bring(false), p.db.Flush()) })
}

// Bring brings what is gathered to Pebble, as happens by itself after a while.
func Bring(p *Pebble) error { return p.bring(false) }
