package chat

import "errors"

const (
	// sendRate and sendBurst bound the packets that a member sends, a second and at
	// once: half of what others take from one sender.
	sendRate, sendBurst = 150, 32
	// maxQueue bounds the pieces of own messages that wait to be sent.
	maxQueue = 1024
	// maxControl bounds the hellos and requests that wait.
	maxControl = 64
)

// ErrBusy says that so much was said that it waits to be sent; try again in a
// second.
var ErrBusy = errors.New("too much to send waits already")

// outbox paces what a member sends.
type outbox struct {
	controls []packet
	pieces   []*piece // of own messages
	tokens   bucket
}

// control queues a packet that goes before all messages.
func (o *outbox) control(p packet) {
	if len(o.controls) < maxControl {
		o.controls = append(o.controls, p)
	}
}

// message queues the pieces of an own message.
func (o *outbox) message(id MemberID, sequence uint64, rec *record) {
	for i := range rec.pieces() {
		o.pieces = append(o.pieces, rec.piece(id, sequence, i))
	}
}

// idle reports whether nothing but repairs waits.
func (o *outbox) idle() bool { return len(o.controls)+len(o.pieces) == 0 }

// take returns the next packet that is not a repair.
func (o *outbox) take() packet {
	switch {
	case len(o.controls) > 0:
		p := o.controls[0]
		o.controls = o.controls[1:]
		return p
	case len(o.pieces) > 0:
		p := o.pieces[0]
		o.pieces = o.pieces[1:]
		return p
	}
	return nil
}
