package failstop

import (
	"github.com/cockroachdb/pebble/v2/vfs"
)

// watched is a file system whose failed writes stop the disk.
type watched struct {
	vfs.FS
	disk *Disk
}

// met stops at an error.
func (d *Disk) met(err error) error {
	if err != nil {
		d.stop(err)
	}
	return err
}

func (w watched) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, w.disk.met(err)
	}
	return watchedFile{f, w.disk}, nil
}

// Create implements vfs.FS.
func (w watched) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(w.FS.Create(name, c))
}

// ReuseForWrite implements vfs.FS.
func (w watched) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(w.FS.ReuseForWrite(old, name, c))
}

// OpenReadWrite implements vfs.FS.
func (w watched) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return w.file(w.FS.OpenReadWrite(name, c, o...))
}

// OpenDir implements vfs.FS.
func (w watched) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return watchedFile{f, w.disk}, nil
}

// Link implements vfs.FS.
func (w watched) Link(old, name string) error { return w.disk.met(w.FS.Link(old, name)) }

// Rename implements vfs.FS.
func (w watched) Rename(old, name string) error { return w.disk.met(w.FS.Rename(old, name)) }

// Unwrap implements vfs.FS.
func (w watched) Unwrap() vfs.FS { return w.FS }

// watchedFile is a file, or a directory, of watched.
type watchedFile struct {
	vfs.File
	disk *Disk
}

// Write implements vfs.File.
func (f watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.disk.met(err)
}

// WriteAt implements vfs.File.
func (f watchedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.disk.met(err)
}

// Sync implements vfs.File.
func (f watchedFile) Sync() error { return f.disk.met(f.File.Sync()) }

// SyncData implements vfs.File.
func (f watchedFile) SyncData() error { return f.disk.met(f.File.SyncData()) }

// SyncTo implements vfs.File.
func (f watchedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.disk.met(err)
}
