package tree

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
)

// Bounds of an encoded operation.
const (
	maxOp      = 64 << 10 // bytes
	maxSeen    = 1024     // machines
	maxHolders = 64
	maxDots    = 256
	maxFields  = 64
)

// ErrBadOp reports bytes that are no operation.
var ErrBadOp = errors.New("bad operation")

// codec holds the two halves of the canonical CBOR of RFC 8949 section 4.2.1.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

var wire = newCodec()

func newCodec() codec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxArrayElements: maxSeen + 16,
		MaxMapPairs:      maxSeen,
		MaxNestedLevels:  8,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc: enc, dec: dec}
}

// dotWire is a dot as it travels: [machine, number].
type dotWire struct {
	_       struct{} `cbor:",toarray"`
	Machine store.MachineID
	Seq     uint64
}

func toWire(dots []store.Dot) []dotWire {
	w := make([]dotWire, len(dots))
	for i, d := range dots {
		w[i] = dotWire{Machine: d.Machine, Seq: d.Seq}
	}
	return w
}

func fromWire(w []dotWire) []store.Dot {
	if len(w) == 0 {
		return nil
	}
	dots := make([]store.Dot, len(w))
	for i, d := range w {
		dots[i] = store.Dot{Machine: d.Machine, Seq: d.Seq}
	}
	return dots
}

// shadow holds the fields of an operation in the shape in which they travel.
type shadow struct {
	seen, dots []dotWire
	modTime    int64
	holders    []store.MachineID
}

// fields lists where the fields of an operation of o's kind lie, in the order in
// which they travel, without those of [Op.extra]. Encoding and decoding share the
// list.
func (o *Op) fields(s *shadow) []any {
	head := []any{&o.Dot.Machine, &o.Dot.Seq, &o.Time, &s.seen, &o.Kind}
	v := &o.Version
	switch o.Kind {
	case KindCreate:
		return append(head, &o.Parent, &o.Name, &o.Dir, &v.Mode, &s.modTime, &v.Content, &s.holders)
	case KindContent:
		return append(head, &o.Node, &v.Content, &s.modTime, &s.holders, &s.dots)
	case KindMove, KindLink:
		return append(head, &o.Node, &o.Parent, &o.Name)
	case KindAssign:
		return append(head, &o.Node, &s.holders, &s.dots)
	case KindDelete, KindDiscard:
		return append(head, &o.Node, &s.dots)
	case KindAttributes:
		return append(head, &o.Node, &v.Mode, &s.modTime)
	case KindXattr:
		return append(head, &o.Node, &o.Name, &o.Body, &o.Removed)
	}
	if o.Kind >= KindForeign || o.Kind >= KindHorizon && o.Kind <= KindPurge {
		return append(head, &o.Body)
	}
	return head
}

// extra lists the fields that the first version of the software did not have.
// They travel only where one of them is set or More follows, so that what has no
// owner is encoded as it always was, and an assignment has a content only where the
// bytes were sealed anew.
func (o *Op) extra() []any {
	if o.Kind == KindCreate || o.Kind == KindAttributes {
		return []any{&o.Version.UID, &o.Version.GID}
	}
	if o.Kind == KindAssign {
		return []any{&o.Version.Content}
	}
	return nil
}

// Append appends the operation to b in canonical CBOR: one array of the fields
// that its kind has, then those in More.
func (o Op) Append(b []byte) ([]byte, error) {
	s := shadow{seen: toWire(o.Seen), dots: toWire(o.Dots), holders: o.Version.Holders}
	s.modTime = unixNano(o.Version.ModTime)
	fields := o.fields(&s)
	if o.Version.UID != 0 || o.Version.GID != 0 || len(o.More) > 0 || o.Kind == KindAssign && o.Version.Content != (store.Content{}) {
		fields = append(fields, o.extra()...)
	}
	n := len(fields) + len(o.More)
	if n > maxFields {
		return b, fmt.Errorf("tree: append: %w: %d fields", ErrBadOp, n)
	}
	start := len(b)
	b = appendHead(slices.Grow(b, 256), cborArray, uint64(n))
	for _, f := range fields {
		var err error
		if b, err = appendField(b, f); err != nil {
			return b[:start], fmt.Errorf("tree: append: %w", err)
		}
	}
	for _, m := range o.More {
		b = append(b, m...)
	}
	if len(b)-start > maxOp {
		return b[:start], fmt.Errorf("tree: append: %w: %d bytes", ErrBadOp, len(b)-start)
	}
	return b, nil
}

