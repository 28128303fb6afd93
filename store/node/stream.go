package node

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// trailerProblem is the trailer in which an answer that has begun says, as a
// [problem] in JSON, why it ends before its end.
const trailerProblem = "Aether-Problem"

// endStream ends an answer that has begun, with err where that is not nil.
func endStream(w http.ResponseWriter, err error) error {
	if err == nil {
		return nil
	}
	p, _ := problemOf(err)
	b, merr := json.Marshal(p)
	if merr == nil {
		merr = http.NewResponseController(w).Flush() // a short answer would be sent whole, without trailers
	}
	if merr != nil {
		panic(http.ErrAbortHandler) // the reader sees the stream cut
	}
	w.Header().Set(http.TrailerPrefix+trailerProblem, string(b))
	return nil
}

// answer is the body of a successful answer. It ends with the error of its trailer.
type answer struct{ resp *http.Response }

func (a answer) Close() error { return a.resp.Body.Close() }

func (a answer) Read(b []byte) (int, error) {
	n, err := a.resp.Body.Read(b)
	if text := a.resp.Trailer.Get(trailerProblem); err == io.EOF && text != "" {
		var p problem
		if json.Unmarshal([]byte(text), &p) != nil {
			return n, ErrCut
		}
		return n, p.err()
	}
	return n, err
}

// underway are the names that are being stored. Two of one name are not stored at
// a time, so that of a tar stream the later one counts.
type underway struct {
	mu    sync.Mutex
	names map[string]chan struct{}
}

// begin waits until nothing of that name is being stored, and then says that it
// is, until end is called.
func (u *underway) begin(name string) (end func()) {
	u.mu.Lock()
	for u.names[name] != nil {
		before := u.names[name]
		u.mu.Unlock()
		<-before
		u.mu.Lock()
	}
	defer u.mu.Unlock()
	if u.names == nil {
		u.names = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	u.names[name] = done
	return func() {
		u.mu.Lock()
		delete(u.names, name)
		u.mu.Unlock()
		close(done)
	}
}
