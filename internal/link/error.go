package link

import (
	"errors"
	"fmt"
)

// The codes of errors that this package sends. Callers use codes from CodeUser on.
const (
	// CodeFailed is the code of an error that carries none.
	CodeFailed uint16 = 1
	// CodeNoMethod says that the peer does not know the method.
	CodeNoMethod uint16 = 2
	// CodeTooLarge says that the response is larger than the asker accepts.
	CodeTooLarge uint16 = 3
	// CodeUser is the first code that is free for callers.
	CodeUser uint16 = 64
)

// maxErrorText bounds the text of an error that crosses, in bytes.
const maxErrorText = 4096

// Error is an error of a peer's Handler, as it crossed the connection; a Handler
// returns one to send a code.
type Error struct {
	// Code tells programs what went wrong.
	Code uint16
	// Text tells people.
	Text string
}

// Error returns the text and the code.
func (e *Error) Error() string { return fmt.Sprintf("%s (peer's error %d)", e.Text, e.Code) }

// ErrPeerSilent reports a peer that was not heard, or did not read, for longer
// than Config.DeadAfter.
var ErrPeerSilent = errors.New("link: peer fell silent")

// ErrTooLarge reports a message that the peer would not accept.
var ErrTooLarge = errors.New("link: message too large for the peer")

// errorFrame returns the frame that carries err.
func errorFrame(stream uint32, err error) frame {
	code, text := CodeFailed, err.Error()
	if e, ok := errors.AsType[*Error](err); ok {
		code, text = e.Code, e.Text
	}
	return frame{kind: kindError, method: code, stream: stream, body: []byte(text[:min(len(text), maxErrorText)])}
}
