package node

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/aether-lan/aether/store/mount"
)

// mounts are the directories that show the drive.
type mounts struct {
	mu   sync.Mutex
	open map[string]*mount.Server
}

// Mount shows the drive in the directory dir until Unmount, or until the machine is
// closed. With allowOther other users of the host get in.
func (m *Machine) Mount(dir string, allowOther bool) error {
	s, err := mount.Mount(m.background, m.drive, dir, mount.Config{AllowOther: allowOther, Logger: m.log})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	m.mounts.mu.Lock()
	defer m.mounts.mu.Unlock()
	if m.mounts.open == nil {
		m.mounts.open = map[string]*mount.Server{}
	}
	m.mounts.open[s.Dir()] = s
	m.jobs.Go(func() {
		s.Wait()
		m.mounts.mu.Lock()
		defer m.mounts.mu.Unlock()
		if m.mounts.open[s.Dir()] == s {
			delete(m.mounts.open, s.Dir())
		}
	})
	return nil
}

// Unmount takes the drive off dir. It fails with mount.ErrBusy while programs use it.
func (m *Machine) Unmount(dir string) error {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if err := mount.Unmount(dir); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	m.mounts.mu.Lock()
	s := m.mounts.open[dir]
	m.mounts.mu.Unlock()
	if s != nil {
		s.Wait()
	}
	return nil
}

// Mounts returns the directories that show the drive.
func (m *Machine) Mounts() []string {
	m.mounts.mu.Lock()
	defer m.mounts.mu.Unlock()
	return slices.Sorted(maps.Keys(m.mounts.open))
}

// unmountAll takes the drive off everywhere. Programs that still use it get errors.
func (m *Machine) unmountAll() error {
	m.mounts.mu.Lock()
	all := slices.Collect(maps.Values(m.mounts.open))
	m.mounts.mu.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
