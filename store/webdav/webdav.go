package webdav

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/net/webdav"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
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
	// Logger hears of requests that failed for no fault of the client's. Nil is
	// silent.
	Logger *slog.Logger
}

// New returns the WebDAV face of c.Drive. It refuses requests that a page of
// another site makes (by Origin and Sec-Fetch-Site), requests for a host name that
// is not this machine's own, which is how a page gets past the first check (DNS
// rebinding), and requests without the token.
//
// Locks bind those who use this face, and nobody else who writes to the drive.
func New(c Config) http.Handler {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	locks, err := openLocks(c.KV, time.Now())
	if err != nil {
		log.Error("webdav: some locks are lost", "error", err)
	}
	files := fileSystem{d: c.Drive, locks: locks}
	f := &front{files: files, log: log, dav: &webdav.Handler{
		FileSystem: files,
		LockSystem: unlocked{},
		Logger: func(r *http.Request, err error) {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				log.Warn("webdav", "method", r.Method, "path", r.URL.Path, "error", err)
			}
		},
	}}
	return ownHost(ownPages(http.NewCrossOriginProtection().Handler(withToken(c.Token, withPatience(patience, f)))))
}

// unlocked is the webdav.LockSystem of a server on which nothing is locked: front has
// checked before.
type unlocked struct{}

// Confirm implements webdav.LockSystem.
func (unlocked) Confirm(time.Time, string, string, ...webdav.Condition) (func(), error) {
	return func() {}, nil
}

// Create implements webdav.LockSystem, for the locks that x/net/webdav takes out while
// it serves a request.
func (unlocked) Create(time.Time, webdav.LockDetails) (string, error) { return "", nil }

// Refresh implements webdav.LockSystem.
func (unlocked) Refresh(time.Time, string, time.Duration) (webdav.LockDetails, error) {
	return webdav.LockDetails{}, webdav.ErrNoSuchLock
}

// Unlock implements webdav.LockSystem.
func (unlocked) Unlock(time.Time, string) error { return nil }
