package tree

import (
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
)

// ErrTooLarge reports an extended attribute, or all of a node's, over what can be
// kept.
var ErrTooLarge = errors.New("too large")

const (
	maxXattrName = 255
	// maxXattrs bounds the names and values of a node in bytes, and so each of them.
	maxXattrs = maxOp - 4<<10
)

// xattr is the register of one extended attribute of a node.
type xattr struct {
	_       struct{} `cbor:",toarray"`
	At      mark
	Removed bool
	Value   []byte
}

func xattrKey(id store.FileID, name string) []byte { return key(keyXattr, id[:], []byte(name)) }

// setXattr enters an operation: the one with the latest stamp counts for each name.
func (w *work) setXattr(op *Op) error {
	if op.Node != Root {
		if _, err := w.known(op, op.Node); err != nil {
			return err
		}
	}
	k := xattrKey(op.Node, op.Name)
	old, err := get[xattr](w.tx, k)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case op.mark().compare(old.At) <= 0:
		return nil
	default:
		if err := w.sumXattr(k, old, -1); err != nil {
			return err
		}
	}
	now := xattr{At: op.mark(), Removed: op.Dir, Value: op.Body}
	if err := w.sumXattr(k, now, +1); err != nil {
		return err
	}
	return put(w.tx, k, &now)
}

func (w *work) sumXattr(k []byte, x xattr, by int64) error {
	b, err := wire.enc.Marshal(&x)
	if err == nil {
		w.sum(k, b, row{Kind: rowDir}, by)
	}
	return err
}

// SetXattr gives the file or directory id the extended attribute name. It fails with
// ErrTooLarge and ErrBadName.
func (t *Tree) SetXattr(tx store.Txn, id store.FileID, name string, value []byte, now time.Time) ([]Op, []Event, error) {
	return t.at(tx, now, "set attribute", func(l *local) error {
		total := len(name) + len(value)
		err := xattrs(l.tx, id, func(n string, x xattr) {
			if n != name {
				total += len(n) + len(x.Value)
			}
		})
		switch {
		case err != nil:
			return err
		case name == "" || len(name) > maxXattrName:
			return fmt.Errorf("%w: attribute %.64q", ErrBadName, name)
		case total > maxXattrs:
			return fmt.Errorf("%w: the attributes have %d bytes, at most %d can be kept", ErrTooLarge, total, maxXattrs)
		}
		return l.issue(Op{Kind: KindXattr, Node: id, Name: name, Body: value}, nil)
	})
}

// RemoveXattr removes an extended attribute. It fails with store.ErrNotFound.
func (t *Tree) RemoveXattr(tx store.Txn, id store.FileID, name string, now time.Time) ([]Op, []Event, error) {
	return t.at(tx, now, "remove attribute", func(l *local) error {
		if _, err := t.Xattr(l.tx, id, name); err != nil {
			return err
		}
		return l.issue(Op{Kind: KindXattr, Node: id, Name: name, Dir: true}, nil)
	})
}

// Xattr returns the value of an extended attribute, or store.ErrNotFound.
func (t *Tree) Xattr(r store.Reader, id store.FileID, name string) ([]byte, error) {
	x, err := get[xattr](r, xattrKey(id, name))
	if err == nil && x.Removed {
		err = store.ErrNotFound
	}
	return x.Value, err
}

// Xattrs returns the names of the extended attributes of a node, in order.
func (t *Tree) Xattrs(r store.Reader, id store.FileID) (names []string, err error) {
	err = xattrs(r, id, func(name string, _ xattr) { names = append(names, name) })
	return names, err
}

func xattrs(r store.Reader, id store.FileID, f func(name string, x xattr)) error {
	from := xattrKey(id, "")
	var bad error
	err := r.Scan(from, end(from), func(k, v []byte) bool {
		var x xattr
		if bad = wire.dec.Unmarshal(v, &x); bad == nil && !x.Removed {
			f(string(k[len(from):]), x)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}
