package webdav

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

const testToken = "correcthorsebatterystaple"

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// newSecretFace is a face that asks for testToken.
func newSecretFace(t *testing.T) *face {
	t.Helper()
	f := newFace(t)
	srv := httptest.NewServer(New(Config{Drive: f.drive, KV: f.kv, Token: testToken}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func TestNew_TokenIsAskedOfEveryMethod(t *testing.T) {
	f := newSecretFace(t)
	for _, m := range []string{"OPTIONS", "GET", "HEAD", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PROPFIND", "PROPPATCH", "POST", "NONE"} {
		resp, _ := f.want(http.StatusUnauthorized, m, "/f", "", "Destination", "{url}/g")
		if got := resp.Header.Get("WWW-Authenticate"); got != `Basic realm="aether", charset="UTF-8"` {
			t.Errorf("%s: WWW-Authenticate: %s", m, got)
		}
	}
	for _, bad := range []string{basic("aether", ""), basic(testToken, ""), basic("a", testToken+"x"), "Bearer", "Bearer x" + testToken, "Digest " + testToken, testToken} {
		f.want(http.StatusUnauthorized, "PUT", "/f", "x", "Authorization", bad)
	}
	if _, ok := f.content("/f"); ok {
		t.Error("/f was written")
	}
	for i, good := range []string{basic("", testToken), basic("anybody", testToken), "Bearer " + testToken, "bearer  " + testToken} {
		f.want(http.StatusCreated, "PUT", fmt.Sprint("/f", i), "x", "Authorization", good)
	}
	f.want(http.StatusOK, "OPTIONS", "/", "", "Authorization", basic("x", testToken))
}

// Guesses are slowed down; the right token still counts.
func TestNew_GuessesAreLimited(t *testing.T) {
	f := newSecretFace(t)
	limited := 0
	for range 10 * guessBurst {
		if resp, _ := f.request("GET", "/", "", "Authorization", basic("u", "guess")); resp.StatusCode == http.StatusTooManyRequests {
			limited++
			if resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if limited == 0 {
		t.Errorf("%d guesses were all answered", 10*guessBurst)
	}
	f.want(http.StatusCreated, "PUT", "/f", "x", "Authorization", basic("u", testToken))
}
