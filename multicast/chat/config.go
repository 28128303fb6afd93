package chat

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aether-lan/aether/multicast/seal"
)

const (
	// maxNameLen bounds names of members and rooms in bytes.
	maxNameLen = 64
	// maxGap is how far ahead of what was delivered pieces are kept.
	maxGap = 256
)

// ErrName says that the name of a member or a room cannot be used.
var ErrName = errors.New("a name has 1 to 64 bytes that can be shown")

// RoomConfig describes a [Room]. Rand and Random must be set; the zero values of
// the rest work.
type RoomConfig struct {
	// Room is the room's name. Empty means "lobby".
	Room string
	// Name is what the member calls itself. Empty means "somebody".
	Name string
	// Secret is what the members of a sealed room share; see [Secret]. Nil makes
	// an open room, in which everybody on the link can read, and speak as anybody.
	Secret *seal.Secret
	// Rand draws the delays.
	Rand *rand.Rand
	// Random draws the member's ID and the start of its key: crypto/rand.Reader,
	// but for tests.
	Random io.Reader
	// Beat is the time between hellos in a room of few members; larger rooms
	// stretch it so that all together say ten a second. Zero means 3 s.
	Beat time.Duration
	// MaxMembers bounds the members and the authors that are remembered. Zero
	// means 256.
	MaxMembers int
	// History bounds the messages that are kept to repair others and to show to
	// who comes late; HistoryBytes bounds them in bytes. Zero means 512 and 1 MiB.
	History, HistoryBytes int
	// Recall is how many messages of each author to ask for on coming late. Zero
	// means 100, less than zero none.
	Recall int
	// Patience is how long the later messages of an author wait for a missing one
	// that nobody present has. Zero means 2 minutes.
	Patience time.Duration
}

func (c RoomConfig) withDefaults() (RoomConfig, error) {
	var err error
	if c.Rand == nil || c.Random == nil {
		return c, errors.New("no source of randomness")
	}
	if c.Room == "" {
		c.Room = "lobby"
	}
	if c.Name == "" {
		c.Name = "somebody"
	}
	if c.Name, err = CleanName(c.Name); err != nil {
		return c, err
	}
	if c.Room, err = CleanName(c.Room); err != nil {
		return c, err
	}
	positive(&c.Beat, 3*time.Second)
	positive(&c.Patience, 2*time.Minute)
	positive(&c.MaxMembers, 256)
	positive(&c.History, 512)
	positive(&c.HistoryBytes, 1<<20)
	if c.Recall == 0 {
		c.Recall = 100
	}
	c.Recall = min(c.Recall, c.History, maxGap)
	return c, nil
}

// positive sets *v to otherwise unless it is positive.
func positive[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// CleanName returns name without space around it. It fails with [ErrName] when the
// name is empty, longer than 64 bytes, or has characters that do not print.
func CleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	bad := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if name == "" || len(name) > maxNameLen || strings.ContainsFunc(name, bad) {
		return "", fmt.Errorf("chat: name %q: %w", name, ErrName)
	}
	return name, nil
}

// heardName is CleanName for names that others chose: it makes do.
func heardName(name string) string {
	if clean, err := CleanName(name); err == nil {
		return clean
	}
	return "?"
}

// Secret makes the secret of a sealed room from the passphrase that its members
// share. Rooms of different names get unrelated secrets. It takes about a fifth of
// a second and 64 MiB, and fails with [seal.ErrNoPassphrase].
func Secret(passphrase []byte, room string) (seal.Secret, error) {
	return seal.Stretch(passphrase, "aether chat room "+room)
}
