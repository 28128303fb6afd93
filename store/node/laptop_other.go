//go:build !linux

package node

// hasBattery is not found out here: say it with the flag.
func hasBattery() bool { return false }
