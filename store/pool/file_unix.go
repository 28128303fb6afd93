//go:build unix

package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// checkMode refuses a file that group or others may touch.
func checkMode(path string, mode fs.FileMode) error {
	if mode.Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrExposed, path, mode.Perm(), path)
	}
	return nil
}

// writePrivate makes a file that appears whole or not at all, also after a crash.
func writePrivate(path string, b []byte) error {
	dir := filepath.Dir(path)
	// The temporary file lies beside the file: a directory elsewhere may be open
	// to others, or on another disk.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	defer func() { _ = f.Cleanup() }() // leaves a file that replaced the old one alone
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil { // syncs the file first
		return fmt.Errorf("pool: %w", err)
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("pool: sync %s: %w", dir, err)
	}
	return nil
}
