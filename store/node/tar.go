package node

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

const (
	// smallFile is the size up to which a file of a tar stream is read into
	// memory and stored beside others, so that one fsync serves many.
	smallFile = 256 << 10
	// ingestWorkers bounds how many small files are stored at once, and with
	// smallFile the memory they take.
	ingestWorkers = 64
)

// errSkipped reports a tar entry that is neither a file nor a directory.
var errSkipped = errors.New("not a file or directory: skipped")

// storeTar stores the tar stream of a request below its path and reports each
// entry once it is on the disk. The answer begins while the request still runs.
func storeTar(m *Machine, w http.ResponseWriter, r *http.Request) error {
	dst, err := drive.Clean(r.FormValue("path"))
	if err != nil {
		return err
	}
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		return fmt.Errorf("node: put: %w", err)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Connection", "close") // what is not read of the stream must not meet the next request
	w.WriteHeader(http.StatusOK)
	out := newLines(w)
	defer out.stop()
	if err := ingest(r.Context(), m.drive, dst, tar.NewReader(r.Body), out.write); err != nil {
		p, _ := problemOf(err)
		out.write(Stored{Error: p.Error, Code: p.Code})
		return nil
	}
	out.write(Stored{End: true})
	return nil
}

// lines writes JSON lines from many goroutines and flushes them soon.
type lines struct {
	mu    sync.Mutex
	enc   *json.Encoder
	flush func()
	dirty bool
	quit  chan struct{}
	done  chan struct{}
}

func newLines(w http.ResponseWriter) *lines {
	rc := http.NewResponseController(w)
	l := &lines{enc: json.NewEncoder(w), flush: func() { _ = rc.Flush() }, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		t := time.NewTicker(50 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-l.quit:
				return
			case <-t.C:
				l.mu.Lock()
				if l.dirty {
					l.flush()
					l.dirty = false
				}
				l.mu.Unlock()
			}
		}
	}()
	return l
}

func (l *lines) write(s Stored) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.enc.Encode(s) // a caller that has gone also ends the request's context
	l.dirty = true
}

func (l *lines) stop() {
	close(l.quit)
	<-l.done
}

// ingest stores what tr holds below dst. It calls report, from several
// goroutines, for each entry that is durable and for each that was skipped, and
// returns the first error that makes going on pointless.
func ingest(ctx context.Context, d *drive.Drive, dst string, tr *tar.Reader, report func(Stored)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(ingestWorkers)
	var names underway
	put := func(name string, h *tar.Header, r io.Reader) error {
		e, err := d.Put(ctx, name, r, drive.Attributes{Mode: uint32(h.FileInfo().Mode().Perm()), ModTime: h.ModTime})
		if err != nil {
			return tell(report, name, err)
		}
		report(Stored{Path: name, Kind: "file", Size: e.Version.Content.Size})
		return nil
	}
	read := func() error {
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("node: put: the stream was cut: %w", err)
			}
			name, err := drive.Clean("/" + h.Name) // alone: below dst it must stay
			if err != nil {
				if err = tell(report, path.Join(dst, h.Name), err); err != nil {
					return err
				}
				continue
			}
			name = path.Join(dst, name)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case h.Typeflag == tar.TypeDir:
				err = d.MkdirAll(ctx, name)
				if err == nil {
					report(Stored{Path: name, Kind: "dir"})
				} else {
					err = tell(report, name, err)
				}
			case h.Typeflag != tar.TypeReg:
				report(Stored{Path: name, Error: errSkipped.Error(), Code: "skipped"})
			case h.PAXRecords[paxFile] != "":
				end := names.begin(name)
				err = putNamed(name, h, put, report)
				end()
			case h.Size > smallFile:
				end := names.begin(name)
				err = put(name, h, tr)
				end()
			default:
				body := make([]byte, h.Size)
				if _, err = io.ReadFull(tr, body); err != nil {
					return fmt.Errorf("node: put: the stream was cut: %w", err)
				}
				end := names.begin(name)
				g.Go(func() error { defer end(); return put(name, h, bytes.NewReader(body)) })
			}
			if err != nil {
				return err
			}
		}
	}
	err := read()
	// What was acknowledged to nobody may still be under way: wait for it.
	if gerr := g.Wait(); gerr != nil {
		return gerr
	}
	return err
}

// putNamed stores the file that h names.
func putNamed(name string, h *tar.Header, put func(string, *tar.Header, io.Reader) error, report func(Stored)) error {
	f, err := openNamed(h)
	if err != nil {
		report(Stored{Path: name, Error: err.Error(), Code: CodeNotLocal})
		return nil
	}
	defer f.Close()
	return put(name, h, f)
}

// tell reports an entry that could not be stored; it returns the error where the
// rest of the stream would meet it too.
func tell(report func(Stored), name string, err error) error {
	for _, own := range []error{tree.ErrIsDir, tree.ErrNotDir, tree.ErrExist, drive.ErrBadPath} {
		if errors.Is(err, own) {
			p, _ := problemOf(err)
			report(Stored{Path: name, Error: p.Error, Code: p.Code})
			return nil
		}
	}
	if errors.Is(err, segment.ErrFull) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// The bits of a mode that say what a file is, as Linux has them (inode(7)).
const (
	typeBits    = 0o170000
	typeSymlink = 0o120000
	typeFIFO    = 0o010000
)

// serveTar writes the path of the request, and what is below it, as a tar stream
// whose names begin with the last element of the path, or "." for the root.
func serveTar(m *Machine, w http.ResponseWriter, r *http.Request) error {
	p, top, at, err := m.requested(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	tw := tar.NewWriter(w)
	as := path.Base(p) // what the names begin with
	if p == "/" {
		as = "."
	}
	add := func(name string, e tree.Entry) error {
		below := strings.TrimPrefix(strings.TrimPrefix(name, p), "/")
		return m.addTar(r.Context(), tw, strings.TrimSuffix(as+"/"+below, "/"), name, e)
	}
	if err := add(p, top); err != nil {
		return endStream(w, err)
	}
	if top.Dir {
		if err := m.walk(r.Context(), p, at, true, add); err != nil {
			return endStream(w, err)
		}
	}
	return endStream(w, tw.Close())
}

func (m *Machine) addTar(ctx context.Context, tw *tar.Writer, as, name string, e tree.Entry) error {
	h := &tar.Header{Name: as, Mode: int64(e.Version.Mode & 0o7777), ModTime: e.Version.ModTime, Format: tar.FormatPAX}
	if e.Dir {
		h.Typeflag, h.Name = tar.TypeDir, as+"/"
		return tw.WriteHeader(h)
	}
	f := m.drive.OpenEntry(ctx, e)
	defer f.Close()
	switch e.Version.Mode & typeBits {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, e.Version.Content.Size
	case typeSymlink:
		target, err := io.ReadAll(io.LimitReader(f, 64<<10))
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(target)
		return tw.WriteHeader(h)
	case typeFIFO:
		h.Typeflag = tar.TypeFifo
		return tw.WriteHeader(h)
	default:
		return nil // a socket is nothing without the program that made it
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(tw, f)
	return err
}