// ParseOp reads what [Op.Append] wrote, and refuses everything else: an
// operation has one encoding only.
func ParseOp(b []byte) (Op, error) {
	o, err := parseOp(b)
	if err != nil {
		return Op{}, fmt.Errorf("tree: parse: %w: %w", ErrBadOp, err)
	}
	again, err := o.Append(make([]byte, 0, len(b)))
	if err != nil {
		return Op{}, err
	}
	if !bytes.Equal(again, b) {
		return Op{}, fmt.Errorf("tree: parse: %w: not canonical", ErrBadOp)
	}
	return o, nil
}

func parseOp(b []byte) (o Op, err error) {
	if len(b) > maxOp {
		return o, errors.New("too long")
	}
	var raw []cbor.RawMessage
	if err := wire.dec.Unmarshal(b, &raw); err != nil {
		return o, err
	}
	var s shadow
	if len(raw) < len(o.fields(&s)) || len(raw) > maxFields {
		return o, errors.New("number of fields")
	}
	if err := wire.dec.Unmarshal(raw[4], &o.Kind); err != nil {
		return o, err
	}
	fields := o.fields(&s)
	if len(raw) < len(fields) {
		return o, errors.New("number of fields")
	}
	if extra := o.extra(); len(raw) >= len(fields)+len(extra) {
		fields = append(fields, extra...)
	}
	for i, f := range fields {
		if err := wire.dec.Unmarshal(raw[i], f); err != nil {
			return o, err
		}
	}
	for _, m := range raw[len(fields):] {
		if err := canonical(m); err != nil {
			return o, err
		}
		o.More = append(o.More, m)
	}
	o.Seen, o.Dots = fromWire(s.seen), fromWire(s.dots)
	if len(s.holders) > 0 {
		o.Version.Holders = s.holders
	}
	o.Version.ModTime = fromUnixNano(s.modTime)
	if len(o.Body) == 0 {
		o.Body = nil
	}
	return o, o.check()
}

// canonical refuses a field of the future that is not in canonical form.
func canonical(m []byte) error {
	var v any
	if err := wire.dec.Unmarshal(m, &v); err != nil {
		return err
	}
	again, err := wire.enc.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, m) {
		return errors.New("not canonical")
	}
	return nil
}

// check reports what no author may write, whatever came before.
func (o *Op) check() error {
	switch {
	case o.Dot.Machine.IsZero() || o.Dot.Seq == 0:
		return errors.New("no author")
	case o.Kind == 0:
		return errors.New("no kind")
	case len(o.Seen) > maxSeen || len(o.Dots) > maxDots || len(o.Version.Holders) > maxHolders:
		return errors.New("too many entries")
	case o.Version.Content.Size < 0:
		return errors.New("negative size")
	}
	for i, d := range o.Seen {
		if d.Machine == o.Dot.Machine || d.Seq == 0 || i > 0 && o.Seen[i-1].Machine.Compare(d.Machine) >= 0 {
			return errors.New("vector")
		}
	}
	switch o.Kind {
	case KindCreate, KindMove, KindLink:
		return CheckName(o.Name)
	case KindAssign:
		if len(o.Dots) != 1 {
			return errors.New("assigned not one version")
		}
	case KindXattr:
		if o.Removed && len(o.Body) > 0 {
			return errors.New("removed, with a value")
		}
		return checkXattrName(o.Name)
	}
	return nil
}
