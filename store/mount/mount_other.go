//go:build !linux

package mount

import (
	"context"

	"github.com/aether-lan/aether/store/drive"
)

// Server is a mounted drive.
type Server struct{}

// Mount fails with [ErrUnsupported] on this system.
func Mount(context.Context, *drive.Drive, string, Config) (*Server, error) {
	return nil, ErrUnsupported
}

// Dir returns the directory that shows the drive.
func (*Server) Dir() string { return "" }

// Wait returns when the drive is no longer mounted.
func (*Server) Wait() {}

// Close unmounts the drive.
func (*Server) Close() error { return ErrUnsupported }

// Unmount takes the mount off dir, whoever made it.
func Unmount(string) error { return ErrUnsupported }
