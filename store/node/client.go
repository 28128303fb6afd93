package node

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aether-lan/aether/store/drive"
)

// ErrCut reports an answer that ended before its end.
var ErrCut = errors.New("the answer was cut off")

// Client gives orders to a machine: through its socket where a node runs, else
// on the directory opened for the purpose.
type Client struct {
	http *http.Client
	own  io.Closer // the machine, when this Client opened it
}

// Connect returns a Client of the machine in dir. Where no node holds dir it
// opens the machine itself, without a network, and Close closes it again. A
// directory that is not there is an error that wraps fs.ErrNotExist, one that has
// no machine wraps pool.ErrNoPool.
func Connect(ctx context.Context, dir string) (*Client, error) {
	sock := filepath.Join(dir, socketName)
	c, err := dialSocket(ctx, sock)
	if err == nil {
		c.Close()
		return newClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, sock) }, nil), nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, errLongPath) {
		return nil, fmt.Errorf("node: connect to the running node: %w", err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	l := newPipeListener()
	srv := &http.Server{Handler: controlHandler(m)}
	go func() { _ = srv.Serve(l) }()
	return newClient(l.dial, closers{srv, m}), nil
}

func newClient(dial func(context.Context) (net.Conn, error), own io.Closer) *Client {
	t := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
		WriteBufferSize:    256 << 10,
		ReadBufferSize:     256 << 10,
	}
	return &Client{http: &http.Client{Transport: t}, own: own}
}

// Own reports whether the Client opened the machine itself, because no node runs.
func (c *Client) Own() bool { return c.own != nil }

type closers []io.Closer

func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Close ends the Client's connections, and the machine if the Client opened it.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.own != nil {
		return c.own.Close()
	}
	return nil
}

// do sends a request whose query is the pairs of kv, and returns the body of a
// successful answer.
func (c *Client) do(ctx context.Context, method, endpoint string, body io.Reader, kv ...string) (io.ReadCloser, error) {
	q := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		q.Set(kv[i], kv[i+1])
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://machine/v1/"+endpoint+"?"+q.Encode(), body)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL is ours, not the user's
		}
		return nil, fmt.Errorf("node: %s: %w", endpoint, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return answer{resp}, nil
}

func (c *Client) order(ctx context.Context, endpoint string, kv ...string) error {
	body, err := c.do(ctx, http.MethodPost, endpoint, nil, kv...)
	if err != nil {
		return err
	}
	return body.Close()
}

// Status returns the machine's state.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	body, err := c.do(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return s, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return s, fmt.Errorf("node: status: %w", err)
	}
	return s, nil
}

// Mkdir makes the directory p, and with parents those above it.
func (c *Client) Mkdir(ctx context.Context, p string, parents bool) error {
	return c.order(ctx, "mkdir", "path", p, "parents", fmt.Sprint(parents))
}

// Remove removes p, and with recursive what is below it.
func (c *Client) Remove(ctx context.Context, p string, recursive bool) error {
	return c.order(ctx, "remove", "path", p, "recursive", fmt.Sprint(recursive))
}

// Rename moves what is at from to the path to; a file there is replaced.
func (c *Client) Rename(ctx context.Context, from, to string) error {
	return c.order(ctx, "rename", "from", from, "to", to)
}

// Copy makes to a copy of from. No bytes are copied: both are made of the same
// chunks.
func (c *Client) Copy(ctx context.Context, from, to string) error {
	return c.order(ctx, "copy", "from", from, "to", to)
}

// Stat returns what the machine knows of p, as it was at an instant; the zero time is
// now.
func (c *Client) Stat(ctx context.Context, p string, at time.Time) (s FileStatus, err error) {
	return s, c.one(ctx, http.MethodGet, "stat", &s, "path", p, "at", instantText(at))
}

// History calls f with what p led to, newest first, until f returns an error.
func (c *Client) History(ctx context.Context, p string, f func(Version) error) error {
	body, err := c.do(ctx, http.MethodGet, "history", nil, "path", p)
	if err != nil {
		return err
	}
	defer body.Close()
	return eachLine(body, f)
}

// Restore makes p what it was at an instant or, with the zero time, before its last
// change. It returns the path of what is back.
func (c *Client) Restore(ctx context.Context, p string, at time.Time) (string, error) {
	var r Restored
	err := c.one(ctx, http.MethodPost, "restore", &r, "path", p, "at", instantText(at))
	return r.Path, err
}

// Collect gives up versions that ended longer ago than keep, or where keep is
// negative than the machine keeps them, and removes what nothing leads to.
func (c *Client) Collect(ctx context.Context, keep time.Duration) (r Collection, err error) {
	s := ""
	if keep >= 0 {
		s = fmt.Sprint(int64(keep / time.Second))
	}
	return r, c.one(ctx, http.MethodPost, "gc", &r, "keep", s)
}

// Verify reads every file at and below p and calls f with what it finds.
func (c *Client) Verify(ctx context.Context, p string, f func(Checked) error) error {
	return c.check(ctx, "verify", f, "path", p)
}

// Scrub reads all chunks on the machine's disk, at most rate bytes a second where rate
// is not 0, and calls f with what it finds. With resume it goes on where one stopped
// that did not come to the end.
func (c *Client) Scrub(ctx context.Context, rate int64, resume bool, f func(Checked) error) error {
	return c.check(ctx, "scrub", f, "rate", fmt.Sprint(rate), "resume", fmt.Sprint(resume))
}

