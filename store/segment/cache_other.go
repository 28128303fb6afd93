//go:build !linux

package segment

// dropCache does nothing: this system takes no such advice.
func dropCache(uintptr, int64) {}
