package index

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/internal/failstop"
)

// ErrDamaged reports files that are missing or do not hold what was written. An
// index in that state is of no use; it can be rebuilt from what it describes.
var ErrDamaged = errors.New("index: damaged; it can be rebuilt")

// ErrFailed reports a disk that failed a write. What reached it is not known, so
// nothing more is written until the index is opened again; what was committed before
// can be read meanwhile.
var ErrFailed = failstop.ErrFailed

// checkComplete looks for files of dir that nothing but damage can take away:
// without them Pebble would begin anew, and delete what is left. In this order a
// new directory gets them, each durable before the next: the marker that names
// the manifest, a log, the options, and later tables; see [orderedFS].
func checkComplete(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	var marker, log, table, options bool
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "marker.manifest."):
			marker = true
		case isLog(name):
			log = true
		case strings.HasSuffix(name, ".sst"):
			table = true
		case strings.HasPrefix(name, "OPTIONS-"):
			options = true
		}
	}
	switch {
	case !marker && (log || table || options):
		return fmt.Errorf("%w: marker.manifest.*: %w", ErrDamaged, fs.ErrNotExist)
	case !log && (table || options):
		return fmt.Errorf("%w: *.log: %w", ErrDamaged, fs.ErrNotExist)
	default:
		return nil
	}
}

// damaged marks errors of reading that speak of damage with [ErrDamaged].
func damaged(err error) error {
	if err == nil || errors.Is(err, ErrDamaged) || !pebble.IsCorruptionError(err) {
		return err
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, info.Path, err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// damagedAtOpen is damaged for an error of pebble.Open, which has other words for
// damage too. What the system refused to do says nothing about the files; that
// one of them is missing does.
func damagedAtOpen(err error) error {
	var no syscall.Errno
	if errors.Is(err, ErrDamaged) || errors.As(err, &no) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}
