package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/paxos"
)

// batch is what is sent together on a connection: its epoch and a count, both 8 bytes
// big endian, in the header; in the body messages, each with its length before it.
type batch struct {
	conn         *link.Conn
	epoch, count uint64
}

func (b batch) header() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, b.epoch), b.count)
}

func appendMessage(b []byte, m paxos.Message) []byte {
	// The length is not known before; four bytes always are enough.
	at := len(b)
	b = m.Append(append(b, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// maxMessages bounds a batch that is received.
const maxMessages = 2 * maxQueued

// parseBatch reads a batch. What is malformed ends it: the rest cannot be found.
func parseBatch(body []byte) (list []paxos.Message, err error) {
	for len(body) > 0 {
		if len(body) < 4 || len(list) >= maxMessages {
			return list, errors.New("paxos/peer: malformed batch")
		}
		n := int64(binary.BigEndian.Uint32(body))
		if n > int64(len(body)-4) {
			return list, errors.New("paxos/peer: malformed batch")
		}
		m, err := paxos.ParseMessage(body[4 : 4+n])
		if err != nil {
			return list, err
		}
		list, body = append(list, m), body[4+n:]
	}
	return list, nil
}

// handle answers what comes over any connection.
func (m *Mesh) handle(ctx context.Context, p link.PeerID, req link.Message) (link.Message, error) {
	if req.Method == methodBatch {
		return link.Message{}, m.batch(ctx, p, req)
	}
	if m.cfg.Serve == nil || req.Method < FirstMethod {
		return link.Message{}, &link.Error{Code: link.CodeNoMethod, Text: fmt.Sprintf("no method %d", req.Method)}
	}
	h, b, err := m.cfg.Serve(ctx, req.Method, req.Header, req.Body)
	var e *Error
	if errors.As(err, &e) {
		err = &link.Error{Code: e.Code, Text: e.Text}
	}
	return link.Message{Header: h, Body: b}, err
}

// order brings the batches of a machine, which are handled at once, back into order.
type order struct {
	mu    sync.Mutex
	epoch uint64
	next  uint64
	turn  chan struct{} // closed when next counts up
}

// patience is how long a batch waits for one before it that never comes.
const patience = 50 * time.Millisecond

// wait returns, holding o.mu, when it is the turn of batch count of epoch, or when
// nobody can expect the ones before any more.
func (o *order) wait(ctx context.Context, epoch, count uint64) {
	o.mu.Lock()
	if epoch > o.epoch {
		o.epoch, o.next = epoch, 1
		o.passLocked()
	}
	var late <-chan time.Time
	for o.epoch == epoch && count > o.next && ctx.Err() == nil {
		if late == nil {
			late = time.After(patience)
		}
		turn := o.turn
		o.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
		case <-late:
			o.mu.Lock()
			if o.epoch == epoch {
				o.next = max(o.next, count)
			}
			continue
		}
		o.mu.Lock()
	}
}

// passLocked wakes who waits.
func (o *order) passLocked() {
	if o.turn != nil {
		close(o.turn)
	}
	o.turn = make(chan struct{})
}

func (m *Mesh) batch(ctx context.Context, p link.PeerID, req link.Message) error {
	if len(req.Header) != 16 {
		return errors.New("paxos/peer: malformed batch")
	}
	epoch, count := binary.BigEndian.Uint64(req.Header), binary.BigEndian.Uint64(req.Header[8:])
	list, err := parseBatch(req.Body)
	m.mu.Lock()
	o := m.heard[p]
	if o == nil {
		o = &order{turn: make(chan struct{})}
		m.heard[p] = o
	}
	m.mu.Unlock()
	o.wait(ctx, epoch, count)
	defer o.mu.Unlock()
	for _, msg := range list {
		if m.known(msg.From, p) {
			m.cfg.Receive(msg)
		}
	}
	if o.epoch == epoch && o.next <= count {
		o.next = count + 1
		o.passLocked()
	}
	return err
}

// known reports whether machine p may speak for node id: the first that did and is
// connected may.
func (m *Mesh) known(id paxos.NodeID, p link.PeerID) bool {
	if id == paxos.Everyone || id == m.cfg.ID {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[id]
	if n == nil && len(m.nodes) >= 2*paxos.MaxMembers {
		return false
	}
	n = m.nodeLocked(id)
	if n.peer == p {
		return true
	}
	if n.peer != (link.PeerID{}) && m.links.Conn(n.peer) != nil {
		return false
	}
	n.peer = p
	m.cfg.Logger.Info("node connected", "node", id)
	return true
}
