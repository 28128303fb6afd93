package drive

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// ErrBadPath reports a path that no file can have.
var ErrBadPath = errors.New("bad path")

// maxPath is the longest path in bytes: Linux's PATH_MAX.
const maxPath = 4096

// Clean returns p as the drive writes paths: beginning with '/', without empty
// elements, "." or "..", and without a slash at the end but for the root itself.
// A path that does not begin with '/' is refused, as is one that leaves the root.
func Clean(p string) (string, error) {
	switch {
	case p == "" || p[0] != '/':
		return "", fmt.Errorf("drive: %w: %q does not begin with /", ErrBadPath, p)
	case len(p) > maxPath:
		return "", fmt.Errorf("drive: %w: longer than %d bytes", ErrBadPath, maxPath)
	case strings.IndexByte(p, 0) >= 0 || !utf8.ValidString(p):
		return "", fmt.Errorf("drive: %w: %q is not UTF-8 text without NUL", ErrBadPath, p)
	}
	for _, e := range strings.Split(p, "/") {
		if e == ".." {
			return "", fmt.Errorf("drive: %w: %q contains ..", ErrBadPath, p)
		}
		if len(e) > 255 {
			return "", fmt.Errorf("drive: %w: a name in it is longer than 255 bytes", ErrBadPath)
		}
	}
	return path.Clean(p), nil
}
