package node

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A tar stream from a command on the same machine need not carry the bytes of large
// files: it may name the file instead, and the machine reads it itself. The
// identity that the command saw goes along, so that the machine cannot mistake
// another file for it (it may run in another root, or under another user); what it
// cannot open as that very file it reports with CodeNotLocal, and the command sends
// the bytes.
const (
	paxFile     = "AETHER.file"     // absolute path
	paxIdentity = "AETHER.identity" // of the file at that path
)

// CodeNotLocal is the Code of a Stored whose bytes have to be sent.
const CodeNotLocal = "not_local"

// localFrom is the size in bytes from which naming a file is worth it.
const localFrom = 1 << 20

// errNotLocal reports a file that was named and is not to be found here.
var errNotLocal = errors.New("node: not a file of this machine")

// NameLocal makes h, the header of the local file, name it instead of announcing
// its bytes, and reports whether it did: small files, and files of systems that do
// not tell files apart, are better sent.
func NameLocal(h *tar.Header, local string, info fs.FileInfo) bool {
	id := identity(info)
	abs, err := filepath.Abs(local)
	if info.Size() < localFrom || id == "" || err != nil {
		return false
	}
	h.PAXRecords = map[string]string{paxFile: abs, paxIdentity: id}
	h.Size = 0
	return true
}

// openNamed opens the file that h names.
func openNamed(h *tar.Header) (*os.File, error) {
	name := h.PAXRecords[paxFile]
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		// Not even opened: that waits for ever at a pipe.
		return nil, fmt.Errorf("%w: %s is no file here", errNotLocal, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotLocal, err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || identity(info) != h.PAXRecords[paxIdentity] {
		f.Close()
		return nil, fmt.Errorf("%w: %s is another file here", errNotLocal, name)
	}
	return f, nil
}
