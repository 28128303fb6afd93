package bulk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// errExists says that a file of the offered name is there.
var errExists = errors.New("a file of that name exists")

// ErrNoSpace says that an object does not fit on the disk.
var ErrNoSpace = errors.New("not enough space on the disk")

// partial is an unfinished file and its state, in a directory that they cannot
// leave. Its methods may be called from several goroutines.
type partial struct {
	root   *os.Root
	object Object
	force  bool

	mu      sync.Mutex
	file    *os.File
	state   *os.File // nil when the object was there already
	proofs  map[int][][32]byte
	resumed int // sections found verified
	there   bool
}

func (p *partial) partName() string  { return p.object.Name + partSuffix }
func (p *partial) stateName() string { return p.object.Name + stateSuffix }

// openPartial makes ready to receive o in root: a file that has it already, or the
// unfinished file of an earlier run with what was verified of it, or a new one.
func openPartial(root *os.Root, o Object, force bool) (*partial, error) {
	p := &partial{root: root, object: o, force: force, proofs: make(map[int][][32]byte)}
	switch same, err := p.sameFile(); {
	case err != nil:
		return nil, err
	case same:
		return p, nil
	}
	if err := p.checkSpace(); err != nil {
		return nil, err
	}
	if err := p.openFiles(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// sameFile opens the finished file if it is what is offered. It fails when another
// file has the name and may not be replaced.
func (p *partial) sameFile() (bool, error) {
	st, err := p.root.Lstat(p.object.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st.Mode().IsRegular() && st.Size() == p.object.Size {
		f, err := p.root.Open(p.object.Name)
		if err != nil {
			return false, err
		}
		o, tree, err := Describe(p.object.Name, f, p.object.Size, p.object.Block)
		if err == nil && o.Root == p.object.Root {
			for s := range o.Sections() {
				p.proofs[s] = tree.Proof(s)
			}
			p.file, p.resumed, p.there = f, o.Sections(), true
			return true, nil
		}
		_ = f.Close()
	}
	if !p.force || !st.Mode().IsRegular() {
		return false, fmt.Errorf("bulk: %s: %w", p.object.Name, errExists)
	}
	return false, nil
}

// checkSpace fails when what is still to be written cannot fit.
func (p *partial) checkSpace() error {
	free, ok := freeSpace(p.root.Name())
	if !ok {
		return nil
	}
	if st, err := p.root.Stat(p.partName()); err == nil {
		free += allocated(st)
	}
	if uint64(p.object.Size) > free {
		return fmt.Errorf("bulk: %s has %d bytes, %d are free: %w", p.object.Name, p.object.Size, free, ErrNoSpace)
	}
	return nil
}

// openFiles opens the unfinished file and its state, and verifies what the state
// says. A state of another object means that the file is begun anew.
func (p *partial) openFiles() (err error) {
	if p.file, err = p.root.OpenFile(p.partName(), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if p.state, err = p.root.OpenFile(p.stateName(), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	b, err := io.ReadAll(p.state)
	if err != nil {
		return err
	}
	records, err := parseState(b, &p.object)
	if err != nil {
		records = nil
		if err := p.file.Truncate(0); err != nil {
			return err
		}
	}
	if err := p.file.Truncate(p.object.Size); err != nil {
		return err
	}
	return p.verify(records)
}

// verify keeps the records whose sections are what was offered, and writes the
// state anew with these.
func (p *partial) verify(records []stateRecord) error {
	out := appendStateHeader(nil, &p.object)
	b := make([]byte, p.object.SectionSize())
	for _, rec := range records {
		n := p.object.Length(rec.section)
		if _, err := p.file.ReadAt(b[:n], p.object.Offset(rec.section)); err != nil && err != io.EOF {
			return err
		}
		if !VerifySection(p.object.Root, HashSection(b[:n]), rec.section, p.object.Sections(), rec.proof) {
			continue
		}
		p.proofs[rec.section] = rec.proof
		out = appendStateRecord(out, rec)
	}
	p.resumed = len(p.proofs)
	if err := p.state.Truncate(0); err != nil {
		return err
	}
	if _, err := p.state.WriteAt(out, 0); err != nil {
		return err
	}
	_, err := p.state.Seek(0, io.SeekEnd)
	return err
}

// have returns the verified sections as a bitmap.
func (p *partial) have() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := newBitmap(p.object.Sections())
	for s := range p.proofs {
		m.set(s)
	}
	return m
}

// note keeps that a section is verified and in the file.
func (p *partial) note(e SectionDone) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proofs[e.Section] = e.Proof
	if p.state == nil {
		return nil
	}
	_, err := p.state.Write(appendStateRecord(nil, stateRecord{e.Section, e.Proof}))
	return err
}

// ReadAt and WriteAt are those of the file.
func (p *partial) ReadAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	f := p.file
	p.mu.Unlock()
	if f == nil {
		return 0, fs.ErrClosed
	}
	return f.ReadAt(b, off)
}

func (p *partial) WriteAt(b []byte, off int64) (int, error) {
	n, err := p.file.WriteAt(b, off)
	if isFull(err) {
		err = fmt.Errorf("%w (%w)", ErrNoSpace, err)
	}
	return n, err
}

// complete gives the file its name, once its bytes are on the disk. It does not
// replace another file unless it may.
func (p *partial) complete() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.there {
		return nil
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := p.file.Close(); err != nil { // some systems do not rename open files
		return err
	}
	p.file = nil
	if err := p.rename(); err != nil {
		return err
	}
	syncDir(p.root)
	p.dropState()
	var err error
	p.file, err = p.root.Open(p.object.Name) // to give sections away
	return err
}

// rename puts the file in place. A link fails where a rename would replace.
func (p *partial) rename() error {
	if p.force {
		return p.root.Rename(p.partName(), p.object.Name)
	}
	switch err := p.root.Link(p.partName(), p.object.Name); {
	case err == nil:
		return p.root.Remove(p.partName())
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("bulk: %s: %w", p.object.Name, errExists)
	}
	// The file system has no links.
	if _, err := p.root.Lstat(p.object.Name); err == nil {
		return fmt.Errorf("bulk: %s: %w", p.object.Name, errExists)
	}
	return p.root.Rename(p.partName(), p.object.Name)
}

func (p *partial) dropState() {
	if p.state != nil {
		_ = p.state.Close()
		p.state = nil
		_ = p.root.Remove(p.stateName())
	}
}

// discard removes the unfinished file.
func (p *partial) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.there || p.state == nil {
		return
	}
	p.dropState()
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
	_ = p.root.Remove(p.partName())
}

// close leaves what is there for the next run.
func (p *partial) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.file != nil {
		err = p.file.Close()
	}
	if p.state != nil {
		err = errors.Join(err, p.state.Close())
	}
	p.file, p.state = nil, nil
	return err
}

// piece returns what is asked of a section, if it is verified here.
func (p *partial) piece(section int, blocks [SectionBlocks / 8]byte) (Piece, bool, error) {
	p.mu.Lock()
	proof, ok := p.proofs[section]
	p.mu.Unlock()
	if !ok {
		return Piece{}, false, nil
	}
	c, err := cut(&p.object, p, section, blocks)
	c.Proof = proof
	return c, err == nil, err
}

// cut reads the blocks that are asked for of a section.
func cut(o *Object, f io.ReaderAt, section int, blocks [SectionBlocks / 8]byte) (Piece, error) {
	p := Piece{Section: section, Blocks: blocks}
	b := make([]byte, o.Length(section))
	if _, err := f.ReadAt(b, o.Offset(section)); err != nil && err != io.EOF {
		return p, err
	}
	for i := range o.Blocks(section) {
		if bitmap(blocks[:]).has(i) {
			p.Content = append(p.Content, b[i*o.Block:i*o.Block+o.BlockLength(section, i)]...)
		}
	}
	return p, nil
}
