package tasks

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/dht/records"
)

// Engine sees to the tasks whose records this node leads: a value without goroutine,
// clock, socket or disk. Its methods are for one goroutine.
type Engine struct {
	cfg      Config
	rand     *rand.Rand
	led      map[string]*entry // by name of the record
	queues   map[string]*queue
	writes   map[records.RequestID]*entry
	due      dues
	running  int
	requests []records.Request
	events   []Event
	count    Counters
}

// Counters count what happened since the engine was made.
type Counters struct {
	Begun, Done, Failed, Dead uint64
	NotTaken                  uint64 // runs that nobody took
	TakenOver                 uint64 // attempts that another leader had begun
	TimedOut                  uint64 // attempts without an outcome
	Late                      uint64 // outcomes that nobody waits for
	Conflicts                 uint64 // writes that somebody else was first to
	Malformed, Refused        uint64 // records that are no task; tasks over MaxTasks
}

// entry is a task that this node sees to.
type entry struct {
	task    Task
	version uint64
	led     bool // else only the outcome of its attempt is waited for
	// act is when there is something to do: begin, begin again, give up on the attempt.
	act   time.Time
	until time.Time // the end of its time, if it has one
	runs  bool      // this node has an attempt under way
	// untaken: an attempt is written that nobody took; probe: it is to show whether
	// somebody will. Ready: it waits for its turn.
	untaken, probe, ready bool

	write *write
}

// write is a change of a record that is under way.
type write struct {
	request records.Request
	task    Task // as it is then
	tries   int
}

// queue is what is known of the workers of a queue.
type queue struct {
	name   string
	paused time.Time // none is run before
	tries  int       // nobody took a task so many times in a row
	probe  bool      // one task is being tried
	tasks  int
	ready  []*entry // whose turn it is, in order
}

// A queue whose task nobody took waits for pauseFirst, then twice as long each time, to
// pauseMost. A write is tried again after retryFirst, doubling to retryMost.
const (
	pauseFirst = 200 * time.Millisecond
	pauseMost  = 5 * time.Second
	retryFirst = 200 * time.Millisecond
	retryMost  = 5 * time.Second
)

// New returns the engine of a node that leads no record yet.
func New(cfg Config) *Engine {
	return &Engine{
		cfg: cfg.withDefaults(), rand: rand.New(rand.NewPCG(cfg.Seed, 0x7461736b73)),
		led: map[string]*entry{}, queues: map[string]*queue{}, writes: map[records.RequestID]*entry{},
	}
}

// HandleRecord takes a record of a name that begins with [Prefix] and that this node
// leads: each when it begins to lead it, and after each change. The engine keeps the
// record's slices.
func (e *Engine) HandleRecord(now time.Time, rec records.Record) {
	x := e.led[rec.Name]
	if rec.Deleted {
		if x != nil && x.version <= rec.Version {
			e.drop(x)
		}
		return
	}
	t, err := ParseTask(rec.Name, rec.Value)
	if err != nil {
		if x != nil {
			e.drop(x)
		}
		e.count.Malformed++
		e.events = append(e.events, Malformed{rec.Name, err})
		return
	}
	switch {
	case x == nil && (t.State == Done || t.State == Dead):
		return
	case x == nil && len(e.led) >= e.cfg.MaxTasks:
		e.count.Refused++
		return
	case x == nil:
		x = &entry{led: true, task: t}
		e.led[rec.Name] = x
		e.queue(t.Queue).tasks++
	case !x.led:
		x.led = true // lost and led again; the attempt is still under way
	case x.version >= rec.Version:
		return
	}
	if w := x.write; w != nil && rec.Version == w.request.Version+1 && bytes.Equal(rec.Value, w.request.Value) {
		e.written(now, x, rec.Version)
	} else if x.version < rec.Version {
		e.take(now, x, t, rec.Version)
	}
	e.start(now)
}

// take begins to see to a task as its record is.
func (e *Engine) take(now time.Time, x *entry, t Task, version uint64) {
	e.endWrite(x)
	e.endRun(x)
	x.ready, x.untaken = false, false
	x.task, x.version, x.until = t, version, time.Time{}
	if t.Left > 0 {
		x.until = now.Add(t.Left)
	}
	switch t.State {
	case Queued:
		e.actAt(x, now.Add(t.Wait))
	case Running:
		// Another leader began it, who may still come to tell the outcome.
		e.count.TakenOver++
		e.actAt(x, now.Add(e.cfg.TakeOver))
	default:
		e.drop(x)
	}
}

// HandleLost hears that this node does not lead a record any more. Of an attempt that
// it has begun it still tells the outcome, to whoever leads the record now.
func (e *Engine) HandleLost(now time.Time, name string) {
	x := e.led[name]
	switch {
	case x == nil:
	case x.runs:
		x.led = false
	default:
		e.drop(x)
	}
	e.start(now)
}

// HandleOutcome takes the outcome of an attempt that [Run] asked for: err nil means
// that the task is done, with result; [ErrNotTaken] that nobody took it, so that it
// does not count as an attempt.
func (e *Engine) HandleOutcome(now time.Time, name string, attempt uint64, result []byte, err error) {
	x := e.led[name]
	known := x != nil && attempt <= x.task.Attempt && x.task.State == Running
	if !known || err != nil && (!x.runs || attempt != x.task.Attempt) {
		e.count.Late++
		return
	}
	q := e.queue(x.task.Queue)
	if errors.Is(err, ErrNotTaken) {
		e.notTaken(now, x, q)
		return
	}
	q.tries, q.paused = 0, time.Time{}
	e.endRun(x)
	e.finish(now, x, result, err)
	e.start(now)
}

