// Package drive is the pool's drive as files: put, open, write anywhere, list, make,
// link, rename and remove, on top of the tree of names, the chunks and their bodies on
// disk. Every face of the drive (command line, WebDAV, mount) goes through it.
//
// How a file gets in and out:
//
//	Put ─► chunk.Writer ─► segment.Put … segment.Sync ─► Journal.Do(tree.Put) ─► durable
//	Open ─► tree.Lookup ─► chunk.Reader ─► segment.Get, or Fetch from another machine
//
// A file that is open for writing is an [Inode]: what is written to it is cut and
// sealed while it arrives, and becomes a version with Save or Sync. Old versions and
// what was removed stay as long as the past is kept; [Drive.Collect] removes the chunks
// to which nothing leads any more.
//
// A version becomes visible only after all its chunks are on the disk, so a
// writer that dies leaves what was there before. Package drive knows nothing of
// networks: a [Journal] carries changes further, a Fetch func brings chunks that
// are not here.
//
// Faces that know files by ID, as a kernel does, use at.go; others use paths. Read
// drive.go first, then put.go, open.go and inode.go, and garbage.go last.
package drive
