//go:build !unix

package index

// isReadOnly has nothing to add to fs.ErrPermission on these systems.
func isReadOnly(error) bool { return false }
