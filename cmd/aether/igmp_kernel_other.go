//go:build !linux

package main

import (
	"net/netip"

	"github.com/aether-lan/aether/internal/netif"
)

// kernelJoined reports whether the kernel has joined group; here it cannot be asked.
func kernelJoined(netif.Interface, netip.Addr) bool { return false }
