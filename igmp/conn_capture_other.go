//go:build !linux

package igmp

import "fmt"

// Tap hears the frames of groups on one interface; on this system it cannot.
type Tap struct{}

// OpenTap fails: hearing the frames of others needs packet sockets.
func OpenTap(name string) (*Tap, error) {
	return nil, fmt.Errorf("igmp: listen on %s: %w; capture with tcpdump or Wireshark and read the file", name, ErrNotSupported)
}

// Interface returns the name of the interface.
func (t *Tap) Interface() string { return "" }

// Read fails.
func (t *Tap) Read([]byte) (int, error) { return 0, ErrNotSupported }

// Close does nothing.
func (t *Tap) Close() error { return nil }

func isDown(error) bool { return false }
