package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/bulk"
	"github.com/aether-lan/aether/multicast/seal"
)

const (
	bulkGroupName = "aether bulk"
	bulkPort      = 4747
	// bulkPurpose keeps the secret of a passphrase apart from that of a chat room.
	bulkPurpose = "aether mcast bulk"
)

// bulkFlags are those that put and get share.
func bulkFlags(more ...cli.Flag) []cli.Flag {
	return mcastFlags(append(more,
		&cli.StringFlag{Name: "group", Aliases: []string{"g"}, Usage: "the `GROUP[:PORT]` to meet in", DefaultText: "one of aether's own"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "seal with the passphrase in `FILE`"},
		&cli.StringFlag{Name: "key-file", Usage: "seal with the key in `FILE`: 32 bytes, or 64 hexadecimal digits"},
		&cli.BoolFlag{Name: "no-progress", Usage: "do not show how far it is"},
	)...)
}

// bulkGroup reads --group.
func bulkGroup(c *cli.Context, m mcast) (netip.AddrPort, error) {
	s := c.String("group")
	if s == "" {
		return netip.AddrPortFrom(multicast.Pick(bulkGroupName, m.family()), bulkPort), nil
	}
	g, err := netip.ParseAddrPort(s)
	if err != nil {
		a, addrErr := netip.ParseAddr(s)
		if addrErr != nil {
			return g, usage("--group takes GROUP:PORT, not %q", s)
		}
		g = netip.AddrPortFrom(a, bulkPort)
	}
	switch {
	case !g.Addr().IsMulticast():
		return g, usage("%v is not a multicast address", g.Addr())
	case g.Port() == 0:
		return g, usage("the port 0 is nobody's")
	case multicast.SourceSpecific(g.Addr()):
		return g, usage("%v is for a single source; take another group", g.Addr())
	}
	m.warnFlooded(g.Addr())
	return g, m.allows(g.Addr())
}

// bulkSecret reads --passphrase-file or --key-file; nil is neither.
func bulkSecret(c *cli.Context) (*seal.Secret, error) {
	phrase, key := c.String("passphrase-file"), c.String("key-file")
	switch {
	case phrase != "" && key != "":
		return nil, usage("either --passphrase-file or --key-file")
	case phrase != "":
		b, err := readChatPassphrase(phrase, c.App.ErrWriter)
		if err != nil {
			return nil, err
		}
		s, err := seal.Stretch(b, bulkPurpose)
		return &s, err
	case key != "":
		return readBulkKey(key)
	}
	return nil, nil
}

func readBulkKey(path string) (*seal.Secret, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) != len(seal.Secret{}) {
		if b, err = hex.DecodeString(string(bytes.TrimSpace(b))); err != nil || len(b) != len(seal.Secret{}) {
			return nil, fmt.Errorf("%s: want 32 bytes, or 64 hexadecimal digits", path)
		}
	}
	s := seal.Secret(b)
	return &s, nil
}

// senderKey reads the Ed25519 seed in path, and makes one there if there is none.
// "" is no lasting key.
func senderKey(path string) (ed25519.PrivateKey, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		seed := make([]byte, ed25519.SeedSize)
		if _, err := rand.Read(seed); err != nil {
			return nil, err
		}
		b = append(hex.AppendEncode(nil, seed), '\n')
		err = os.WriteFile(path, b, 0o600)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	seed, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s: want 64 hexadecimal digits", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// keyText writes a sender's public key as get --from takes it.
func keyText(key []byte) string { return base64.RawURLEncoding.EncodeToString(key) }

func parseKeyText(s string) (ed25519.PublicKey, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, usage("--from takes a sender's key of 43 letters, as put and get print it, not %q", s)
	}
	return b, nil
}

// bulkLine shows on a terminal how far a transfer is: one line, written again and
// again. Elsewhere it shows nothing.
type bulkLine struct {
	mu    sync.Mutex
	w     io.Writer // nil shows nothing
	last  time.Time
	shown bool
}

func newBulkLine(c *cli.Context) *bulkLine {
	l := &bulkLine{w: c.App.ErrWriter}
	if c.Bool("no-progress") || c.Bool("json") || !isTerminal(l.w) {
		l.w = nil
	}
	return l
}

// show replaces the line, not more than ten times a second.
func (l *bulkLine) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w == nil || time.Since(l.last) < 100*time.Millisecond {
		return
	}
	l.last, l.shown = time.Now(), true
	fmt.Fprintf(l.w, "\r\x1b[K%s", printable(text))
}

// clear takes the line away, so that something else can be written.
func (l *bulkLine) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w != nil && l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}

// perSecond writes a rate for people.
func perSecond(bytes float64) string { return formatBytes(int64(bytes)) + "/s" }

// timeLeft guesses from how much of the size is there after so long.
func timeLeft(doneBytes, size int64, elapsed time.Duration) string {
	if doneBytes <= 0 || elapsed < time.Second/2 {
		return ""
	}
	left := time.Duration(float64(elapsed) * float64(size-doneBytes) / float64(doneBytes))
	return ", " + max(0, left).Round(time.Second).String() + " left"
}

// bulkExplained adds to an error of bulk what the user can do.
func bulkExplained(err error) error {
	switch {
	case errors.Is(err, bulk.ErrChanged):
		return fmt.Errorf("%w; send it again when nobody writes to it", err)
	case errors.Is(err, bulk.ErrNoSpace):
		return fmt.Errorf("%w; nothing of it was kept", err)
	}
	return err
}