// notTaken has the queue wait, and the attempt with it, which has not begun anywhere.
func (e *Engine) notTaken(now time.Time, x *entry, q *queue) {
	e.count.NotTaken++
	e.endRun(x)
	if !x.led {
		e.drop(x)
		return
	}
	if q.paused.IsZero() {
		q.paused = now.Add(e.jitter(min(pauseFirst<<min(q.tries, 16), pauseMost)))
		q.tries++
		e.remember(moment{at: q.paused, queue: q})
	}
	x.untaken = true
	e.actAt(x, now)
}

// finish writes what became of an attempt.
func (e *Engine) finish(now time.Time, x *entry, result []byte, err error) {
	t := x.task
	t.Wait, t.Left = 0, e.left(now, x)
	if err == nil {
		if t.State, t.Result, t.Error = Done, bytes.Clone(result), ""; len(t.Payload)+len(result) > MaxPayload {
			t.Result = nil // there is no room for it; that the task is done counts
		}
		e.put(now, x, t, e.cfg.KeepDone)
		return
	}
	e.count.Failed++
	text := err.Error()
	t.Error = text[:min(len(text), MaxError)]
	e.again(now, x, t)
}

// again queues a task whose attempt has failed, or gives it up.
func (e *Engine) again(now time.Time, x *entry, t Task) {
	if t.Attempt >= e.most(t) || !x.until.IsZero() && !x.until.After(now) {
		t.State = Dead
		e.put(now, x, t, e.cfg.KeepDead)
		return
	}
	t.State = Queued
	t.Wait = e.jitter(min(e.cfg.BackOff<<min(max(t.Attempt, 1)-1, 20), e.cfg.MaxBackOff))
	e.put(now, x, t, 0)
}

// most returns how many attempts a task has.
func (e *Engine) most(t Task) uint64 {
	if t.MaxAttempts > 0 {
		return t.MaxAttempts
	}
	return e.cfg.MaxAttempts
}

// left returns what is left of a task's time; a microsecond if nothing is.
func (e *Engine) left(now time.Time, x *entry) time.Duration {
	if x.until.IsZero() {
		return 0
	}
	return max(x.until.Sub(now), time.Microsecond)
}

// begin writes that an attempt begins.
func (e *Engine) begin(now time.Time, x *entry) {
	t := x.task
	if t.State == Running && t.Error == "" {
		t.Error = errNodeDied.Error()
	}
	t.State, t.Attempt, t.Wait, t.Left = Running, t.Attempt+1, 0, e.left(now, x)
	x.runs = true
	e.running++
	e.put(now, x, t, 0)
}

// run asks the driver to run the attempt that is written.
func (e *Engine) run(now time.Time, x *entry) {
	d := x.task.Timeout
	if d == 0 {
		d = e.cfg.Timeout
	}
	if !x.until.IsZero() {
		d = max(min(d, x.until.Sub(now)), time.Millisecond)
	}
	if !x.runs {
		x.runs = true
		e.running++
	}
	e.count.Begun++
	x.untaken = false
	e.actAt(x, now.Add(d))
	e.events = append(e.events, Run{x.task, d})
}

func (e *Engine) endRun(x *entry) {
	if x.runs {
		x.runs = false
		e.running--
	}
	if x.probe {
		x.probe = false
		e.queue(x.task.Queue).probe = false
	}
}

func (e *Engine) queue(name string) *queue {
	q := e.queues[name]
	if q == nil {
		q = &queue{name: name}
		e.queues[name] = q
	}
	return q
}

// drop forgets a task.
func (e *Engine) drop(x *entry) {
	e.endWrite(x)
	e.endRun(x)
	delete(e.led, x.task.Name())
	q := e.queue(x.task.Queue)
	if q.tasks--; q.tasks <= 0 {
		delete(e.queues, x.task.Queue)
	}
}

func (e *Engine) jitter(d time.Duration) time.Duration {
	return d + time.Duration(e.rand.Int64N(int64(d)/4+1))
}

// Requests returns the writes to be done, each once for each attempt. The driver sends
// each to the record's leader, and tells the answer by [Engine.HandleResponse].
func (e *Engine) Requests() []records.Request {
	r := e.requests
	e.requests = nil
	return r
}

// Events returns what is to be done and heard, each once.
func (e *Engine) Events() []Event {
	ev := e.events
	e.events = nil
	return ev
}

// Status is what an engine has to do.
type Status struct {
	Tasks   int // of which this node leads the records
	Running int // attempts under way
	Writing int // records being written
	Paused  map[string]time.Time
	Counters
}

// Status returns what the engine has to do. Paused are the queues whose tasks nobody
// took, and until when they wait.
func (e *Engine) Status() Status {
	s := Status{Tasks: len(e.led), Running: e.running, Writing: len(e.writes), Counters: e.count}
	for name, q := range e.queues {
		if !q.paused.IsZero() {
			if s.Paused == nil {
				s.Paused = map[string]time.Time{}
			}
			s.Paused[name] = q.paused
		}
	}
	return s
}

// String says how a task stands, in a line.
func (t Task) String() string {
	s := fmt.Sprintf("%s/%s %v, attempt %d", t.Queue, t.ID, t.State, t.Attempt)
	if t.Error != "" {
		s += ": " + t.Error
	}
	return s
}
