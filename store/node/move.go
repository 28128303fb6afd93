package node

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store/pool"
)

// How a machine's directory gets out of a pool, and into another one. Each step can be
// done again after a crash:
//
//  1. The file leftName appears: the machine belongs to its pool no more. Before it, all
//     is as it was. If the file says joiningText, the directory joiningName holds a whole
//     membership of another pool.
//  2. What it kept is removed. Then leftName is removed or, with joiningText in it, becomes
//     readyName in joiningName.
//  3. Where readyName is, that membership is moved into place, the secret last.
const (
	leftName    = "left"
	joiningName = "joining"
	readyName   = "ready"
	leftText    = "This machine has left its pool. What it kept is being removed.\n"
	joiningText = "This machine is moving to another pool. What it kept is being removed.\n"
	// neighboursName holds where members of the pool may be reached, until the machine
	// is opened for the first time.
	neighboursName = "neighbours"
)

// giveUp does the first step; Close does the others.
func (m *Machine) giveUp(text string) error {
	err := replaceFile(filepath.Join(m.cfg.Dir, leftName), []byte(text))
	if err == nil {
		m.left.Store(true)
	}
	return err
}

// resumeMove does what is left to be done in dir, if anything is.
func resumeMove(dir string) error {
	for _, name := range []string{leftName, filepath.Join(joiningName, readyName)} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			unlock, err := lockDir(dir) // which does it
			if err != nil {
				return err
			}
			unlock()
		}
	}
	return nil
}

// finishMove does steps 2 and 3. The caller holds the directory's lock, and nothing in
// it is open.
func finishMove(dir string) error {
	marker := filepath.Join(dir, leftName)
	joining := filepath.Join(dir, joiningName)
	ready := filepath.Join(joining, readyName)
	if text, err := os.ReadFile(marker); err == nil {
		var errs []error
		for _, name := range []string{pool.SecretFile, pool.KeyFile, pool.CertificateFile, WebDAVTokenFile, neighboursName, begunName, indexName, segmentsName} {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("node: leave: %w", err)
		}
		if string(text) == joiningText {
			err = os.Rename(marker, ready)
		} else {
			err = os.Remove(marker)
		}
		if err != nil {
			return fmt.Errorf("node: leave: %w", err)
		}
	}
	if _, err := os.Stat(ready); err != nil {
		return nil //nolint:nilerr // the usual case
	}
	for _, name := range []string{pool.KeyFile, pool.CertificateFile, neighboursName, pool.SecretFile} {
		err := os.Rename(filepath.Join(joining, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("node: join: %w", err)
		}
	}
	if err := os.RemoveAll(joining); err != nil {
		return fmt.Errorf("node: join: %w", err)
	}
	return nil
}

// writeNeighbours keeps where members may be reached for the machine's first start.
func writeNeighbours(dir string, members []memberAddress) error {
	b, err := cbor.Marshal(members[:min(len(members), maxJoinMembers)])
	if err != nil {
		return fmt.Errorf("node: join: %w", err)
	}
	return replaceFile(filepath.Join(dir, neighboursName), b)
}

// meetNeighbours remembers where members may be reached, for the node to dial. That it
// cannot is no reason to stop: they may be found otherwise.
func (m *Machine) meetNeighbours() {
	path := filepath.Join(m.cfg.Dir, neighboursName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var members []memberAddress
	if err == nil {
		err = strictCBOR.Unmarshal(b, &members)
	}
	if err != nil {
		m.log.Warn("where the members of the pool are is not known", "error", err)
		return
	}
	for _, x := range members[:min(len(members), maxJoinMembers)] {
		var addrs []netip.AddrPort
		for _, s := range x.Addrs[:min(len(x.Addrs), maxAddresses)] {
			if a, err := netip.ParseAddrPort(s); err == nil && a.Port() != 0 && !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
		if len(addrs) > 0 && x.Machine != m.ID() {
			m.core.remember(x.Machine, addrs)
		}
	}
	if err := errors.Join(m.core.sync(), os.Remove(path)); err != nil {
		m.log.Debug("neighbours", "error", err)
	}
}
