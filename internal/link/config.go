package link

import (
	"context"
	"errors"
	"time"
)

// Message is a request or a response.
type Message struct {
	// Method says what is asked. A response's Method is not carried.
	Method uint16
	// Header is small and structured, in an encoding of the caller's.
	Header []byte
	// Body is raw bytes. Of a message that was received both belong to the
	// receiver until it calls Release.
	Body []byte
	// Sent, when not nil, is called once after the Conn has read Header and Body
	// for the last time: then their memory may be used again.
	Sent func()

	buf *buffer
}

// Release gives the memory of a received Message back for reuse. It is optional;
// after it Header and Body must not be used.
func (m *Message) Release() {
	m.buf.release()
	m.Header, m.Body, m.buf = nil, nil, nil
}

// Handler answers a request of peer. Its ctx ends when the peer no longer wants
// the answer or the connection ends. An error crosses as text, and with its code
// when it is or wraps an [*Error]. A Handler that waits for calls of its own over
// the same Conn must bound them: both ends may be full.
type Handler func(ctx context.Context, peer PeerID, req Message) (Message, error)

// Config is what both ends of a connection need. Identity and Admit must be set,
// everything else may be zero.
type Config struct {
	// Identity is this machine.
	Identity *Identity
	// Admit decides who belongs. Both functions must be set.
	Admit Admit
	// Handler answers the peer's requests. Nil answers each with CodeNoMethod.
	Handler Handler
	// Protocol is the ALPN name that both ends must share (RFC 7301). Zero means
	// "aether/1".
	Protocol string
	// HandshakeTimeout bounds dialling, TLS, proofs and hello together. Zero
	// means 10 s.
	HandshakeTimeout time.Duration
	// KeepAlive is how long nothing is written before a ping is. Zero means 5 s.
	KeepAlive time.Duration
	// DeadAfter is how long nothing is read, or a write makes no progress, before
	// the peer counts as dead. Zero means 15 s. It must exceed the peer's
	// KeepAlive.
	DeadAfter time.Duration
	// MaxHandlers is how many requests of one Conn are served at a time. Zero
	// means 64.
	MaxHandlers int
	// MaxHeader and MaxBody bound what is accepted, in bytes. Zero means 1 MiB
	// and 16 MiB.
	MaxHeader, MaxBody int
	// Queue is how many frames wait to be written before callers wait. Zero
	// means 16.
	Queue int

	serial  uint64                     // of the dialled connection, see hello
	vigil   bool                       // a Mesh sees to it that the peer lives
	doubted func(PeerID, doubtMessage) // hears the peer's doubts
}

// The defaults of Config.
const (
	DefaultProtocol         = "aether/1"
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultKeepAlive        = 5 * time.Second
	DefaultDeadAfter        = 15 * time.Second
	DefaultMaxHandlers      = 64
	DefaultMaxHeader        = 1 << 20
	DefaultMaxBody          = 16 << 20
	DefaultQueue            = 16
)

func (c Config) withDefaults() (Config, error) {
	if c.Identity == nil {
		return c, errors.New("link: config: no identity")
	}
	if c.Admit.Prove == nil || c.Admit.Check == nil {
		return c, errors.New("link: config: no admission")
	}
	if c.Handler == nil {
		c.Handler = func(context.Context, PeerID, Message) (Message, error) {
			return Message{}, &Error{Code: CodeNoMethod, Text: "this machine answers nothing"}
		}
	}
	if c.Protocol == "" {
		c.Protocol = DefaultProtocol
	}
	orDefault(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	orDefault(&c.KeepAlive, DefaultKeepAlive)
	orDefault(&c.DeadAfter, DefaultDeadAfter)
	orDefault(&c.MaxHandlers, DefaultMaxHandlers)
	orDefault(&c.MaxHeader, DefaultMaxHeader)
	orDefault(&c.MaxBody, DefaultMaxBody)
	orDefault(&c.Queue, DefaultQueue)
	if c.MaxHeader > 1<<30 || c.MaxBody > 1<<30 {
		return c, errors.New("link: config: header and body are limited to 1 GiB")
	}
	return c, nil
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
