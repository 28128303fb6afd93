//go:build !unix

package node

import "io/fs"

// identity is empty: here a file's identity cannot be told to another process.
func identity(fs.FileInfo) string { return "" }
