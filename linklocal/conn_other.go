//go:build !linux

package linklocal

import (
	"fmt"
	"runtime"

	"github.com/aether-lan/aether/internal/netif"
)

// listen fails: only Linux has AF_PACKET. The other systems claim link-local
// addresses by themselves.
func listen(i netif.Interface) (conn, error) {
	return nil, fmt.Errorf("linklocal: raw socket on %s: %w: %s claims link-local addresses itself; leave the interface on automatic configuration",
		i.Name, ErrNotSupported, runtime.GOOS)
}

func passing(error) bool { return false }

// broadcastOnly fails: the settings are those of Linux.
func broadcastOnly(string, bool) error { return ErrNotSupported }
