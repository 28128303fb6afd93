package peer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/gofrs/flock"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/failstop"
)

var (
	// ErrLocked reports a directory that another node has open.
	ErrLocked = errors.New("the directory is in use by another node")
	// ErrDamaged reports a directory whose records are not what was written.
	ErrDamaged = errors.New("the directory is damaged: put it aside and start with an empty one; the others still have the records")
	// ErrDiskFull reports a disk without room. What was answered is kept; a node that is
	// opened after room was made goes on with it.
	ErrDiskFull = errors.New("the disk is full: make room, and start the node again")
)

// Keys of the disk. Those of the records follow keyRecords.
var (
	keyIncarnation = []byte{'i'}
	keyMembers     = []byte{'m'}
	keyRecords     = []byte{'r'}
)

// disk is what a node keeps: its incarnation, whom it knows, and its records.
type disk struct {
	dir  string
	lock *flock.Flock
	db   *database
}

// openDisk opens dir, which it makes for its owner alone where it is not there.
func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := &disk{dir: dir, lock: flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))}
	held, err := d.lock.TryLock()
	if err == nil && !held {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if d.db, err = openDatabase(vfs.Default, filepath.Join(dir, "db")); err != nil {
		return nil, errors.Join(err, d.lock.Unlock())
	}
	return d, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checked appends the checksum of key and value to value.
func checked(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.BigEndian.AppendUint32(value, sum)
}

// unchecked returns the value without its checksum.
func unchecked(key, value []byte) ([]byte, error) {
	n := len(value) - crc32.Size
	if n < 0 {
		return nil, fmt.Errorf("%w: the value of key %x is cut off", ErrDamaged, key)
	}
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:n])
	if sum != binary.BigEndian.Uint32(value[n:]) {
		return nil, fmt.Errorf("%w: the value of key %x has a wrong checksum", ErrDamaged, key)
	}
	return value[:n], nil
}

// get returns the value of a key, nil when there is none.
func (d *disk) get(key []byte) ([]byte, error) {
	v, closer, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, named(err)
	}
	v, err = unchecked(key, bytes.Clone(v))
	return v, errors.Join(err, closer.Close())
}

// newIncarnation counts a start of the node, durably, and returns its number, from 1.
func (d *disk) newIncarnation() (uint64, error) {
	b, err := d.get(keyIncarnation)
	if err != nil {
		return 0, err
	}
	n := uint64(1)
	if len(b) == 8 {
		n = binary.BigEndian.Uint64(b) + 1
	}
	v := checked(keyIncarnation, binary.BigEndian.AppendUint64(nil, n))
	return n, d.db.set(keyIncarnation, v, pebble.Sync)
}

// savedMember is a node as the disk keeps it.
type savedMember struct {
	ID          string `json:"id"`
	Incarnation uint64 `json:"incarnation"`
	Address     string `json:"address"`
}

// saveMembers remembers whom the node knows. It is not synced: an old list will do.
func (d *disk) saveMembers(list []dht.Peer) error {
	saved := make([]savedMember, 0, len(list))
	for _, p := range list {
		saved = append(saved, savedMember{Space().Format(p.ID), p.Incarnation, p.Address.String()})
	}
	b, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return d.db.set(keyMembers, checked(keyMembers, b), pebble.NoSync)
}

// members returns whom the node knew. What cannot be read is left out.
func (d *disk) members() ([]dht.Peer, error) {
	b, err := d.get(keyMembers)
	if err != nil || b == nil {
		return nil, err
	}
	var saved []savedMember
	if err := json.Unmarshal(b, &saved); err != nil {
		return nil, fmt.Errorf("%w: the list of members: %w", ErrDamaged, err)
	}
	var list []dht.Peer
	for _, s := range saved {
		id, err := Space().Parse(s.ID)
		at, ok := parseAddress(s.Address)
		if err == nil && ok {
			list = append(list, dht.Peer{ID: id, Incarnation: s.Incarnation, Address: at})
		}
	}
	return list, nil
}

// close closes the directory. Whoever uses it has been told what the disk failed with.
func (d *disk) close() error {
	err := d.db.Close()
	if errors.Is(err, failstop.ErrFailed) {
		err = nil
	}
	return errors.Join(err, d.lock.Unlock())
}

// records returns the rows that the records' engine has saved, by rising keys. The
// function that is returned tells afterwards what went wrong.
func (d *disk) records() (iter.Seq2[[]byte, []byte], func() error) {
	var failure error
	rows := func(yield func(key, value []byte) bool) {
		it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: keyRecords, UpperBound: []byte{keyRecords[0] + 1}})
		if err != nil {
			failure = err
			return
		}
		more := true
		for ok := it.First(); ok && more && failure == nil; ok = more && it.Next() {
			var v []byte
			if v, failure = it.ValueAndErr(); failure == nil {
				v, failure = unchecked(it.Key(), v)
			}
			if failure == nil {
				more = yield(it.Key()[len(keyRecords):], v)
			}
		}
		failure = errors.Join(failure, it.Error(), it.Close())
	}
	return rows, func() error { return named(failure) }
}
