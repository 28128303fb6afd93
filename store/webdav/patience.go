package webdav

import (
	"io"
	"net/http"
	"time"
)

// patience is how long a client may neither send nor take a byte before its request
// ends: an upload may take hours, but not stand still.
const patience = 2 * time.Minute

// withPatience ends requests whose client stands still.
func withPatience(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		// Deadlines stay with the connection: this request must not have those of the
		// one before. A connection that has none has no need of them either.
		_ = c.SetWriteDeadline(time.Time{})
		r.Body = &patientBody{ReadCloser: r.Body, c: c, limit: limit}
		next.ServeHTTP(&patientWriter{ResponseWriter: w, c: c, limit: limit}, r)
	})
}

// patientBody gives each Read a deadline of its own.
type patientBody struct {
	io.ReadCloser
	c     *http.ResponseController
	limit time.Duration
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.c.SetReadDeadline(time.Now().Add(b.limit))
	return b.ReadCloser.Read(p)
}

// patientWriter gives each Write a deadline of its own.
type patientWriter struct {
	http.ResponseWriter
	c     *http.ResponseController
	limit time.Duration
}

func (w *patientWriter) WriteHeader(status int) {
	_ = w.c.SetWriteDeadline(time.Now().Add(w.limit))
	w.ResponseWriter.WriteHeader(status)
}

func (w *patientWriter) Write(p []byte) (int, error) {
	_ = w.c.SetWriteDeadline(time.Now().Add(w.limit))
	return w.ResponseWriter.Write(p)
}

// Unwrap is how http.ResponseController finds the connection.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
