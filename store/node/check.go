package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// Checked is one line of what a check finds: how far it is, something that is damaged,
// or with End how it ended.
type Checked struct {
	// Done and Total are bytes, in lines without Error.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Files and Chunks count what was looked at so far.
	Files  int64 `json:"files,omitempty"`
	Chunks int64 `json:"chunks,omitempty"`
	// Error says what is wrong, with the file at Path or with a chunk; Paths are the
	// files that hold it.
	Error string   `json:"error,omitempty"`
	Path  string   `json:"path,omitempty"`
	Chunk string   `json:"chunk,omitempty"`
	Paths []string `json:"paths,omitempty"`
	// Repaired says that another machine had the chunk and it is whole again.
	Repaired bool `json:"repaired,omitempty"`
	// End marks the last line; Damaged counts what is wrong and not repaired.
	End     bool  `json:"end,omitempty"`
	Damaged int64 `json:"damaged,omitempty"`
}

// progressEvery is how often a check says how far it is.
const progressEvery = 200 * time.Millisecond

// report writes lines of a check to a client that may be gone.
type report struct {
	enc   *json.Encoder
	flush func()
	last  time.Time
}

func newReport(w http.ResponseWriter) *report {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	return &report{enc: json.NewEncoder(w), flush: func() { _ = rc.Flush() }}
}

func (r *report) tell(c Checked) {
	if c.Error == "" && !c.End {
		if time.Since(r.last) < progressEvery {
			return
		}
		r.last = time.Now()
	}
	_ = r.enc.Encode(c) // who has gone also ends the request's context
	r.flush()
}

func serveVerify(m *Machine, w http.ResponseWriter, req *http.Request) error {
	p, err := drive.Clean(req.FormValue("path"))
	if err != nil {
		return err
	}
	if _, err := m.drive.Stat(p); err != nil {
		return err
	}
	r := newReport(w)
	if err := m.Verify(req.Context(), p, r.tell); err != nil {
		p, _ := problemOf(err)
		return r.enc.Encode(Checked{Error: p.Error})
	}
	return nil
}

// Verify reads every file at and below p, from this disk or from wherever its bytes
// are, and tells what cannot be read. The last call has End set.
func (m *Machine) Verify(ctx context.Context, p string, tell func(Checked)) error {
	c := Checked{}
	one := func(_ string, e tree.Entry) error {
		if e.Dir {
			return nil
		}
		f := m.drive.OpenEntry(ctx, e)
		n, err := io.Copy(io.Discard, f)
		_ = f.Close()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.Done += n
		c.Files++
		if err != nil {
			c.Damaged++
			tell(Checked{Error: err.Error(), Path: e.Path})
		}
		tell(c)
		return nil
	}
	top, err := m.drive.Stat(p)
	if err != nil {
		return err
	}
	if c.Total, err = m.bytesBelow(ctx, top); err != nil {
		return err
	}
	if top.Dir {
		err = m.walk(ctx, p, time.Time{}, true, one)
	} else {
		err = one(p, top)
	}
	if err == nil {
		c.End = true
		tell(c)
	}
	return err
}

// bytesBelow adds up the sizes of the files at and below an entry.
func (m *Machine) bytesBelow(ctx context.Context, top tree.Entry) (n int64, err error) {
	if !top.Dir {
		return top.Version.Content.Size, nil
	}
	err = m.walk(ctx, top.Path, time.Time{}, true, func(_ string, e tree.Entry) error {
		n += e.Version.Content.Size
		return nil
	})
	return n, err
}

func serveScrub(m *Machine, w http.ResponseWriter, req *http.Request) error {
	rate, err := strconv.ParseInt(req.FormValue("rate"), 10, 64)
	if req.FormValue("rate") != "" && (err != nil || rate < 0) {
		return fmt.Errorf("node: %w: rate %q", errBadRequest, req.FormValue("rate"))
	}
	r := newReport(w)
	if err := m.Scrub(req.Context(), rate, flag(req, "resume"), r.tell); err != nil {
		p, _ := problemOf(err)
		return r.enc.Encode(Checked{Error: p.Error})
	}
	return nil
}

// damagedMax bounds the damaged chunks of which the files are looked for.
const damagedMax = 1 << 16

// Scrub reads all chunks on this disk, at most rate bytes a second where rate is not 0.
// What is damaged is fetched from another machine if one has it; else tell hears which
// files it hits. The last call has End set.
func (m *Machine) Scrub(ctx context.Context, rate int64, resume bool, tell func(Checked)) error {
	lost := map[store.Ref]string{}
	var c Checked
	res, err := m.bodies.Scrub(ctx, segment.ScrubConfig{
		Rate: rate, Resume: resume,
		Check:    m.checkBody,
		Progress: func(done, total int64) { c.Done, c.Total = done, total; tell(c) },
		Found: func(d segment.Damage) {
			if err := m.repair(ctx, d.Ref); err == nil {
				tell(Checked{Error: d.Err.Error(), Chunk: d.Ref.String(), Repaired: true})
			} else if c.Damaged++; len(lost) < damagedMax {
				lost[d.Ref] = d.Err.Error()
			}
		},
	})
	c.Chunks = res.Bodies
	if err != nil {
		return fmt.Errorf("node: scrub: %w", err)
	}
	hit, err := m.filesOf(ctx, lost)
	if err != nil {
		return err
	}
	for ref, why := range lost {
		tell(Checked{Error: why, Chunk: ref.String(), Paths: hit[ref]})
	}
	c.End = true
	tell(c)
	return nil
}

// checkBody says whether a body is what its address says. Records of the log of names
// are not chunks.
func (m *Machine) checkBody(ref store.Ref, body []byte) error {
	if isLog(body) {
		return nil
	}
	err := m.keys.Check(ref, body)
	if errors.Is(err, chunk.ErrGeneration) {
		return nil // whether it has rotted is seen when the secret has come
	}
	return err
}

// repair fetches a chunk from another machine and puts it in the place of a damaged
// one.
func (m *Machine) repair(ctx context.Context, ref store.Ref) error {
	for _, peer := range m.sources(nil) {
		var body []byte
		err := m.ask(ctx, peer, []store.Ref{ref}, func(_ store.Ref, b []byte) error {
			body = append([]byte(nil), b...)
			return nil
		})
		if err == nil && body != nil {
			return m.bodies.Repair(ref, body)
		}
	}
	return fmt.Errorf("node: chunk %.8s: %w", ref, drive.ErrUnreachable)
}

// filesMax bounds the files that are named for one damaged chunk.
const filesMax = 100

// filesOf returns the files that hold some chunks.
func (m *Machine) filesOf(ctx context.Context, refs map[store.Ref]string) (map[store.Ref][]string, error) {
	hit := map[store.Ref][]string{}
	if len(refs) == 0 {
		return hit, nil
	}
	get := func(ref store.Ref) ([]byte, error) {
		b, err := m.bodies.Get(ref)
		if errors.Is(err, segment.ErrCorrupt) {
			err = store.ErrNotFound // what lies below it is not known
		}
		return b, err
	}
	err := m.walk(ctx, "/", time.Time{}, true, func(name string, e tree.Entry) error {
		seen := map[store.Ref]bool{}
		return m.keys.Walk(e.Version.Content, get, func(p chunk.Part) error {
			if _, ok := refs[p.Ref]; ok && !seen[p.Ref] && len(hit[p.Ref]) < filesMax {
				seen[p.Ref] = true
				hit[p.Ref] = append(hit[p.Ref], name)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("node: files of damaged chunks: %w", err)
	}
	return hit, nil
}