func (c *Client) check(ctx context.Context, endpoint string, f func(Checked) error, kv ...string) error {
	body, err := c.do(ctx, http.MethodPost, endpoint, nil, kv...)
	if err != nil {
		return err
	}
	defer body.Close()
	ended := false
	err = eachLine(body, func(k Checked) error {
		ended = k.End
		return f(k)
	})
	if err == nil && !ended {
		err = fmt.Errorf("node: %s: %w", endpoint, ErrCut)
	}
	return err
}

// Activity returns what the machine has done since it was opened.
func (c *Client) Activity(ctx context.Context) (a drive.Activity, err error) {
	return a, c.one(ctx, http.MethodGet, "activity", &a)
}

// one decodes an answer of one value.
func (c *Client) one(ctx context.Context, method, endpoint string, v any, kv ...string) error {
	body, err := c.do(ctx, method, endpoint, nil, kv...)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("node: %s: %w", endpoint, err)
	}
	return nil
}

func instantText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// Mount shows the drive in the directory dir, an absolute path, as long as the node
// runs. With allowOther other users of the host get in.
func (c *Client) Mount(ctx context.Context, dir string, allowOther bool) error {
	return c.order(ctx, "mount", "dir", dir, "allow_other", fmt.Sprint(allowOther))
}

// Unmount takes the drive off dir.
func (c *Client) Unmount(ctx context.Context, dir string) error {
	return c.order(ctx, "unmount", "dir", dir)
}

// Flush waits until p, and what is below it, has the copies that it shall have.
func (c *Client) Flush(ctx context.Context, p string) error { return c.order(ctx, "flush", "path", p) }

// List calls f for what lies in p, with recursive for all that lies below, in
// name order, until f returns an error.
func (c *Client) List(ctx context.Context, p string, recursive bool, f func(Listing) error) error {
	return c.ListAt(ctx, p, time.Time{}, recursive, f)
}

// ListAt is List as it would have been at an instant; the zero time is now.
func (c *Client) ListAt(ctx context.Context, p string, at time.Time, recursive bool, f func(Listing) error) error {
	body, err := c.do(ctx, http.MethodGet, "list", nil, "path", p, "recursive", fmt.Sprint(recursive), "at", instantText(at))
	if err != nil {
		return err
	}
	defer body.Close()
	return eachLine(body, f)
}

// eachLine decodes a JSON value a line and hands it to f.
func eachLine[T any](r io.Reader, f func(T) error) error {
	dec := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	for {
		var v T
		err := dec.Decode(&v)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("node: %w: %w", ErrCut, err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
}

// Cat returns the bytes of the file p, as they were at an instant; the zero time is
// now. The caller closes it. A stream that was cut ends with an error other than io.EOF.
func (c *Client) Cat(ctx context.Context, p string, at time.Time) (io.ReadCloser, error) {
	return c.do(ctx, http.MethodGet, "file", nil, "path", p, "at", instantText(at))
}

// Get returns p, and what is below it, as a tar stream whose names begin with
// the last element of p, or "." for the root, as it was at an instant; the zero time
// is now. The caller closes body.
func (c *Client) Get(ctx context.Context, p string, at time.Time) (tr *tar.Reader, body io.Closer, err error) {
	b, err := c.do(ctx, http.MethodGet, "tar", nil, "path", p, "at", instantText(at))
	if err != nil {
		return nil, nil, err
	}
	return tar.NewReader(bufio.NewReaderSize(b, 256<<10)), b, nil
}

// Put stores what fill writes below the directory dst and calls stored for each
// entry that is on the disk or was refused. It fails when the stream did not get
// through whole; what was reported as stored is stored all the same.
func (c *Client) Put(ctx context.Context, dst string, fill func(*tar.Writer) error, stored func(Stored)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pr, pw := io.Pipe()
	filled := make(chan error, 1)
	go func() {
		bw := bufio.NewWriterSize(pw, 256<<10)
		tw := tar.NewWriter(bw)
		err := fill(tw)
		if err == nil {
			err = errors.Join(tw.Close(), bw.Flush())
		}
		if err != nil {
			err = fmt.Errorf("%w", err) // net/http compares errors; those of archive/tar panic at that
		}
		pw.CloseWithError(err)
		filled <- err
	}()
	err := c.readStored(ctx, pr, dst, stored)
	pr.CloseWithError(errors.New("the machine ended the transfer"))
	if ferr := <-filled; err == nil || ferr != nil && strings.Contains(err.Error(), ferr.Error()) {
		err = ferr // the reason is on this side: say it once
	}
	return err
}

func (c *Client) readStored(ctx context.Context, tarStream io.Reader, dst string, stored func(Stored)) error {
	body, err := c.do(ctx, http.MethodPut, "tar", tarStream, "path", dst)
	if err != nil {
		return err
	}
	defer body.Close()
	ended := false
	err = eachLine(body, func(s Stored) error {
		switch {
		case s.End:
			ended = true
		case s.Path == "":
			return problem{s.Error, s.Code}.err()
		default:
			stored(s)
		}
		return nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("node: put: %w", ErrCut)
	}
	return err
}
