//go:build !unix

package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// checkMode accepts all: here a file's rights are not in its mode, and a new file
// has those of its directory, which is the user's own.
func checkMode(string, fs.FileMode) error { return nil }

// writePrivate makes a file that appears whole or not at all.
func writePrivate(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	return nil
}
