package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// Bounds of what a command may hold, in bytes.
const (
	MaxKey   = 1024
	MaxValue = paxos.MaxValue - 4<<10 // a command is a value of paxos
)

// Errors of commands. They cross the network as a Code.
var (
	ErrNotFound = errors.New("not found")
	ErrMismatch = errors.New("the value is another one")
	// ErrSession: the session is not known (any more), so nobody can tell whether the
	// command was made before.
	ErrSession = errors.New("the session has ended")
	ErrLease   = errors.New("no such lease")
	ErrFull    = errors.New("the map is full")
	ErrCommand = errors.New("not a command of this version")
)

// Code says how a command ended.
type Code uint8

// The codes, and the errors that they stand for.
const (
	OK Code = iota
	NotFound
	Mismatch
	NoSession
	NoLease
	Full
	BadCommand
)

// Err returns the error that c stands for, nil for OK.
func (c Code) Err() error {
	switch c {
	case OK:
		return nil
	case NotFound:
		return ErrNotFound
	case Mismatch:
		return ErrMismatch
	case NoSession:
		return ErrSession
	case NoLease:
		return ErrLease
	case Full:
		return ErrFull
	case BadCommand:
		return ErrCommand
	}
	return fmt.Errorf("kv: code %d", uint8(c))
}

// Client names the client of a session: 16 random bytes.
type Client [16]byte

// Op says what a command does.
type Op uint8

// The operations.
const (
	// Tick only brings the time.
	Tick Op = iota
	// Begin begins the session of Client; one that is there stays as it is.
	Begin
	// End ends it.
	End
	// Put sets Key to Value, if Expect allows.
	Put
	// Delete deletes Key, if Expect allows.
	Delete
	// Grant makes a lease of TTL; its ID is the slot.
	Grant
	// Refresh lets Lease last for its TTL from now.
	Refresh
	// Revoke ends Lease and deletes its keys.
	Revoke
)

// Condition says when a Put or Delete is made.
type Condition uint8

// The conditions. Any is always; the others compare what Key has.
const (
	Any Condition = iota
	Absent
	HasValue   // Expect.Value
	HasVersion // Expect.Version
)

// Expect is what a Put or Delete compares.
type Expect struct {
	Condition Condition
	Value     []byte
	Version   paxos.Slot
}

// Command is what is proposed.
type Command struct {
	Client Client
	// Number counts the commands of a session from 1. It means nothing for Tick,
	// Begin and End.
	Number uint64
	// Time is the proposing leader's clock.
	Time   time.Time
	Op     Op
	Key    []byte
	Value  []byte
	Expect Expect
	Lease  uint64 // of Put: the lease that Key goes with, 0 for none
	TTL    time.Duration
}

// Result is the answer to a command, the same on all nodes.
type Result struct {
	Code Code
	// Version is the slot of the command, or, with Mismatch, of the value that is there.
	Version paxos.Slot
	// Value is the value that is there, with Mismatch, and the one deleted.
	Value []byte
	Lease uint64
}

const version = 1

// Append appends the command as it is proposed.
func (c Command) Append(b []byte) []byte {
	b = append(b, version, byte(c.Op))
	b = append(b, c.Client[:]...)
	b = binary.AppendUvarint(b, c.Number)
	b = binary.AppendVarint(b, c.Time.UnixMilli())
	b = appendBytes(appendBytes(b, c.Key), c.Value)
	b = append(b, byte(c.Expect.Condition))
	b = binary.AppendUvarint(appendBytes(b, c.Expect.Value), uint64(c.Expect.Version))
	b = binary.AppendUvarint(b, c.Lease)
	return binary.AppendUvarint(b, uint64(max(c.TTL, 0)/time.Millisecond))
}

// ParseCommand reads what Append writes. Key and values alias b. The error is
// ErrCommand.
func ParseCommand(b []byte) (c Command, err error) {
	r := reader{b: b}
	if v := r.byte(); v != version {
		return c, fmt.Errorf("kv: %w: version %d", ErrCommand, v)
	}
	c.Op = Op(r.byte())
	copy(c.Client[:], r.take(len(c.Client)))
	c.Number = r.uint()
	c.Time = time.UnixMilli(r.int()).UTC()
	c.Key, c.Value = r.bytes(), r.bytes()
	c.Expect.Condition = Condition(r.byte())
	c.Expect.Value, c.Expect.Version = r.bytes(), paxos.Slot(r.uint())
	c.Lease = r.uint()
	ttl := r.uint()
	c.TTL = time.Duration(ttl) * time.Millisecond
	switch {
	case r.bad || len(r.b) > 0:
		return Command{}, fmt.Errorf("kv: %w: cut off, or too long", ErrCommand)
	case c.Op > Revoke || c.Expect.Condition > HasVersion || len(c.Key) > MaxKey || len(c.Value) > MaxValue || ttl > maxTTL:
		return Command{}, fmt.Errorf("kv: %w: out of bounds", ErrCommand)
	}
	return c, nil
}

// maxTTL bounds a lease: a year, in milliseconds.
const maxTTL = 366 * 24 * 3600 * 1000

// Check returns an error when the command breaks a bound, before it is proposed.
func (c Command) Check() error {
	switch {
	case (c.Op == Put || c.Op == Delete) && len(c.Key) == 0:
		return errors.New("kv: an empty key")
	case len(c.Key) > MaxKey:
		return fmt.Errorf("kv: a key of %d bytes: at most %d", len(c.Key), MaxKey)
	case len(c.Value) > MaxValue || len(c.Value)+len(c.Expect.Value) > MaxValue:
		return fmt.Errorf("kv: a value of %d bytes: at most %d", max(len(c.Value), len(c.Expect.Value)), MaxValue)
	case c.TTL < 0 || c.TTL/time.Millisecond > maxTTL || c.Op == Grant && c.TTL < time.Millisecond:
		return fmt.Errorf("kv: a lease of %v: want a millisecond to a year", c.TTL)
	}
	return nil
}

// Append appends the result.
func (r Result) Append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, byte(r.Code)), uint64(r.Version))
	return appendBytes(binary.AppendUvarint(b, r.Lease), r.Value)
}

// ParseResult reads what Append writes. Value aliases b.
func ParseResult(b []byte) (res Result, err error) {
	r := reader{b: b}
	res = Result{Code: Code(r.byte()), Version: paxos.Slot(r.uint()), Lease: r.uint(), Value: r.bytes()}
	if r.bad || len(r.b) > 0 || res.Code > BadCommand {
		return Result{}, errors.New("kv: malformed result")
	}
	return res, nil
}

func appendBytes(b, p []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(p))), p...) }

// reader takes values off b until one is not there.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n == 0 {
		return nil
	}
	return r.take(int(min(n, uint64(len(r.b))+1)))
}
