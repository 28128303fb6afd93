package linklocal

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// stateFile names the file of one interface: the hardware address outlives the
// interface's name.
func stateFile(dir string, hw HardwareAddr) string {
	return filepath.Join(dir, strings.ReplaceAll(hw.String(), ":", "-"))
}

// Remembered returns the address that [Claim] noted in dir for the interface
// with that hardware address; zero and no error if there is none (RFC 3927
// section 2.1).
func Remembered(dir string, hw HardwareAddr) (netip.Addr, error) {
	f, err := os.Open(stateFile(dir, hw))
	if errors.Is(err, os.ErrNotExist) {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("linklocal: remembered address: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("linklocal: remembered address: %w", err)
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(b)))
	if err != nil || !Selectable(a) {
		return netip.Addr{}, fmt.Errorf("linklocal: %s does not hold a link-local address", f.Name())
	}
	return a, nil
}

// remember notes the address so that a crash leaves the old note or the new one:
// written beside, synced, renamed, and the directory synced.
func remember(dir string, hw HardwareAddr, a netip.Addr) (err error) {
	if old, err := Remembered(dir, hw); err == nil && old == a {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("linklocal: remember %v: %w", a, err)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, a)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), stateFile(dir, hw))
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename durable. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
