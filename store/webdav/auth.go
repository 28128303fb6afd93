package webdav

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"golang.org/x/time/rate"
)

// Wrong passwords: how many are answered in full each second, and at once.
const (
	guessRate  = 10
	guessBurst = 10
)

// withToken lets through requests that bring token, as the password of any user
// (HTTP Basic, RFC 7617) or as a bearer (RFC 6750). An empty token lets all
// through.
//
// Too many wrong tokens are answered 429, which costs whoever guesses time and the
// log nothing. The right token always counts: otherwise anybody could lock its owner
// out, and 160 random bits are not guessed at any rate.
func withToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token)) // so that the comparison does not tell the length
	guesses := rate.NewLimiter(guessRate, guessBurst)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := credential(r)
		got := sha256.Sum256([]byte(given))
		switch {
		case ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1:
			next.ServeHTTP(w, r)
		case ok && !guesses.Allow():
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many wrong passwords", http.StatusTooManyRequests)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="aether", charset="UTF-8"`)
			http.Error(w, "the password is what webdav.token of the machine's directory holds; any user name", http.StatusUnauthorized)
		}
	})
}

// credential returns the token that a request brings, if it brings one.
func credential(r *http.Request) (string, bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}
