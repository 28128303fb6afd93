package chunk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // the algorithm

	"github.com/aether-lan/aether/store"
)

// cuts are the bounds of chunk sizes in bytes.
type cuts struct{ min, mean, max int }

var (
	smallCuts = cuts{16 << 10, 64 << 10, 256 << 10}
	largeCuts = cuts{256 << 10, 1 << 20, MaxSize}
)

// largeFrom is the offset in a file from which largeCuts hold.
const largeFrom = 1 << 30

// algorithm is FastCDC as published; the name without version is an older variant
// with another mean.
const algorithm = "fastcdc-v1.0.0"

// errAborted ends a Writer that was given up.
var errAborted = errors.New("chunk: write given up")

// Writer cuts what is written to it into chunks. Its methods are for one
// goroutine; sealing uses all processors. Memory is bounded by a few chunks a
// processor, whatever the size of the file.
type Writer struct {
	k    *Keys
	put  func(Sealed) error
	have func(store.Ref) bool

	first []byte // what was written while it may be one chunk
	pipe  *io.PipeWriter
	done  chan struct{} // closed when the pipeline has ended
	total int64
	all   []entry // chunks of data in order; valid when done is closed
	err   error   // valid when done is closed
}

// NewWriter returns a Writer that hands the chunks of one file to put, in any
// order and from several goroutines. Chunks that have reports to be stored already
// are not sealed; a nil have means that none is.
func (k *Keys) NewWriter(put func(Sealed) error, have func(store.Ref) bool) *Writer {
	if have == nil {
		have = func(store.Ref) bool { return false }
	}
	return &Writer{k: k, put: put, have: have}
}

// Write implements io.Writer. It fails with the error of put.
func (w *Writer) Write(b []byte) (int, error) {
	w.total += int64(len(b))
	if w.pipe == nil {
		if len(w.first)+len(b) <= smallCuts.min {
			w.first = append(w.first, b...)
			return len(b), nil
		}
		w.start()
		if _, err := w.pipe.Write(w.first); err != nil {
			return 0, err
		}
		w.first = nil
	}
	return w.pipe.Write(b)
}

// Close ends the file and returns what it holds once put has returned for every
// chunk of it.
func (w *Writer) Close() (store.Content, error) {
	if w.pipe == nil {
		if w.total == 0 {
			return store.Content{}, nil
		}
		e, err := w.seal(kindData, w.first, w.total, true)
		return store.Content{Size: w.total, Root: e.ref}, err
	}
	w.pipe.Close()
	<-w.done
	if w.err != nil {
		return store.Content{}, w.err
	}
	return w.lists()
}

// Abort gives the file up and waits until put is called no more.
func (w *Writer) Abort() {
	if w.pipe != nil {
		w.pipe.CloseWithError(errAborted)
		<-w.done
	}
}

// seal names a chunk and, unless it is stored already, seals and puts it.
func (w *Writer) seal(as kind, plain []byte, size int64, compress bool) (entry, error) {
	e := entry{ref: w.k.ref(as, plain), size: size}
	if w.have(e.ref) {
		return e, nil
	}
	return e, w.put(w.k.seal(e.ref, plain, compress))
}

// lists seals the lists above the data, level by level, up to the root.
func (w *Writer) lists() (store.Content, error) {
	level := w.all
	var depth uint8
	for len(level) > 1 {
		depth++
		var above []entry
		for len(level) > 0 {
			n, size := 0, int64(0)
			for n < len(level) {
				size += level[n].size
				if n++; level[n-1].ends(n) {
					break
				}
			}
			e, err := w.seal(kindList, appendList(nil, depth, level[:n]), size, true)
			if err != nil {
				return store.Content{}, err
			}
			above, level = append(above, e), level[n:]
		}
		level = above
	}
	return store.Content{Size: w.total, Root: level[0].ref, Depth: depth}, nil
}

// job is a chunk on its way: cut, then sealed by one of several goroutines.
type job struct {
	plain *[]byte
	done  chan struct{}
	entry entry
	err   error
}

// start begins the pipeline: one goroutine cuts, several seal, one collects the
// entries in order. They end when the pipe does.
func (w *Writer) start() {
	pr, pw := io.Pipe()
	w.pipe, w.done = pw, make(chan struct{})
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *job)
	ordered := make(chan *job, 2*workers)
	for range workers {
		go func() {
			for j := range work {
				j.entry, j.err = w.seal(kindData, *j.plain, int64(len(*j.plain)), true)
				w.k.buffers.Put(j.plain)
				close(j.done)
			}
		}()
	}
	var cutErr error // written before ordered is closed
	go func() {
		defer close(ordered)
		defer close(work)
		if cutErr = w.cut(pr, func(j *job) { ordered <- j; work <- j }); cutErr != nil {
			pr.CloseWithError(cutErr)
		}
	}()
	go func() {
		defer close(w.done)
		for j := range ordered {
			<-j.done
			if w.err == nil && j.err != nil {
				w.err = j.err
				pr.CloseWithError(j.err) // the next Write learns of it
			}
			w.all = append(w.all, j.entry)
		}
		if w.err == nil {
			w.err = cutErr
		}
	}()
}

// cut reads r to its end and hands on the chunks, copied into buffers of the pool.
func (w *Writer) cut(r io.Reader, hand func(*job)) error {
	if err := w.cutWith(io.LimitReader(r, largeFrom), smallCuts, hand); err != nil {
		return err
	}
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		if err == io.EOF {
			return nil
		}
		return err
	}
	return w.cutWith(io.MultiReader(bytes.NewReader(first[:]), r), largeCuts, hand)
}

func (w *Writer) cutWith(r io.Reader, c cuts, hand func(*job)) error {
	scan := w.k.scans.Get().(*[]byte)
	defer w.k.scans.Put(scan)
	if len(*scan) < 2*c.max {
		*scan = make([]byte, 2*c.max)
	}
	ch, err := chunkers.NewChunkerBuffer(algorithm, r, &chunkers.ChunkerOpts{
		MinSize: c.min, NormalSize: c.mean, MaxSize: c.max, Key: w.k.cutting[:],
	}, *scan)
	if err != nil {
		return fmt.Errorf("chunk: cut: %w", err)
	}
	for {
		b, err := ch.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if len(b) > 0 { // a short tail comes together with io.EOF
			buf := w.k.buffers.Get().(*[]byte)
			*buf = append((*buf)[:0], b...)
			hand(&job{plain: buf, done: make(chan struct{})})
		}
		if err == io.EOF {
			return nil
		}
	}
}
