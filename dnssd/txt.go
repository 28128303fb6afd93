package dnssd

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrTXT reports attributes that cannot be put into a TXT record.
var ErrTXT = errors.New("dnssd: bad TXT")

// Sizes in bytes (RFC 6763 sections 6.1, 6.2, 6.4).
const (
	stringMax  = 255  // one string of a TXT record
	txtMax     = 8900 // what fits a multicast DNS message
	keyLong    = 9    // keys should not be longer
	txtTypical = 200
	txtMessage = 400  // fits a DNS message of 512 bytes
	txtFrame   = 1300 // fits an Ethernet frame
)

// State says how an attribute stands in a TXT record (RFC 6763 section 6.4).
type State int

// The four states.
const (
	// Absent: there is no such key.
	Absent State = iota
	// NoValue: the key is there without '=': "passreq".
	NoValue
	// EmptyValue: nothing follows the '=': "PlugIns=".
	EmptyValue
	// HasValue: "PlugIns=JPEG".
	HasValue
)

var stateNames = [...]string{"absent", "no value", "empty value", "value"}

// String returns the state in words: "empty value".
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Attribute is one "key=value" or "key" (RFC 6763 section 6.3).
type Attribute struct {
	// Key is 1 or more printable ASCII characters without '='. Case is kept and does
	// not matter.
	Key string
	// Value is any bytes. Nil means that there is no '='; empty and not nil, that
	// nothing follows it.
	Value []byte
}

// ParseAttribute reads "key=value", "key=" or "key" as a user writes it. It fails
// with [ErrTXT] when the key breaks the rules of RFC 6763 section 6.4 or the whole
// is longer than 255 bytes.
func ParseAttribute(s string) (Attribute, error) {
	a, ok := cutAttribute([]byte(s))
	if !ok {
		return a, fmt.Errorf("%w: %q has no key of printable ASCII before the =", ErrTXT, s)
	}
	return a, a.check()
}

// cutAttribute takes a string of a TXT record apart. ok is false when the key is
// missing or has bytes that no key may have.
func cutAttribute(s []byte) (a Attribute, ok bool) {
	key, value, found := bytes.Cut(s, []byte{'='})
	a.Key = string(key)
	if found {
		a.Value = append([]byte{}, value...)
	}
	return a, goodKey(a.Key)
}

// goodKey is the rule of RFC 6763 section 6.4.
func goodKey(key string) bool {
	for i := range len(key) {
		if key[i] < 0x20 || key[i] > 0x7e || key[i] == '=' {
			return false
		}
	}
	return key != ""
}

func (a Attribute) check() error {
	if !goodKey(a.Key) {
		return fmt.Errorf("%w: key %q is not printable ASCII without =", ErrTXT, a.Key)
	}
	if n := a.size(); n > stringMax {
		return fmt.Errorf("%w: attribute %q has %d bytes, limit %d", ErrTXT, a.Key, n, stringMax)
	}
	return nil
}

// size is the length of the string, without its length byte.
func (a Attribute) size() int {
	if a.Value == nil {
		return len(a.Key)
	}
	return len(a.Key) + 1 + len(a.Value)
}

// State returns NoValue, EmptyValue or HasValue.
func (a Attribute) State() State {
	switch {
	case a.Value == nil:
		return NoValue
	case len(a.Value) == 0:
		return EmptyValue
	}
	return HasValue
}

// String returns "key=value" or "key", the value's bytes as they are: not for a
// terminal.
func (a Attribute) String() string {
	if a.Value == nil {
		return a.Key
	}
	return a.Key + "=" + string(a.Value)
}

// TXT is the attributes of an instance, in their order, each key once. Nil is a TXT
// record without attributes.
type TXT []Attribute

