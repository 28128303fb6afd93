package replicate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
)

// The keys, all behind PrefixReplicate:
//
//	q machine number  → record: a version that is to be fetched
//	k machine         → number: the last version of an author that was assigned
//	c                 → files, bytes: the size of the queue
const (
	kindQueue = 'q'
	kindKnown = 'k'
	kindCount = 'c'
)

// MaxHolders bounds the machines that one version is assigned to.
const MaxHolders = 256

// Assignment is a version of a file and the machines that shall keep it.
type Assignment struct {
	// Dot names the version; Dot.Machine is its author.
	Dot store.Dot
	// File is what it is a version of.
	File store.FileID
	// Content is what it holds.
	Content store.Content
	// Holders are the machines that shall keep it; at most MaxHolders.
	Holders []store.MachineID
}

// record is the stored form of an Assignment: the key holds the Dot.
type record struct {
	_       struct{} `cbor:",toarray"`
	File    store.FileID
	Content store.Content
	Holders []store.MachineID
}

var recordEnc, recordDec = recordModes()

// recordModes returns canonical encoding (RFC 8949 section 4.2.1) and strict
// decoding.
func recordModes() (cbor.EncMode, cbor.DecMode) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constant
	}
	dec, err := cbor.DecOptions{MaxArrayElements: MaxHolders, MaxNestedLevels: 4, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		panic(err)
	}
	return enc, dec
}

func queueKey(d store.Dot) []byte {
	k := append([]byte{store.PrefixReplicate, kindQueue}, d.Machine[:]...)
	return binary.BigEndian.AppendUint64(k, d.Seq)
}

func knownKey(m store.MachineID) []byte {
	return append([]byte{store.PrefixReplicate, kindKnown}, m[:]...)
}

var (
	countKey   = []byte{store.PrefixReplicate, kindCount}
	queueBegin = []byte{store.PrefixReplicate, kindQueue}
	queueEnd   = []byte{store.PrefixReplicate, kindQueue + 1}
	knownBegin = []byte{store.PrefixReplicate, kindKnown}
	knownEnd   = []byte{store.PrefixReplicate, kindKnown + 1}
)

var errBadRow = errors.New("replicate: damaged queue entry")

// dotOf reads the key of a queue entry.
func dotOf(key []byte) (store.Dot, error) {
	if len(key) != 2+16+8 {
		return store.Dot{}, errBadRow
	}
	return store.Dot{Machine: store.MachineID(key[2:18]), Seq: binary.BigEndian.Uint64(key[18:])}, nil
}

// parseRow reads a queue entry.
func parseRow(key, value []byte) (Assignment, error) {
	d, err := dotOf(key)
	if err != nil {
		return Assignment{}, err
	}
	var r record
	if err := recordDec.Unmarshal(value, &r); err != nil {
		return Assignment{}, fmt.Errorf("%w %v: %w", errBadRow, d, err)
	}
	if r.Content.Size < 0 {
		return Assignment{}, fmt.Errorf("%w %v: size %d", errBadRow, d, r.Content.Size)
	}
	return Assignment{Dot: d, File: r.File, Content: r.Content, Holders: r.Holders}, nil
}

// check refuses what no version can be.
func (a *Assignment) check() error {
	switch {
	case a.Dot.Machine.IsZero() || a.Dot.Seq == 0:
		return fmt.Errorf("replicate: %v names no version", a.Dot)
	case a.Content.Size < 0:
		return fmt.Errorf("replicate: %v: size %d", a.Dot, a.Content.Size)
	case len(a.Holders) > MaxHolders:
		return fmt.Errorf("replicate: %v: %d holders, limit %d", a.Dot, len(a.Holders), MaxHolders)
	}
	return nil
}

// put queues a.
func put(tx store.Txn, a Assignment) error {
	if _, err := take(tx, a.Dot); err != nil {
		return err
	}
	v, err := recordEnc.Marshal(record{File: a.File, Content: a.Content, Holders: slices.Clone(a.Holders)})
	if err != nil {
		return fmt.Errorf("replicate: %v: %w", a.Dot, err)
	}
	if err := tx.Set(queueKey(a.Dot), v); err != nil {
		return err
	}
	return count(tx, 1, a.Content.Size)
}

// take removes a version from the queue and returns it, nil when it was not there.
func take(tx store.Txn, d store.Dot) (*Assignment, error) {
	key := queueKey(d)
	v, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a, err := parseRow(key, v)
	if err != nil {
		return nil, err
	}
	if err := tx.Delete(key); err != nil {
		return nil, err
	}
	return &a, count(tx, -1, -a.Content.Size)
}

// know raises the last known version of d's author.
func know(tx store.Txn, d store.Dot) error {
	last, err := known(tx, d.Machine)
	if err != nil || last >= d.Seq {
		return err
	}
	return tx.Set(knownKey(d.Machine), binary.BigEndian.AppendUint64(nil, d.Seq))
}

// known returns the last version of an author that was assigned; 0 for none.
func known(r store.Reader, m store.MachineID) (uint64, error) {
	v, err := r.Get(knownKey(m))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, errBadRow
	}
	return binary.BigEndian.Uint64(v), nil
}

// count adds to the size of the queue.
func count(tx store.Txn, files, bytes int64) error {
	f, b, err := counted(tx)
	if err != nil {
		return err
	}
	v := binary.BigEndian.AppendUint64(nil, uint64(f+files))
	return tx.Set(countKey, binary.BigEndian.AppendUint64(v, uint64(b+bytes)))
}

func counted(r store.Reader) (files, bytes int64, err error) {
	v, err := r.Get(countKey)
	if errors.Is(err, store.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	if len(v) != 16 {
		return 0, 0, errBadRow
	}
	return int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:])), nil
}
