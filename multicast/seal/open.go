package seal

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// What can be wrong with a packet.
var (
	// ErrGarbage says that bytes do not have the shape of a sealed packet.
	ErrGarbage = errors.New("not a sealed packet")
	// ErrNotAuthentic says that nobody with the secret made the packet as it is.
	ErrNotAuthentic = errors.New("not authentic")
	// ErrReplay says that the packet was opened before, or is too old to tell.
	ErrReplay = errors.New("replayed")
	// ErrFull says that the packet is authentic but that the Opener has heard so
	// many starts that it cannot remember one more.
	ErrFull = errors.New("too many sender starts")
)

const (
	// Window is how far behind the highest counter of its start a packet may
	// arrive and still be opened.
	Window = 1024

	defaultSenders = 256
	// retiredFactor bounds the starts of which only the highest counter is kept,
	// as a multiple of the senders; retiredLeast is the least bound.
	retiredFactor = 64
	retiredLeast  = 1 << 14
)

// Dropped counts the packets that an [Opener] refused, by reason.
type Dropped struct {
	Garbage, NotAuthentic, Replay, Full uint64
	// Forgotten counts starts that were retired for others: no packet was dropped,
	// but their late ones will be.
	Forgotten uint64
}

// Opener opens the packets of a group. It is not safe for concurrent use.
//
// It keeps a cipher and a window for each of a bounded number of starts. To make
// room it retires the one idle for longest: of a retired start it keeps only the
// highest counter, 24 bytes, and whatever is not above that counter stays refused.
// So a forgotten start does not become replayable, and a sender that was only
// silent goes on. The number of retired starts is bounded too, at 64 times the
// number of senders and at least 16,384; beyond it new starts are refused with
// [ErrFull]. Only who has the secret can make an Opener remember anything.
type Opener struct {
	secret  []byte // extracted
	failed  error  // of the extraction
	senders map[origin]*sender
	limit   int
	retired map[brief]uint64 // the highest counter of each
	latest  *sender          // the last one that sent, who is likely to send next
	tick    uint64           // packets opened: the time that idleness is measured in
	nonce   [nonceLen]byte
	dropped Dropped
}

// sender is what an Opener keeps of one start.
type sender struct {
	origin
	aead   cipher.AEAD
	window window
	used   uint64 // the Opener's tick of the last packet
}

// NewOpener returns an Opener that keeps the windows of at most so many starts of
// senders. Zero or less means 256.
func NewOpener(secret Secret, senders int) *Opener {
	if senders <= 0 {
		senders = defaultSenders
	}
	extracted, err := extract(&secret)
	return &Opener{
		secret: extracted, failed: err, limit: senders,
		senders: make(map[origin]*sender), retired: make(map[brief]uint64),
	}
}

// Dropped returns the counters.
func (o *Opener) Dropped() Dropped { return o.dropped }

// Senders returns how many starts have a window now.
func (o *Opener) Senders() int { return len(o.senders) }

// Open appends the plaintext of packet to dst and tells who sealed it, as far as
// members can be trusted not to use each other's IDs, and as which of its packets,
// from 1. It fails with [ErrGarbage], [ErrNotAuthentic], [ErrReplay] or [ErrFull];
// packets that are not authentic change nothing but a counter. dst and packet must
// not overlap.
func (o *Opener) Open(dst, packet, additional []byte) (plaintext []byte, from SenderID, sequence uint64, err error) {
	plaintext, from, sequence, err = o.open(dst, packet, additional)
	switch {
	case err == nil:
		return plaintext, from, sequence, nil
	case errors.Is(err, ErrGarbage):
		o.dropped.Garbage++
	case errors.Is(err, ErrReplay):
		o.dropped.Replay++
	case errors.Is(err, ErrFull):
		o.dropped.Full++
	default:
		o.dropped.NotAuthentic++
	}
	return nil, SenderID{}, 0, fmt.Errorf("seal: open: %w", err)
}

func (o *Opener) open(dst, packet, additional []byte) ([]byte, SenderID, uint64, error) {
	if len(packet) < Overhead {
		return nil, SenderID{}, 0, ErrGarbage
	}
	from := origin{SenderID(packet[:idLen]), [startLen]byte(packet[idLen : idLen+startLen])}
	counter := binary.BigEndian.Uint64(packet[idLen+startLen:])
	if counter == 0 { // a Sealer begins with 1
		return nil, SenderID{}, 0, ErrGarbage
	}
	s, err := o.sender(&from)
	if err != nil {
		return nil, SenderID{}, 0, err
	}
	// Before the cipher: a replay is the cheapest packet an outsider can send.
	if s.window.seen(counter) {
		return nil, SenderID{}, 0, ErrReplay
	}
	binary.BigEndian.PutUint64(o.nonce[nonceLen-counterLen:], counter)
	plaintext, err := s.aead.Open(dst, o.nonce[:], packet[headerLen:], additional)
	if err != nil {
		return nil, SenderID{}, 0, ErrNotAuthentic
	}
	if err := o.admit(s); err != nil {
		return nil, SenderID{}, 0, err
	}
	s.window.mark(counter)
	return plaintext, from.id, counter, nil
}

// sender returns what is kept of a start, or a new value for it that nothing
// refers to yet.
func (o *Opener) sender(from *origin) (*sender, error) {
	if o.latest != nil && o.latest.origin == *from {
		return o.latest, nil
	}
	if s := o.senders[*from]; s != nil {
		return s, nil
	}
	if o.failed != nil {
		return nil, o.failed
	}
	aead, err := cipherOf(o.secret, from)
	if err != nil {
		return nil, err
	}
	s := &sender{origin: *from, aead: aead}
	if highest, ok := o.retired[from.brief()]; ok {
		s.window.retire(highest)
	}
	return s, nil
}

// brief stands for an origin that is retired: a hash, so that no two share one.
type brief [16]byte

func (f *origin) brief() brief {
	h := sha256.Sum256(append(f.id[:], f.start[:]...))
	return brief(h[:16])
}

// admit remembers s, who has just sent an authentic packet, and makes room for it.
func (o *Opener) admit(s *sender) error {
	if s.used == 0 { // new here
		if err := o.makeRoom(s); err != nil {
			return err
		}
		o.senders[s.origin] = s
	}
	o.tick++
	s.used = o.tick
	o.latest = s
	return nil
}

// makeRoom retires the start that has been idle for longest if there is no room
// for s, and ends the retirement of s itself.
func (o *Opener) makeRoom(s *sender) error {
	_, back := o.retired[s.brief()]
	if len(o.senders) >= o.limit {
		if !back && len(o.retired) >= max(retiredLeast, retiredFactor*o.limit) {
			return ErrFull
		}
		var idle *sender
		for _, t := range o.senders {
			if idle == nil || t.used < idle.used {
				idle = t
			}
		}
		delete(o.senders, idle.origin)
		o.retired[idle.brief()] = idle.window.highest
		o.dropped.Forgotten++
	}
	if back {
		delete(o.retired, s.brief())
	}
	return nil
}
