package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// Progress says how far an order has come that takes a while. The last line has End set.
type Progress struct {
	// Files of TotalFiles, and where they are known Bytes of TotalBytes, are done.
	Files      int64 `json:"files"`
	TotalFiles int64 `json:"total_files"`
	Bytes      int64 `json:"bytes,omitempty"`
	TotalBytes int64 `json:"total_bytes,omitempty"`
	End        bool  `json:"end,omitempty"`
	// Error is why it ended before its end, and Code what kind of error that is.
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Warm brings all bytes at and below p to this machine, into its cache, and calls tell
// now and then.
func (m *Machine) Warm(ctx context.Context, p string, tell func(Progress)) error {
	top, err := m.drive.Stat(p)
	if err != nil {
		return err
	}
	var at Progress
	err = m.eachFile(ctx, top, func(_ context.Context, batch []tree.Entry) error {
		for _, e := range batch {
			at.TotalFiles++
			at.TotalBytes += e.Version.Content.Size
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.eachFile(ctx, top, func(ctx context.Context, batch []tree.Entry) error {
		for _, e := range batch {
			tell(at)
			if !m.here(e.Version.Content) {
				f := m.drive.OpenEntry(ctx, e)
				_, err := io.Copy(warmed{&at, tell}, f)
				_ = f.Close()
				if err != nil {
					return fmt.Errorf("node: warm %s: %w", e.Path, err)
				}
			} else {
				at.Bytes += e.Version.Content.Size
			}
			at.Files++
		}
		tell(at)
		return nil
	})
}

// warmed counts what has come.
type warmed struct {
	at   *Progress
	tell func(Progress)
}

func (w warmed) Write(b []byte) (int, error) {
	w.at.Bytes += int64(len(b))
	w.tell(*w.at)
	return len(b), nil
}

// FlushTelling is Flush, and calls tell each time it has looked.
func (m *Machine) FlushTelling(ctx context.Context, p string, tell func(Progress)) error {
	p, err := drive.Clean(p)
	if err != nil {
		return err
	}
	for {
		at, err := m.flushed(ctx, p)
		if err != nil {
			return err
		}
		tell(at)
		if at.Files >= at.TotalFiles {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(flushInterval):
		}
	}
}

// flushed counts the files at and below p, and those that have all their copies.
func (m *Machine) flushed(ctx context.Context, p string) (at Progress, err error) {
	top, err := m.drive.Stat(p)
	if err != nil {
		return at, err
	}
	return at, m.eachFile(ctx, top, func(ctx context.Context, batch []tree.Entry) error {
		return m.core.call(ctx, func() {
			for _, e := range batch {
				at.TotalFiles++
				at.TotalBytes += e.Version.Content.Size
				if m.core.replicated(e) {
					at.Files++
					at.Bytes += e.Version.Content.Size
				}
			}
		})
	})
}

// serveProgress streams what run tells, a Progress a line.
func serveProgress(w http.ResponseWriter, run func(tell func(Progress)) error) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	var told time.Time
	var last Progress
	err := run(func(p Progress) {
		last = p
		if now := time.Now(); now.Sub(told) >= progressEvery {
			told = now
			_ = enc.Encode(p) // who has gone also ends the request's context
			_ = rc.Flush()
		}
	})
	last.End = true
	if err != nil {
		if told.IsZero() {
			return err
		}
		p, _ := problemOf(err)
		last.Error, last.Code = p.Error, p.Code
	}
	_ = enc.Encode(last)
	return nil
}

// Warm brings all bytes at and below p to the machine, into its cache.
func (c *Client) Warm(ctx context.Context, p string, tell func(Progress)) error {
	return c.progress(ctx, "warm", p, tell)
}

// FlushTelling is Flush that tells how far it is.
func (c *Client) FlushTelling(ctx context.Context, p string, tell func(Progress)) error {
	return c.progress(ctx, "flush", p, tell)
}

// errEnd ends eachLine at the line that says it is the last.
var errEnd = errors.New("the end")

func (c *Client) progress(ctx context.Context, endpoint, p string, tell func(Progress)) error {
	body, err := c.do(ctx, http.MethodPost, endpoint, nil, "path", p, "progress", "true")
	if err != nil {
		return err
	}
	defer body.Close()
	err = eachLine(body, func(p Progress) error {
		switch {
		case p.Error != "":
			return problem{p.Error, p.Code}.err()
		case p.End:
			tell(p)
			return errEnd
		}
		tell(p)
		return nil
	})
	switch {
	case errors.Is(err, errEnd):
		return nil
	case err == nil:
		return fmt.Errorf("node: %s: %w", endpoint, ErrCut)
	}
	return err
}
