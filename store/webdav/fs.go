package webdav

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/webdav"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// Config says what to serve. Drive is needed, the rest may be zero.
type Config struct {
	// Drive is the drive to show.
	Drive *drive.Drive
	// KV keeps locks over a restart, under store.PrefixWebDAV. Nil: they end with
	// the process.
	KV store.KV
	// Token is the password that every request must bring. Empty: none is asked.
	Token string
	// Logger hears of requests that failed. Nil is silent.
	Logger *slog.Logger
}

// New returns the WebDAV face of c.Drive. It refuses requests that a page of
// another site makes (by Origin and Sec-Fetch-Site), requests for a host name that
// is not this machine's own, which is how a page gets past the first check (DNS
// rebinding), and requests without the token.
func New(c Config) http.Handler {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dav := &webdav.Handler{
		FileSystem: fileSystem{c.Drive},
		LockSystem: webdav.NewMemLS(),
		Logger: func(r *http.Request, err error) {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				log.Warn("webdav", "method", r.Method, "path", r.URL.Path, "error", err)
			}
		},
	}
	return ownHost(ownPages(http.NewCrossOriginProtection().Handler(withToken(c.Token, dav))))
}

// fileSystem is the drive as x/net/webdav sees it.
type fileSystem struct{ d *drive.Drive }

// slashed gives a path the leading slash that x/net/webdav sometimes drops.
func slashed(name string) string {
	if name == "" || name[0] != '/' {
		return "/" + name
	}
	return name
}

// osError turns the drive's errors into those that x/net/webdav looks for.
func osError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return os.ErrNotExist
	case errors.Is(err, tree.ErrExist):
		return os.ErrExist
	}
	return err
}

func (s fileSystem) Mkdir(ctx context.Context, name string, _ os.FileMode) error {
	return osError(s.d.Mkdir(ctx, slashed(name)))
}

func (s fileSystem) RemoveAll(ctx context.Context, name string) error {
	return osError(s.d.Remove(ctx, slashed(name), true))
}

func (s fileSystem) Rename(ctx context.Context, from, to string) error {
	return osError(s.d.Rename(ctx, slashed(from), slashed(to)))
}

func (s fileSystem) Stat(_ context.Context, name string) (os.FileInfo, error) {
	e, err := s.d.Stat(slashed(name))
	if err != nil {
		return nil, osError(err)
	}
	return fileInfo{e}, nil
}

func (s fileSystem) OpenFile(ctx context.Context, name string, flag int, _ os.FileMode) (webdav.File, error) {
	name = slashed(name)
	// PROPPATCH opens for writing what it does not write: without O_TRUNC it is for
	// reading here.
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		return newUpload(ctx, s.d, name, flag)
	}
	e, err := s.d.Stat(name)
	if err != nil {
		return nil, osError(err)
	}
	if e.Dir {
		return &directory{d: s.d, name: name, entry: e}, nil
	}
	f, err := s.d.Open(ctx, name)
	if err != nil {
		return nil, osError(err)
	}
	return readFile{f}, nil
}

// fileInfo is an entry of the tree as a fs.FileInfo with an ETag.
type fileInfo struct{ e tree.Entry }

func (i fileInfo) Name() string       { return i.e.Name() }
func (i fileInfo) Size() int64        { return i.e.Version.Content.Size }
func (i fileInfo) ModTime() time.Time { return i.e.Version.ModTime }
func (i fileInfo) IsDir() bool        { return i.e.Dir }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() fs.FileMode {
	if i.e.Dir {
		return fs.ModeDir | fs.FileMode(i.e.Version.Mode)&fs.ModePerm
	}
	return fs.FileMode(i.e.Version.Mode) & fs.ModePerm
}

// ETag returns a strong validator: the address of the content (RFC 9110 8.8.3).
func (i fileInfo) ETag(context.Context) (string, error) {
	if i.e.Dir {
		return `"dir-` + i.e.ID.String() + `"`, nil
	}
	return `"` + i.e.Version.Content.Root.String()[:32] + `"`, nil
}
