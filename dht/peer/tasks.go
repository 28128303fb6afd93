package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/tasks"
	"github.com/aether-lan/aether/dht/topics"
	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/internal/wire"
)

// queueTopic is the topic to which the workers of a queue are subscribed.
func queueTopic(queue string) string { return tasks.Prefix + queue }

// offer is a task as a worker is offered it, by anycast:
//
//	ID (length, bytes), attempt (uvarint), timeout (uvarint, µs), payload (the rest)
type offer struct {
	id      string
	attempt uint64
	timeout time.Duration
	payload []byte
}

func (o offer) append(b []byte) []byte {
	b = wire.AppendCounted(b, o.id)
	b = binary.AppendUvarint(b, o.attempt)
	b = binary.AppendUvarint(b, uint64(o.timeout/time.Microsecond))
	return append(b, o.payload...)
}

func parseOffer(b []byte) (o offer, err error) {
	r := wire.NewReader(b)
	o.id = string(r.Counted(tasks.MaxID))
	o.attempt = r.Uvarint()
	micros := r.Uvarint()
	o.payload = r.Rest()
	if micros > uint64(24*time.Hour/time.Microsecond) {
		r.Fail(errRequest)
	}
	o.timeout = time.Duration(micros) * time.Microsecond
	return o, r.End()
}

// watchTasks has the records' engine tell of the tasks that this node leads.
func (l *loop) watchTasks() {
	l.store.tasks = NewRequestID()
	l.store.engine.Do(time.Now(), records.Request{ID: l.store.tasks, Op: records.Watch, Name: tasks.Prefix, Limit: 1})
}

// taskEvents has the tasks' writes and runs done, and reports whether there were any.
func (l *loop) taskEvents() bool {
	e := l.store.engineOfTasks
	list, requests := e.Events(), e.Requests()
	for _, q := range requests {
		l.n.background(func(ctx context.Context) { l.n.writeTask(ctx, q) })
	}
	log := l.n.cfg.Logger
	for _, ev := range list {
		switch ev := ev.(type) {
		case tasks.Run:
			l.n.background(func(ctx context.Context) { l.n.offerTask(ctx, ev) })
		case tasks.Again:
			log.Debug("task failed, and is tried again", "task", ev.Task.String(), "wait", ev.Wait)
		case tasks.Finished:
			log.Debug("task ended", "task", ev.Task.String())
		case tasks.Malformed:
			log.Warn("a record is no task", "name", ev.Name, "error", ev.Err)
		}
	}
	return len(list)+len(requests) > 0
}

// background runs what the loop must not wait for, until the node ends.
func (n *Node) background(f func(ctx context.Context)) {
	n.services.wg.Go(func() { f(n.services.ctx) })
}

// writeTask has a task's record written, and tells its engine.
func (n *Node) writeTask(ctx context.Context, q records.Request) {
	try, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	r, err := n.Do(try, q)
	if err != nil && r.Status == 0 {
		r.Status = records.Busy
	}
	r.ID = q.ID
	_ = n.post(ctx, func(l *loop) { l.store.engineOfTasks.HandleResponse(time.Now(), r) })
}

// offerTask offers a task to the workers of its queue. Who takes it tells its outcome
// later.
func (n *Node) offerTask(ctx context.Context, run tasks.Run) {
	t := run.Task
	_, _, err := n.Anycast(ctx, queueTopic(t.Queue), offer{t.ID, t.Attempt, run.Timeout, t.Payload}.append(nil))
	if !errors.Is(err, topics.ErrNobody) && !errors.Is(err, topics.ErrRefused) && !errors.Is(err, topics.ErrBusy) {
		return // taken, or perhaps: then its time-out tells
	}
	_ = n.post(ctx, func(l *loop) {
		l.store.engineOfTasks.HandleOutcome(time.Now(), t.Name(), t.Attempt, nil, tasks.ErrNotTaken)
	})
}

// taskOutcome is what a worker tells of an attempt; the result is in the body.
type taskOutcome struct {
	Name    string `json:"name"`
	Attempt uint64 `json:"attempt"`
	Error   string `json:"error,omitempty"`
	Here    bool   `json:"here,omitempty"` // for this node's engine, whoever leads
}

// outcome brings the outcome of an attempt to the node that leads the task's record.
func (n *Node) outcome(ctx context.Context, o taskOutcome, result []byte) error {
	if o.Here {
		var err error
		if o.Error != "" {
			err = errors.New(o.Error)
		}
		return n.post(ctx, func(l *loop) {
			l.store.engineOfTasks.HandleOutcome(time.Now(), o.Name, o.Attempt, result, err)
		})
	}
	at, err := n.leaderOf(ctx, records.Request{Op: records.Get, Name: o.Name})
	if err != nil {
		return err
	}
	o.Here = true
	if at.ID == n.self.ID {
		return n.outcome(ctx, o, result)
	}
	c, err := n.links.connect(ctx, at)
	if err != nil {
		return err
	}
	_, err = c.Call(ctx, link.Message{Method: methodOutcome, Header: encode(o), Body: result})
	return fromLink(err)
}

// Work is what a worker is to do.
type Work struct {
	Queue, ID string
	// Attempt is 1 for the first: an attempt of a number above may be the repetition of
	// one that was done and not heard of.
	Attempt uint64
	Payload []byte
}

// worker takes tasks and tells their outcome.
type worker struct {
	queue string
	slots chan struct{}
	do    func(ctx context.Context, w Work) ([]byte, error)
	tell  func(ctx context.Context, o taskOutcome, result []byte) error
	ctx   context.Context
}

var errAllBusy = errors.New("all workers here are busy")

