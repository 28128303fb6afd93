package node

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// WebDAVTokenFile is the name of the file in a machine's directory that holds the
// password of its WebDAV face: one line, readable by its owner alone.
const WebDAVTokenFile = "webdav.token"

const (
	tokenSize = 20   // random bytes of a token: 160 bits
	maxToken  = 1024 // bytes of a token file, which its owner may have written
)

// webdavToken returns the password of the WebDAV face, and makes one where there is
// none yet; empty when the face is open or left out.
func (m *Machine) webdavToken(cfg ServeConfig) (string, error) {
	if cfg.WebDAVOpen || cfg.NoWebDAV {
		return "", nil
	}
	file := filepath.Join(m.cfg.Dir, WebDAVTokenFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		random := make([]byte, tokenSize)
		_, _ = rand.Read(random) // never fails
		token := strings.ToLower(base32.StdEncoding.EncodeToString(random))
		return token, replaceFile(file, []byte(token+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("node: WebDAV token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(b) > maxToken {
		return "", fmt.Errorf("node: WebDAV token: %s must hold 1 to %d bytes of text; remove it to get a new one", file, maxToken)
	}
	return token, nil
}
