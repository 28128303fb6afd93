package main

import (
	"errors"
	"strings"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netif"
)

// isNotPermitted reports whether err says that the process lacks a right, or that
// the system cannot do what was asked.
func isNotPermitted(err error) bool {
	return errors.Is(err, netif.ErrNotPermitted) || errors.Is(err, netif.ErrNotSupported) ||
		errors.Is(err, igmp.ErrNotPermitted) || errors.Is(err, igmp.ErrNotSupported) ||
		strings.Contains(err.Error(), "operation not permitted")
}
