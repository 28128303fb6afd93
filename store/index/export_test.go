package index

// Flush brings what is in memory into tables and returns when that is done: the log
// that held it may then be used again.
func Flush(p *Pebble) error { return p.db.Flush() }
