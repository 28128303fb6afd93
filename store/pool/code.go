package pool

import (
	"crypto/rand"
	_ "embed" // the list of words
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
)

// ErrBadCode reports words that are no code. Which word is wrong is in the error; a
// code with a word that is not in the list is no secret.
var ErrBadCode = errors.New("not a valid code")

// CodeWords is how many words a code has.
const CodeWords = 6

//go:embed words.txt
var wordText string

// wordList returns the words that codes are made of, sorted: 7,776 of them, so that
// six are one of 2^77.5 codes.
var wordList = sync.OnceValue(func() []string {
	var list []string
	for line := range strings.Lines(wordText) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list
})

// Code is what two people read to each other to let a machine into a pool: six words
// drawn at random. It is good once and for minutes, see [Code.Key]. Formatting and
// logging a Code shows nothing of it; [Code.Text] is for people.
type Code struct{ words [CodeWords]uint16 }

// NewCode returns a fresh random Code.
func NewCode() Code {
	var c Code
	n := big.NewInt(int64(len(wordList())))
	for i := range c.words {
		w, err := rand.Int(rand.Reader, n)
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		c.words[i] = uint16(w.Int64())
	}
	return c
}

// maxCodeText bounds what is looked at, in bytes.
const maxCodeText = 1024

// ParseCode reads what [Code.Text] writes. Upper case is forgiven, and hyphens, commas
// and line ends between the words. A word that is not in the list is named in the
// error, with the nearest that is. The error wraps ErrBadCode.
func ParseCode(s string) (Code, error) {
	if len(s) > maxCodeText {
		return Code{}, fmt.Errorf("%w: %d characters, at most %d", ErrBadCode, len(s), maxCodeText)
	}
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return strings.ContainsRune(" \t\r\n-,", r) })
	if len(words) != CodeWords {
		return Code{}, fmt.Errorf("%w: %d words, want %d", ErrBadCode, len(words), CodeWords)
	}
	var c Code
	list := wordList()
	for i, w := range words {
		at, ok := slices.BinarySearch(list, w)
		if !ok {
			return Code{}, fmt.Errorf("%w: word %d, %q, is not in the list; the nearest is %q", ErrBadCode, i+1, w[:min(len(w), 30)], nearest(list, w))
		}
		c.words[i] = uint16(at)
	}
	return c, nil
}

// Text returns the six words, with spaces between them.
func (c Code) Text() string {
	list := wordList()
	words := make([]string, 0, CodeWords)
	for _, w := range c.words {
		words = append(words, list[w])
	}
	return strings.Join(words, " ")
}

const hiddenCode = "(code of an invitation)"

// String does not return the Code.
func (c Code) String() string { return hiddenCode }

// GoString does not return the Code.
func (c Code) GoString() string { return hiddenCode }

// Format does not write the Code, whatever the verb.
func (c Code) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hiddenCode)) }

// LogValue does not return the Code.
func (c Code) LogValue() slog.Value { return slog.StringValue(hiddenCode) }

// Key returns the 32 bytes that prove knowledge of the Code on one connection:
// Argon2id (RFC 9106 section 4, second choice) of the words. salt is what only the two
// ends of that connection know and no other connection has, so that nothing can be
// computed before and nothing that was overheard tells of the words.
//
// Who takes the part of one end learns a function of words and salt and may test
// guesses against it at leisure. There are 2^77.5 codes, each costs three passes over
// 64 MiB, and the code ends after minutes: hopeless, so no exchange that hides more
// (a PAKE) is needed.
func (c Code) Key(salt []byte) []byte {
	words := make([]byte, 0, 2*CodeWords)
	for _, w := range c.words {
		words = binary.BigEndian.AppendUint16(words, w)
	}
	return argon2.IDKey(append([]byte("aether invitation 1\x00"), words...), salt, sealCost.time, sealCost.memory, sealCost.threads, 32)
}

// nearest returns the word of list that fewest letters part from w: a word that was
// misread or misheard.
func nearest(list []string, w string) string {
	w = w[:min(len(w), 30)]
	best, least := list[0], len(w)+len(list[0])
	for _, x := range list {
		if d := letters(w, x); d < least {
			best, least = x, d
		}
	}
	return best
}

// letters is how many letters must be inserted, removed or replaced to make b of a
// (Levenshtein 1966).
func letters(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
