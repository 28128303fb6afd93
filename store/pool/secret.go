package pool

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrBadText reports text that is no key or secret. It never says what the text
// was.
var ErrBadText = errors.New("pool: not a valid key or secret")

const (
	secretPrefix  = "aether-pool-1-"
	machinePrefix = "aether-machine-1-"

	keySize      = 32
	checksumSize = 3
	textSize     = (keySize + checksumSize) * 8 / 5
	groupSize    = 4
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Secret is what the machines of a pool share: 32 random bytes, and which generation
// they are. Formatting and logging a Secret shows nothing of it; [Secret.Text] is for
// people. The zero Secret belongs to no pool.
type Secret struct {
	b      [keySize]byte
	number uint32 // of the generation; see Ring
}

// NewSecret returns a fresh random Secret of generation 0.
func NewSecret() Secret {
	var s Secret
	rand.Read(s.b[:]) // never fails (crypto/rand)
	return s
}

// ParseSecret reads what [Secret.Text] writes. Upper case, white space and hyphens
// in other places are forgiven, because people copy it by hand; a wrong character
// is found by the checksum. The error wraps ErrBadText and does not repeat s.
func ParseSecret(s string) (Secret, error) {
	var number uint32
	prefix := secretPrefix
	if head := strings.ToLower(strings.TrimSpace(s[:min(len(s), maxText)])); strings.HasPrefix(head, generationPrefix) {
		var ok bool
		if number, ok = parseGeneration(head); !ok {
			return Secret{}, fmt.Errorf("%w: no generation behind %q", ErrBadText, generationPrefix)
		}
		prefix = generationText(number)
	}
	b, err := parseKeyText(prefix, s)
	if err != nil {
		return Secret{}, err
	}
	return Secret{b: b, number: number}, nil
}

// Text returns the Secret as text: "aether-pool-1-", or for a later generation
// "aether-generation-1-NUMBER-", and 14 groups of 4 characters. Whoever sees that of
// the newest generation can join the pool.
func (s Secret) Text() string {
	if s.number > 0 {
		return keyText(generationText(s.number), s.b)
	}
	return keyText(secretPrefix, s.b)
}

// Bytes returns a copy of the 32 bytes.
func (s Secret) Bytes() []byte { return append([]byte(nil), s.b[:]...) }

// IsZero reports whether s belongs to no pool.
func (s Secret) IsZero() bool { return s == Secret{} }

const hidden = "(secret of a pool)"

// String does not return the Secret.
func (s Secret) String() string { return hidden }

// GoString does not return the Secret.
func (s Secret) GoString() string { return hidden }

// Format does not write the Secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue does not return the Secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText does not return the Secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// ID names a pool in public: nobody who does not know the secret can find it from
// the ID. The zero ID names none.
type ID [16]byte

// String returns the ID as 32 hexadecimal characters.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText makes IDs readable as JSON values and keys.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// ParseID reads what [ID.String] writes.
func ParseID(s string) (ID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(ID{}) {
		return ID{}, fmt.Errorf("pool: %q is not the ID of a pool", s)
	}
	return ID(b), nil
}

// ID returns the name of the pool that s opens.
func (s Secret) ID() ID { return ID(s.derive("aether pool id 1", len(ID{}))) }

// Derive returns 32 bytes that follow from the Secret and label and tell nothing
// of the Secret or of other labels' bytes (HKDF-SHA256, RFC 5869). Each use of the
// Secret has a label of its own.
func (s Secret) Derive(label string) []byte { return s.derive("aether pool key 1: "+label, 32) }

func (s Secret) derive(info string, n int) []byte {
	b, err := hkdf.Key(sha256.New, s.b[:], nil, info, n)
	if err != nil {
		panic(fmt.Sprintf("pool: hkdf of %d bytes: %v", n, err)) // only for absurd n
	}
	return b
}

func checksum(prefix string, b []byte) []byte {
	h := sha256.New()
	h.Write([]byte(prefix))
	h.Write(b)
	return h.Sum(nil)[:checksumSize]
}

// keyText writes 32 bytes as prefix and groups.
func keyText(prefix string, b [keySize]byte) string {
	raw := base32Lower.EncodeToString(append(b[:], checksum(prefix, b[:])...))
	var t strings.Builder
	t.WriteString(prefix[:len(prefix)-1])
	for i := 0; i < len(raw); i += groupSize {
		t.WriteString("-" + raw[i:i+groupSize])
	}
	return t.String()
}

// maxText bounds what is looked at, with room for a person's spaces.
const maxText = 1024

// parseKeyText is the reverse of keyText.
func parseKeyText(prefix, s string) (b [keySize]byte, err error) {
	if len(s) > maxText {
		return b, fmt.Errorf("%w: %d characters, limit %d", ErrBadText, len(s), maxText)
	}
	s = strings.ToLower(strings.TrimSpace(s))
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return b, fmt.Errorf("%w: it does not begin with %q", ErrBadText, prefix)
	}
	rest = strings.Join(strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("- \t\r\n", r) }), "")
	if i := strings.IndexFunc(rest, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '2' && r <= '7') }); i >= 0 {
		return b, fmt.Errorf("%w: character %d behind %q is none of a-z and 2-7", ErrBadText, i+1, prefix)
	}
	if len(rest) != textSize {
		return b, fmt.Errorf("%w: %d characters behind %q, want %d", ErrBadText, len(rest), prefix, textSize)
	}
	raw, err := base32Lower.DecodeString(rest)
	if err != nil || len(raw) != keySize+checksumSize {
		return b, ErrBadText // unreachable after the checks above
	}
	if string(checksum(prefix, raw[:keySize])) != string(raw[keySize:]) {
		return b, fmt.Errorf("%w: the checksum does not match; a character is wrong", ErrBadText)
	}
	return [keySize]byte(raw), nil
}
