package webdav

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A client that stands still does not hold a request forever, and what it has not
// sent whole is not there.
func TestWithPatience_EndsWhatStandsStill(t *testing.T) {
	f := newFace(t)
	ended := make(chan string, 16)
	face := New(Config{Drive: f.drive, KV: f.kv})
	srv := httptest.NewServer(withPatience(200*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		face.ServeHTTP(w, r)
		ended <- r.Method
	})))
	t.Cleanup(srv.Close)
	address := strings.TrimPrefix(srv.URL, "http://")
	for _, method := range []string{"PUT", "PROPFIND", "LOCK"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "%s /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n<", method)
		answer, _ := io.ReadAll(c) // ends when the server has given up
		if !strings.HasPrefix(string(answer), "HTTP/1.1 408") {
			t.Errorf("%s: %q", method, answer)
		}
	}
	if _, ok := f.content("/f"); ok {
		t.Error("/f is there")
	}
	// One that takes no answer.
	f.want(http.StatusCreated, "PUT", "/big", string(make([]byte, 16<<20)))
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
	for <-ended != http.MethodGet { // the test's own limit ends this
	}
	// A connection that was idle longer than that still serves.
	f.url = srv.URL
	f.want(http.StatusNoContent, "PUT", "/big", "x")
	f.want(http.StatusOK, "GET", "/big", "")
}
