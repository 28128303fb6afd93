// Package drive is the pool's drive as files: put, open, list, make, rename and
// remove, on top of the tree of names, the chunks and their bodies on disk. Every
// face of the drive (command line, WebDAV, mount) goes through it.
//
// How a file gets in and out:
//
//	Put ─► chunk.Writer ─► segment.Put … segment.Sync ─► Journal.Do(tree.Put) ─► durable
//	Open ─► tree.Lookup ─► chunk.Reader ─► segment.Get, or Fetch from another machine
//
// A version becomes visible only after all its chunks are on the disk, so a
// writer that dies leaves what was there before. Package drive knows nothing of
// networks: a [Journal] carries changes further, a Fetch func brings chunks that
// are not here.
//
// Read drive.go first, then put.go and open.go.
package drive
