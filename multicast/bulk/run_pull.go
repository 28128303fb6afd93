package bulk

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/multicast/seal"
)

// Sections are fetched by TCP in frames: a length of four bytes, then a request or
// an answer, sealed when the transfer is.
//
//	request: 1 ‖ nonce (8) ‖ root (32) ‖ section (4) ‖ blocks (128)
//	answer:  2 ‖ nonce (8) ‖ status (1) ‖ proof ‖ content
const (
	pullRequest = 1
	pullAnswer  = 2

	pullFound   = 0
	pullMissing = 1

	maxPullFrame = SectionBlocks*MaxBlock + 4096
	maxPullConns = 64
	pullTimeout  = 20 * time.Second
	dialTimeout  = 3 * time.Second
	// pullFactor of the object's size is what one address may fetch: who lies about
	// what it has gets no more.
	pullFactor = 3
)

// shelf is where sections are given away from.
type shelf struct {
	mu     sync.Mutex
	object *Object
	piece  func(section int, blocks [SectionBlocks / 8]byte) (Piece, bool, error)
	served map[netip.Addr]int64
}

// show gives the sections of o away from now on, those of other objects no more.
func (s *shelf) show(o *Object, piece func(int, [SectionBlocks / 8]byte) (Piece, bool, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object, s.piece, s.served = o, piece, make(map[netip.Addr]int64)
}

// find returns what a request asks for, if it is there and the asker has not had
// more than its share.
func (s *shelf) find(from netip.Addr, root [32]byte, section int, blocks [SectionBlocks / 8]byte) (Piece, bool) {
	s.mu.Lock()
	o, piece := s.object, s.piece
	if o == nil || o.Root != root || section >= o.Sections() || s.served[from] > pullFactor*o.Size+1<<20 {
		s.mu.Unlock()
		return Piece{}, false
	}
	s.served[from] += int64(o.Length(section))
	s.mu.Unlock()
	p, ok, err := piece(section, blocks)
	return p, ok && err == nil
}

// pullServer gives sections away to whoever asks, and has the secret.
type pullServer struct {
	shelf    *shelf
	secret   *seal.Secret
	listener net.Listener
	wg       sync.WaitGroup
	slots    chan struct{}
	mu       sync.Mutex
	conns    map[net.Conn]bool
	box      *box
	sent     atomic.Uint64
	refused  atomic.Uint64
}

// listenPull listens at a free port of addr.
func listenPull(ctx context.Context, addr netip.Addr, zone string, secret *seal.Secret, random io.Reader, shelf *shelf) (*pullServer, error) {
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(zone)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	b, err := newBox(secret, random)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &pullServer{
		shelf: shelf, secret: secret, listener: l, box: b,
		slots: make(chan struct{}, maxPullConns), conns: make(map[net.Conn]bool),
	}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *pullServer) port() uint16 { return uint16(s.listener.Addr().(*net.TCPAddr).Port) }

func (s *pullServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			s.refused.Add(1)
			_ = c.Close()
			continue
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			s.serve(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// serve answers the requests of one connection until something is wrong with it.
func (s *pullServer) serve(c net.Conn) {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	r := bufio.NewReaderSize(c, 4096)
	for {
		_ = c.SetDeadline(time.Now().Add(pullTimeout))
		b, err := readFrame(r, 4096)
		if err != nil {
			return
		}
		if b, err = s.box.open(b); err != nil {
			s.refused.Add(1)
			return
		}
		q, err := parseRequest(b)
		if err != nil {
			s.refused.Add(1)
			return
		}
		p, ok := s.shelf.find(from, q.root, q.section, q.blocks)
		out, err := s.box.seal(appendAnswer(nil, q.nonce, p, ok))
		if err != nil {
			return
		}
		if err := writeFrame(c, out); err != nil {
			return
		}
		s.sent.Add(uint64(len(out)))
	}
}

func (s *pullServer) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// box seals and opens frames, or passes them on where there is no secret.
type box struct {
	mu     sync.Mutex
	sealer *seal.Sealer
	opener *seal.Opener
}

func newBox(secret *seal.Secret, random io.Reader) (*box, error) {
	b := new(box)
	if secret == nil {
		return b, nil
	}
	var id seal.SenderID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	var err error
	if b.sealer, err = seal.NewSealer(*secret, id, random); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	b.opener = seal.NewOpener(*secret, maxSenders)
	return b, nil
}

// pullContext keeps frames apart from packets of the group.
const pullContext = "aether bulk pull 1"

func (b *box) seal(text []byte) ([]byte, error) {
	if b.sealer == nil {
		return text, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sealer.Seal(nil, text, []byte(pullContext))
}

func (b *box) open(p []byte) ([]byte, error) {
	if b.opener == nil {
		return p, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	text, _, _, err := b.opener.Open(nil, p, []byte(pullContext))
	return text, err
}

func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > uint32(limit) {
		return nil, fmt.Errorf("%w: frame of %d bytes", ErrGarbage, n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeFrame(w io.Writer, b []byte) error {
	bufs := net.Buffers{binary.BigEndian.AppendUint32(nil, uint32(len(b))), b}
	_, err := bufs.WriteTo(w)
	return err
}

// request is what is asked by TCP.
type request struct {
	nonce   uint64
	root    [32]byte
	section int
	blocks  [SectionBlocks / 8]byte
}

func (q *request) append(b []byte) []byte {
	b = append(b, pullRequest)
	b = appendUint64(b, q.nonce)
	b = append(b, q.root[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(q.section))
	return append(b, q.blocks[:]...)
}

func parseRequest(b []byte) (q request, err error) {
	r := wire.NewReader(b)
	if r.Uint8() != pullRequest {
		r.Fail(ErrGarbage)
	}
	q.nonce = r.Uint64()
	copy(q.root[:], r.Bytes(32))
	q.section = int(r.Uint32())
	copy(q.blocks[:], r.Bytes(len(q.blocks)))
	return q, r.End()
}

func appendAnswer(b []byte, nonce uint64, p Piece, ok bool) []byte {
	b = append(b, pullAnswer)
	b = appendUint64(b, nonce)
	if !ok {
		return append(b, pullMissing)
	}
	b = append(b, pullFound)
	b = appendHashes(b, p.Proof)
	return append(b, p.Content...)
}

// parseAnswer reads what answers q.
func parseAnswer(b []byte, q *request) (p Piece, found bool, err error) {
	r := wire.NewReader(b)
	if r.Uint8() != pullAnswer || r.Uint64() != q.nonce {
		r.Fail(ErrGarbage)
	}
	status := r.Uint8()
	if r.Err() != nil || status != pullFound {
		return p, false, r.Err()
	}
	p = Piece{Section: q.section, Blocks: q.blocks, Proof: readHashes(r)}
	p.Content = r.Rest()
	return p, true, r.Err()
}

// puller fetches sections. It is used by one goroutine.
type puller struct {
	root   [32]byte
	secret *seal.Secret
	box    *box
	c      *conn
	nonce  uint64
	open   map[netip.AddrPort]net.Conn
	bad    map[netip.AddrPort]time.Time // not asked again before
}

func newPuller(root [32]byte, secret *seal.Secret, random io.Reader, c *conn) (*puller, error) {
	b, err := newBox(secret, random)
	if err != nil {
		return nil, err
	}
	return &puller{
		root: root, secret: secret, box: b, c: c,
		open: make(map[netip.AddrPort]net.Conn), bad: make(map[netip.AddrPort]time.Time),
	}, nil
}

// fetch asks the sources of w in turn and returns who had the section.
func (p *puller) fetch(ctx context.Context, w *Want) (Piece, netip.AddrPort, error) {
	err := errors.New("bulk: no source can be asked now")
	for _, source := range w.Sources {
		if time.Now().Before(p.bad[source]) {
			continue
		}
		piece, found, askErr := p.ask(ctx, source, w)
		switch {
		case askErr != nil:
			err = askErr
			p.drop(source, time.Second)
		case found:
			return piece, source, nil
		}
	}
	return Piece{}, netip.AddrPort{}, err
}

// drop does not ask source again for a while.
func (p *puller) drop(source netip.AddrPort, d time.Duration) {
	if c := p.open[source]; c != nil {
		_ = c.Close()
		delete(p.open, source)
	}
	p.bad[source] = time.Now().Add(d)
}

func (p *puller) ask(ctx context.Context, source netip.AddrPort, w *Want) (Piece, bool, error) {
	c := p.open[source]
	if c == nil {
		d := net.Dialer{Timeout: dialTimeout}
		var err error
		if c, err = d.DialContext(ctx, "tcp", p.c.reachable(source).String()); err != nil {
			return Piece{}, false, err
		}
		p.open[source] = c
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(pullTimeout)); err != nil {
		return Piece{}, false, err
	}
	p.nonce++
	q := request{nonce: p.nonce, root: p.root, section: w.Section, blocks: w.Blocks}
	b, err := p.box.seal(q.append(nil))
	if err != nil {
		return Piece{}, false, err
	}
	if err := writeFrame(c, b); err != nil {
		return Piece{}, false, err
	}
	if b, err = readFrame(c, maxPullFrame); err != nil {
		return Piece{}, false, err
	}
	if b, err = p.box.open(b); err != nil {
		return Piece{}, false, err
	}
	return parseAnswer(b, &q)
}

func (p *puller) close() {
	for _, c := range p.open {
		_ = c.Close()
	}
}