// take accepts a task when there is a free slot, and does it.
func (w *worker) take(payload []byte) error {
	o, err := parseOffer(payload)
	if err != nil {
		return fmt.Errorf("malformed offer: %w", err)
	}
	select {
	case w.slots <- struct{}{}:
	default:
		return errAllBusy
	}
	go func() { // ended by finish
		defer func() { <-w.slots }()
		w.run(o)
	}()
	return nil
}

// outcomeFor is how long a worker tries to tell an outcome.
const outcomeFor = 30 * time.Second

func (w *worker) run(o offer) {
	ctx, cancel := context.WithTimeout(w.ctx, o.timeout)
	defer cancel()
	result, err := w.do(ctx, Work{w.queue, o.id, o.attempt, o.payload})
	out := taskOutcome{Name: tasks.Task{Queue: w.queue, ID: o.id}.Name(), Attempt: o.attempt}
	if err != nil {
		out.Error = err.Error()
	}
	// The outcome counts also when the worker was told to end meanwhile.
	telling, done := context.WithTimeout(context.WithoutCancel(w.ctx), outcomeFor)
	defer done()
	wait := retryFirst
	for w.tell(telling, out, result) != nil {
		if pause(telling, &wait) != nil {
			return // the attempt's time-out tells its leader
		}
	}
}

// finish waits for what is under way.
func (w *worker) finish() {
	for range cap(w.slots) {
		w.slots <- struct{}{}
	}
}

// Work does the tasks of a queue, at most jobs at a time, until ctx ends. What do
// returns is a task's result; its error has it tried again, by this worker or another.
// A task whose outcome was not heard of is given to a worker again: do must be safe to
// repeat.
func (n *Node) Work(ctx context.Context, queue string, jobs int, do func(ctx context.Context, w Work) ([]byte, error)) error {
	s, err := n.Subscribe(ctx, queueTopic(queue), true)
	if err != nil {
		return err
	}
	w := &worker{queue, make(chan struct{}, max(1, jobs)), do, n.outcome, ctx}
	defer w.finish()
	defer s.Close()
	for {
		m, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if m.Anycast {
			s.Answer(m, nil, w.take(m.Payload))
		}
	}
}

// AddTask adds a task to a queue: it is run at least once, whatever node dies, by a
// worker of the queue. A task of the same queue and ID that is there already is left as
// it is, and added is false.
func (n *Node) AddTask(ctx context.Context, t tasks.Task) (added bool, err error) {
	q, err := tasks.Add(NewRequestID(), t)
	if err != nil {
		return false, err
	}
	_, err = n.do(ctx, q)
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// AddTask adds a task to a queue; see [Node.AddTask].
func (c *Client) AddTask(ctx context.Context, t tasks.Task) (added bool, err error) {
	q, err := tasks.Add(NewRequestID(), t)
	if err != nil {
		return false, err
	}
	_, err = c.Do(ctx, q)
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// Tasks lists the tasks of a queue, or of all when queue is empty, from the first name
// after after on, at most limit. Last is the name to go on after, empty at the end.
func (c *Client) Tasks(ctx context.Context, queue, after string, limit int) (list []tasks.Task, last string, err error) {
	prefix := tasks.Prefix
	if queue != "" {
		prefix += queue + "/"
	}
	found, more, err := c.Scan(ctx, prefix, after, limit)
	for _, r := range found {
		if t, err := tasks.ParseTask(r.Name, r.Value); err == nil {
			list = append(list, t)
		}
		last = r.Name
	}
	if !more {
		last = ""
	}
	return list, last, err
}

// DropTask removes a task. An attempt that is under way is not stopped.
func (c *Client) DropTask(ctx context.Context, queue, id string) error {
	_, err := c.Delete(ctx, tasks.Task{Queue: queue, ID: id}.Name(), 0)
	return err
}

// RequeueTask gives a task that is done or dead all its attempts again.
func (c *Client) RequeueTask(ctx context.Context, queue, id string) error {
	r, err := c.Get(ctx, tasks.Task{Queue: queue, ID: id}.Name())
	if err != nil {
		return err
	}
	q, err := tasks.Requeue(NewRequestID(), recordFrom(r))
	if err == nil {
		_, err = c.Do(ctx, q)
	}
	return err
}

// Work does the tasks of a queue; see [Node.Work]. ready, which may be nil, is called
// when it is known as a worker.
func (c *Client) Work(ctx context.Context, queue string, jobs int, ready func(), do func(ctx context.Context, w Work) ([]byte, error)) error {
	tell := func(ctx context.Context, o taskOutcome, result []byte) error {
		return c.query(ctx, methodOutcome, o, result, &struct{}{})
	}
	w := &worker{queue, make(chan struct{}, max(1, jobs)), do, tell, ctx}
	defer w.finish()
	return c.Subscribe(ctx, queueTopic(queue), true, ready, func(m Message) ([]byte, error) {
		if !m.Anycast {
			return nil, nil
		}
		return nil, w.take(m.Payload)
	})
}

// TasksStatus is what a node has to do for the tasks whose records it leads.
type TasksStatus struct {
	Tasks    int            `json:"tasks"`
	Running  int            `json:"running"`
	Writing  int            `json:"writing"`
	Counters tasks.Counters `json:"counters"`
}

func (l *loop) tasksStatus() TasksStatus {
	s := l.store.engineOfTasks.Status()
	return TasksStatus{s.Tasks, s.Running, s.Writing, s.Counters}
}

// handleTask tells the tasks of a change of a record that this node leads.
func (s *store) handleTask(r records.Record) { s.engineOfTasks.HandleRecord(time.Now(), r) }
