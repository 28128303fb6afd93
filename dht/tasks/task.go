package tasks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/internal/wire"
)

// Prefix begins the names of all tasks' records: task/QUEUE/ID.
const Prefix = "task/"

// Bounds of a task.
const (
	// MaxPayload bounds a task's payload and its result together, in bytes: a record
	// holds 64 KiB.
	MaxPayload = 60 << 10
	// MaxQueue and MaxID bound the bytes of the names of queues and tasks.
	MaxQueue = 200
	MaxID    = 512
	// MaxError bounds the text of the last error; more is cut off.
	MaxError = 1 << 10
	// maxWait bounds the durations of a task.
	maxWait = 10 * 366 * 24 * time.Hour
)

// Errors of tasks.
var (
	// ErrName: a queue's or task's name is empty, too long, or a queue's has a slash.
	ErrName = errors.New("bad name of queue or task")
	// ErrTooLarge: the payload is larger than [MaxPayload].
	ErrTooLarge = errors.New("payload too large")
	// ErrMalformed: a record is no task.
	ErrMalformed = errors.New("malformed task")
	// ErrNotTaken is the outcome of a run that nobody took: no worker, or all busy.
	ErrNotTaken = errors.New("nobody took the task")
)

// State says how a task stands.
type State uint8

// States of a task.
const (
	// Queued: waiting, for its time or its turn.
	Queued State = iota
	// Running: an attempt has begun.
	Running
	// Done: an attempt succeeded; Result is its outcome.
	Done
	// Dead: given up; Error says why. It stays to be looked at or queued again.
	Dead
)

