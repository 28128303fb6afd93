package pool

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrExposed reports a file that others than its owner may read.
var ErrExposed = errors.New("pool: file is open to other users")

// maxFile bounds the files that are read, in bytes: the secrets of MaxGenerations,
// sealed, have less.
const maxFile = 192 << 10

// readPrivate returns what is in a small regular file that is its owner's alone.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	defer f.Close()
	st, err := f.Stat() // of what was opened, not of what lies there by now
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("pool: %s: not a regular file", path)
	}
	if err := checkMode(path, st.Mode()); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrBadText, path, maxFile)
	}
	return b, nil
}
