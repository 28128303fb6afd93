//go:build unix

package node

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity tells files of one machine apart: device, inode, size and time.
func identity(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprint(st.Dev, ":", st.Ino, ":", info.Size(), ":", info.ModTime().UnixNano())
}