// String returns the state in a word.
func (s State) String() string {
	names := [...]string{"queued", "running", "done", "dead"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Task is a piece of work and how it stands.
type Task struct {
	Queue, ID string
	Payload   []byte
	State     State
	// Attempt is how many attempts have begun. MaxAttempts ends the task; 0 means what
	// the leader's Config says.
	Attempt, MaxAttempts uint64
	// Wait is for how long the task is not run, from when it was written.
	Wait time.Duration
	// Left is how long the task may go on, from when it was written; 0: for ever.
	Left time.Duration
	// Timeout is how long one attempt may take; 0 means what the leader's Config says.
	Timeout time.Duration
	Error   string // of the last attempt that failed
	Result  []byte
	// Unknown are fields of newer programs, as they were read.
	Unknown []byte
}

// Name returns the name of the task's record.
func (t Task) Name() string { return Prefix + t.Queue + "/" + t.ID }

// check returns the error of a task that cannot be stored.
func (t Task) check() error {
	if t.Queue == "" || len(t.Queue) > MaxQueue || strings.Contains(t.Queue, "/") || t.ID == "" || len(t.ID) > MaxID {
		return ErrName
	}
	if len(t.Payload) > MaxPayload {
		return ErrTooLarge
	}
	return nil
}

// ParseName returns queue and ID of the task whose record has the given name.
func ParseName(name string) (queue, id string, ok bool) {
	rest, isTask := strings.CutPrefix(name, Prefix)
	queue, id, ok = strings.Cut(rest, "/")
	ok = isTask && ok && Task{Queue: queue, ID: id}.check() == nil
	return queue, id, ok
}

// The fields of a task's value: tag, length, value, by rising tags. Zeros are left out.
// Tags stand for ever; those a program does not know it keeps.
const (
	tagPayload = 1 + iota
	tagState
	tagAttempt
	tagMaxAttempts
	tagWait
	tagLeft
	tagTimeout
	tagError
	tagResult
	tagUnknown // the first that this program does not know
)

// AppendTask appends the value of a task's record.
func AppendTask(b []byte, t Task) []byte {
	b = appendBytes(b, tagPayload, t.Payload)
	b = appendNumber(b, tagState, uint64(t.State))
	b = appendNumber(b, tagAttempt, t.Attempt)
	b = appendNumber(b, tagMaxAttempts, t.MaxAttempts)
	b = appendNumber(b, tagWait, micros(t.Wait))
	b = appendNumber(b, tagLeft, micros(t.Left))
	b = appendNumber(b, tagTimeout, micros(t.Timeout))
	b = appendBytes(b, tagError, []byte(t.Error))
	b = appendBytes(b, tagResult, t.Result)
	return append(b, t.Unknown...)
}

// micros rounds up, so that what is left does not become for ever.
func micros(d time.Duration) uint64 {
	return uint64((min(max(d, 0), maxWait) + time.Microsecond - 1) / time.Microsecond)
}

func appendBytes(b []byte, tag uint64, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return wire.AppendCounted(binary.AppendUvarint(b, tag), v)
}

func appendNumber(b []byte, tag, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = binary.AppendUvarint(b, tag)
	b = binary.AppendUvarint(b, uint64((bits.Len64(v)+6)/7))
	return binary.AppendUvarint(b, v)
}

// ParseTask reads the task of a record. It fails with [ErrMalformed] on what is none.
func ParseTask(name string, value []byte) (t Task, err error) {
	queue, id, ok := ParseName(name)
	if !ok {
		return Task{}, fmt.Errorf("tasks: record %q: %w", name, ErrMalformed)
	}
	t.Queue, t.ID = queue, id
	r := wire.NewReader(value)
	for last := uint64(0); r.Err() == nil && r.Len() > 0; {
		begin := r.Offset()
		tag := number(r)
		head := r.Offset()
		v := r.Counted(records.MaxValue)
		// A length is of the least length, too: what is read is written the same.
		if tag <= last || len(v) == 0 || r.Offset()-head-len(v) != (bits.Len(uint(len(v)))+6)/7 {
			r.Fail(ErrMalformed)
			break
		}
		last = tag
		if tag >= tagUnknown {
			t.Unknown = append(t.Unknown, value[begin:r.Offset()]...)
			continue
		}
		t.set(tag, v, r)
	}
	if err := r.End(); err != nil {
		return Task{}, fmt.Errorf("tasks: record %q: %w: %w", name, ErrMalformed, err)
	}
	return t, nil
}

func (t *Task) set(tag uint64, v []byte, msg *wire.Reader) {
	switch tag {
	case tagPayload:
		t.Payload = v
		return
	case tagError:
		t.Error = string(v)
		return
	case tagResult:
		t.Result = v
		return
	}
	r := wire.NewReader(v)
	n := number(r)
	if r.End() != nil || n == 0 || tag == tagState && n > uint64(Dead) ||
		(tag == tagWait || tag == tagLeft || tag == tagTimeout) && n > micros(maxWait) {
		msg.Fail(ErrMalformed)
		return
	}
	d := time.Duration(n) * time.Microsecond
	switch tag {
	case tagState:
		t.State = State(n)
	case tagAttempt:
		t.Attempt = n
	case tagMaxAttempts:
		t.MaxAttempts = n
	case tagWait:
		t.Wait = d
	case tagLeft:
		t.Left = d
	case tagTimeout:
		t.Timeout = d
	}
}

// number reads an integer of the least length.
func number(r *wire.Reader) uint64 {
	before := r.Len()
	v := r.Uvarint()
	if r.Err() == nil && before-r.Len() != max((bits.Len64(v)+6)/7, 1) {
		r.Fail(ErrMalformed)
	}
	return v
}

// Add returns the request that adds a task. Its answer is OK, or Conflict when there is
// a task of that queue and ID already, with its record: adding it twice, it runs as one.
func Add(id records.RequestID, t Task) (records.Request, error) {
	if err := t.check(); err != nil {
		return records.Request{}, fmt.Errorf("tasks: add: %w", err)
	}
	t.State, t.Attempt, t.Error, t.Result = Queued, 0, "", nil
	return records.Request{ID: id, Op: records.Swap, Name: t.Name(), Value: AppendTask(nil, t)}, nil
}

// Requeue returns the request that gives a task that is done or dead all its attempts
// again. Its answer is Conflict when the record has changed meanwhile.
func Requeue(id records.RequestID, rec records.Record) (records.Request, error) {
	t, err := ParseTask(rec.Name, rec.Value)
	if err != nil {
		return records.Request{}, err
	}
	t.State, t.Attempt, t.Wait, t.Error, t.Result = Queued, 0, 0, "", nil
	return records.Request{ID: id, Op: records.Swap, Name: rec.Name, Version: rec.Version, Value: AppendTask(nil, t)}, nil
}
