package tree

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aether-lan/aether/store"
)

// Bounds of extended attributes, those of Linux (xattr(7)) where they fit.
const (
	maxXattrName = 255           // bytes
	maxXattr     = maxOp - 2<<10 // bytes of a value, so that it fits in an operation
	maxXattrs    = 64 << 10      // bytes of all names and values of a node
)

// ErrTooLarge reports an extended attribute beyond the bounds: 255 bytes for the
// name, 62 KiB for the value, 64 KiB for all names and values of one file.
var ErrTooLarge = errors.New("extended attribute too large")

// xattr is the register of one extended attribute. One that was removed stays,
// lest a change with an earlier stamp bring it back.
type xattr struct {
	_       struct{} `cbor:",toarray"`
	At      mark
	Removed bool
	Value   []byte
}

func xattrKey(id store.FileID, name string) []byte {
	return key(keyXattr, id[:], []byte(name))
}

// checkXattrName returns ErrTooLarge or ErrBadName.
func checkXattrName(name string) error {
	switch {
	case len(name) > maxXattrName:
		return fmt.Errorf("%w: name of %d bytes", ErrTooLarge, len(name))
	case name == "" || strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name):
		return fmt.Errorf("%w: %q", ErrBadName, name)
	}
	return nil
}

// setXattr enters an operation: of the values of one name the latest counts.
func (w *work) setXattr(op *Op) error {
	if op.Node != Root {
		n, err := w.known(op, op.Node)
		if err == nil && n.isLink() {
			err = errInvalid
		}
		if err != nil {
			return err
		}
	}
	k := xattrKey(op.Node, op.Name)
	was, err := w.tx.Get(k)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	default:
		var old xattr
		if err := decode(was, &old); err != nil {
			return err
		}
		if op.mark().compare(old.At) <= 0 {
			return nil
		}
		w.digest(k, was, -1)
	}
	x := xattr{At: op.mark(), Removed: op.Removed, Value: append([]byte{}, op.Body...)} // nil would be written differently
	b, err := encode(&x)
	if err != nil {
		return err
	}
	w.digest(k, b, +1)
	return w.tx.Set(k, b)
}

// xattrNode returns the node that keeps the attributes of id, and its latest time.
func xattrNode(r store.Reader, id store.FileID) (store.FileID, error) {
	n, err := loadNode(r, id)
	if err == nil && n.Dir {
		id = n.View.Group
	}
	return id, err
}

// SetXattr gives the file or directory id the extended attribute name. It does
// not conflict with any other change; of two values the later one counts. It
// fails with store.ErrNotFound, ErrBadName and ErrTooLarge.
func (t *Tree) SetXattr(tx store.Txn, id store.FileID, name string, value []byte, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "set xattr", name, func(l *local) error {
		if err := checkXattrName(name); err != nil {
			return err
		}
		id, err := xattrNode(l.tx, id)
		if err != nil {
			return err
		}
		total := len(name) + len(value)
		if err := xattrs(l.tx, id, func(n string, x xattr) {
			if n != name {
				total += len(n) + len(x.Value)
			}
		}); err != nil {
			return err
		}
		if len(value) > maxXattr || total > maxXattrs {
			return fmt.Errorf("%w: %d bytes, %d with the others", ErrTooLarge, len(value), total)
		}
		return l.putXattr(id, Op{Name: name, Body: value})
	})
}

// RemoveXattr takes an extended attribute away. It fails with store.ErrNotFound.
func (t *Tree) RemoveXattr(tx store.Txn, id store.FileID, name string, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "remove xattr", name, func(l *local) error {
		if _, err := t.Xattr(l.tx, id, name); err != nil {
			return err
		}
		id, err := xattrNode(l.tx, id)
		if err != nil {
			return err
		}
		return l.putXattr(id, Op{Name: name, Removed: true})
	})
}

func (l *local) putXattr(id store.FileID, op Op) error {
	old, err := get[xattr](l.tx, xattrKey(id, op.Name))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	op.Kind, op.Node = KindXattr, id
	if err := l.issue(op, old.At.Time); err != nil {
		return err
	}
	if _, err := l.ops[len(l.ops)-1].Append(nil); err != nil { // too much seen besides
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return nil
}

// copyXattrs gives a new file the extended attributes of another.
func (l *local) copyXattrs(from, to store.FileID) error {
	var ops []Op
	if err := xattrs(l.tx, from, func(name string, x xattr) {
		ops = append(ops, Op{Name: name, Body: x.Value})
	}); err != nil {
		return err
	}
	for _, op := range ops {
		if err := l.putXattr(to, op); err != nil {
			return err
		}
	}
	return nil
}

// Xattr returns the value of an extended attribute, or store.ErrNotFound.
func (t *Tree) Xattr(r store.Reader, id store.FileID, name string) ([]byte, error) {
	id, err := xattrNode(r, id)
	if err == nil {
		err = checkXattrName(name)
	}
	var x xattr
	if err == nil {
		x, err = get[xattr](r, xattrKey(id, name))
	}
	if err == nil && x.Removed {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("tree: xattr %s: %w", name, err)
	}
	return x.Value, nil
}

// Xattrs returns the names of the extended attributes of id, sorted as bytes.
func (t *Tree) Xattrs(r store.Reader, id store.FileID) (names []string, err error) {
	id, err = xattrNode(r, id)
	if err == nil {
		err = xattrs(r, id, func(name string, _ xattr) { names = append(names, name) })
	}
	if err != nil {
		return nil, fmt.Errorf("tree: xattrs: %w", err)
	}
	return names, nil
}

// xattrs calls f with the extended attributes of a node, in the order of names.
func xattrs(r store.Reader, id store.FileID, f func(name string, x xattr)) error {
	from := key(keyXattr, id[:])
	var bad error
	err := r.Scan(from, end(from), func(k, v []byte) bool {
		var x xattr
		if bad = decode(v, &x); bad == nil && !x.Removed {
			f(string(k[len(from):]), x)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}
