package tree

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aether-lan/aether/store"
)

// node is what is kept of a file, a directory, or another name of a file.
type node struct {
	_        struct{} `cbor:",toarray"`
	Dir      bool
	Linked   bool         // file: other names were made
	Target   store.FileID // another name: the file
	Born     mark
	Place    place
	Attr     attr
	Versions []version  // that no other has replaced
	Deletes  []deletion // that no other has seen
	View     view
}

// place is the register that moves write.
type place struct {
	_      struct{} `cbor:",toarray"`
	Parent store.FileID
	Name   string
	At     mark
}

// attr holds the registers of mode and owner, and of the modification time that
// was set without writing. They are two, lest who changes a mode take back the
// time of a version that he has not seen.
type attr struct {
	_        struct{} `cbor:",toarray"`
	Mode     uint32
	UID, GID uint32 // plus one; 0 for never set
	At       mark
	ModTime  int64
	TimeAt   mark
}

// version is one version of a file's bytes.
type version struct {
	_         struct{} `cbor:",toarray"`
	At        mark
	Content   store.Content
	ModTime   int64
	Holders   []store.MachineID
	Discarded bool
	Placed    mark          // the assignment that counts; zero for none
	Sealed    store.Content // the bytes as it found them sealed anew; zero for Content
}

// stored returns how the bytes lie in chunks. Content tells versions with equal bytes
// from others and stays what it was when they were written.
func (v *version) stored() store.Content { return storedAs(v.Content, v.Sealed) }

func storedAs(c, sealed store.Content) store.Content {
	if sealed != (store.Content{}) {
		return sealed
	}
	return c
}

// placed names the operation that named the holders.
func (v *version) placed() store.Dot {
	if v.Placed.Seq != 0 {
		return v.Placed.dot()
	}
	return v.At.dot()
}

// deletion is a delete operation that may count.
type deletion struct {
	_     struct{} `cbor:",toarray"`
	At    mark
	Spare []dotWire
}

// view is what follows from the registers and the surroundings, kept so that it
// can be taken back.
type view struct {
	_      struct{}     `cbor:",toarray"`
	Home   store.FileID // where the rows lie
	Plain  bool         // has a row at its name
	Winner mark         // file: the version in that row
	Losers []mark       // versions that have a row of their own
	Names  []linkName   // file: its other names that are shown
	Group  store.FileID // directory: where its children's rows lie
	Del    []deletion   // directory: the deletions that hold for it
}

// linkName is another name of a file, as its link node has it.
type linkName struct {
	Link store.FileID
	Home store.FileID
	Name string
	At   mark
}

// isLink reports whether the node is another name of a file.
func (n *node) isLink() bool { return n.Target != store.FileID{} }

// named reports whether a file has a name.
func (v *view) named() bool { return v.Plain || len(v.Names) > 0 }

func (v *view) shown() bool { return v.Plain || len(v.Losers) > 0 }

// row is what a directory shows under one name, as kept.
type row struct {
	_       struct{} `cbor:",toarray"`
	ID      store.FileID
	Kind    rowKind
	At      mark // of the version; zero for a directory
	Content store.Content
	Mode    uint32
	UID     uint32
	GID     uint32
	ModTime int64
	Holders []store.MachineID
	Placed  dotWire // of the version, where other holders were assigned
	Sealed  store.Content
	Via     store.FileID // the link whose name it is; zero for the file's own
	Again   bool         // one of several names, and not the first
}

// bearer returns the node that has the name.
func (r *row) bearer() store.FileID {
	if r.Via != (store.FileID{}) {
		return r.Via
	}
	return r.ID
}

// rowKind says what stands behind a row.
type rowKind uint8

const (
	rowDir    rowKind = iota // a directory
	rowFile                  // the winner of a file, at the file's name
	rowPlaced                // the winner of a file, whose name another bears
	rowLoser                 // a losing version
)

// state is what is kept of the tree as a whole.
type state struct {
	_         struct{}   `cbor:",toarray"`
	Clock     store.Time // the latest stamp seen
	Own       store.Time // the latest reading of our own clock
	Files     int64
	Bytes     int64
	Conflicts int64
	Parked    int64
	News      int64    // machines heard of since our own last operation
	Last      uint64   // the number of our own last operation
	Sum       [32]byte // of the hashes of all that is shown
	Root      attr     // of the root directory
	Past      pastTotals
	Horizon   store.Time // the latest; what was removed before it does not come back
	Lapsed    bool       // machines have been retired
}

// get reads a record; a missing one is store.ErrNotFound.
func get[T any](r store.Reader, k []byte) (v T, err error) {
	b, err := r.Get(k)
	if err != nil {
		return v, err
	}
	if err := decode(b, &v); err != nil {
		return v, fmt.Errorf("tree: read record: %w", err)
	}
	return v, nil
}

func put(tx store.Txn, k []byte, v any) error {
	b, err := encode(v)
	if err != nil {
		return fmt.Errorf("tree: write record: %w", err)
	}
	return tx.Set(k, b)
}

// loadNode reads a node. The root has no record; its attributes are in the state.
func loadNode(r store.Reader, id store.FileID) (node, error) {
	if id == Root {
		return node{Dir: true, View: view{Plain: true}}, nil
	}
	return get[node](r, key(keyNode, id[:]))
}

func loadState(r store.Reader) (state, error) {
	s, err := get[state](r, key(keyState))
	if errors.Is(err, store.ErrNotFound) {
		return state{}, nil
	}
	return s, err
}

// number reads a number; a missing one is 0.
func number(r store.Reader, k []byte) (uint64, error) {
	b, err := r.Get(k)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil || len(b) != 8 {
		return 0, errors.Join(err, lenError(len(b)))
	}
	return be64(b), nil
}

func be64(b []byte) (n uint64) {
	for _, c := range b[:8] {
		n = n<<8 | uint64(c)
	}
	return n
}

func lenError(n int) error {
	if n == 8 || n == 0 {
		return nil
	}
	return fmt.Errorf("tree: read number: %d bytes", n)
}

// epochNano stands for the first nanosecond of 1970, because 0 stands for no time.
const epochNano = math.MinInt64

// unixNano returns t in nanoseconds since 1970, brought into the years from 1678
// to 2261; 0 for the zero time.
func unixNano(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1678:
		return epochNano + 1
	case t.Year() > 2261:
		return math.MaxInt64
	case t.UnixNano() == 0:
		return epochNano
	}
	return t.UnixNano()
}

func fromUnixNano(n int64) time.Time {
	switch n {
	case 0:
		return time.Time{}
	case epochNano:
		return time.Unix(0, 0).UTC()
	}
	return time.Unix(0, n).UTC()
}

// after returns the time following t; the last one follows itself.
func after(t store.Time) store.Time {
	if t == math.MaxUint64 {
		return t
	}
	return t + 1
}
