//go:build unix

package mdns

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// writeState makes a file that appears whole or not at all, also after a crash: the
// new one is synced before it takes the name, and the directory after.
func writeState(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := renameio.WriteFile(path, b, 0o644, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