// ParseTXT reads the rdata of a TXT record. As RFC 6763 section 6.4 asks, strings
// that begin with '=' and all but the first of a key are silently ignored; so are
// empty strings and keys with bytes that no key may have. No data at all is the same
// as no attributes (section 6.1). It fails with [ErrTXT] when a string is longer than
// the rest, and returns what stood before it.
func ParseTXT(rdata []byte) (TXT, error) {
	var t TXT
	seen := make(map[string]bool)
	for len(rdata) > 0 {
		n := int(rdata[0])
		if n >= len(rdata) {
			return t, fmt.Errorf("%w: string of %d bytes in the last %d", ErrTXT, n, len(rdata)-1)
		}
		a, ok := cutAttribute(rdata[1 : 1+n])
		rdata = rdata[1+n:]
		if key := fold(a.Key); ok && !seen[key] {
			seen[key] = true
			t = append(t, a)
		}
	}
	return t, nil
}

// Append appends the rdata of a TXT record to b: one zero byte when there are no
// attributes, since a record without strings must not be sent (RFC 6763 section 6.1).
// It fails with [ErrTXT] on a bad or repeated key, a string over 255 bytes, and a
// record over 8900 bytes.
func (t TXT) Append(b []byte) ([]byte, error) {
	if len(t) == 0 {
		return append(b, 0), nil
	}
	start := len(b)
	seen := make(map[string]bool, len(t))
	for _, a := range t {
		if err := a.check(); err != nil {
			return nil, err
		}
		key := fold(a.Key)
		if seen[key] {
			return nil, fmt.Errorf("%w: key %q twice", ErrTXT, a.Key)
		}
		seen[key] = true
		b = append(b, byte(a.size()))
		b = append(b, a.String()...)
	}
	if n := len(b) - start; n > txtMax {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTXT, n, txtMax)
	}
	return b, nil
}

// Get returns the value of the first attribute with that key, and its state.
func (t TXT) Get(key string) ([]byte, State) {
	for _, a := range t {
		if fold(a.Key) == fold(key) {
			return a.Value, a.State()
		}
	}
	return nil, Absent
}

// Version returns the number of the version tag, "txtvers=2" (RFC 6763 section 6.7). ok
// is false when there is none, or no number. Whoever does not know that version
// should take no notice of the attributes.
func (t TXT) Version() (n int, ok bool) {
	value, _ := t.Get("txtvers")
	n, err := strconv.Atoi(string(value))
	return n, err == nil && n >= 0
}

// Equal reports whether t and u have the same attributes in the same order.
func (t TXT) Equal(u TXT) bool {
	return slices.EqualFunc(t, u, func(a, b Attribute) bool {
		return a.Key == b.Key && a.State() == b.State() && bytes.Equal(a.Value, b.Value)
	})
}

// Strings returns each attribute as "key=value" or "key".
func (t TXT) Strings() []string {
	s := make([]string, len(t))
	for i, a := range t {
		s[i] = a.String()
	}
	return s
}

// Warnings returns what RFC 6763 advises against and yet allows: long keys (section
// 6.4), a record of more than 200, 400 or 1300 bytes (section 6.2), a version tag
// that is not first (section 6.7), and keys that seem to say what the SRV record says
// (section 6.3).
func (t TXT) Warnings() []string {
	var w []string
	size := 0
	for i, a := range t {
		size += 1 + a.size()
		if len(a.Key) > keyLong {
			w = append(w, fmt.Sprintf("key %q is longer than %d characters", a.Key, keyLong))
		}
		if i > 0 && strings.EqualFold(a.Key, "txtvers") {
			w = append(w, "txtvers is not the first attribute")
		}
		if k := fold(a.Key); k == "port" || k == "host" || k == "hostname" {
			w = append(w, fmt.Sprintf("key %q: host and port are in the SRV record and must not be here too", a.Key))
		}
	}
	switch {
	case size > txtFrame:
		w = append(w, fmt.Sprintf("%d bytes do not fit an Ethernet frame: more than %d are not recommended", size, txtFrame))
	case size > txtMessage:
		w = append(w, fmt.Sprintf("%d bytes do not fit a DNS message of 512 bytes: keep them under %d", size, txtMessage))
	case size > txtTypical:
		w = append(w, fmt.Sprintf("%d bytes are more than the typical %d", size, txtTypical))
	}
	return w
}
