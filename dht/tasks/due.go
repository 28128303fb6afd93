package tasks

import (
	"container/heap"
	"errors"
	"maps"
	"slices"
	"time"
)

// moment is one entry of the heap: a task or queue that may have something to do then.
type moment struct {
	at    time.Time
	seq   uint64 // of equal instants the one set first goes first
	task  *entry
	queue *queue
}

// stale reports whether the moment means nothing any more.
func (m moment) stale(e *Engine) bool {
	if m.queue != nil {
		return !m.queue.paused.Equal(m.at) || e.queues[m.queue.name] != m.queue
	}
	return !m.task.act.Equal(m.at) || e.led[m.task.task.Name()] != m.task
}

// dues is a heap of moments, earliest first.
type dues struct {
	list []moment
	seq  uint64
}

func (d *dues) Len() int { return len(d.list) }
func (d *dues) Less(i, j int) bool {
	if c := d.list[i].at.Compare(d.list[j].at); c != 0 {
		return c < 0
	}
	return d.list[i].seq < d.list[j].seq
}
func (d *dues) Swap(i, j int) { d.list[i], d.list[j] = d.list[j], d.list[i] }
func (d *dues) Push(x any)    { d.list = append(d.list, x.(moment)) }
func (d *dues) Pop() any {
	last := d.list[len(d.list)-1]
	d.list[len(d.list)-1] = moment{}
	d.list = d.list[:len(d.list)-1]
	return last
}

func (e *Engine) remember(m moment) {
	e.due.seq++
	m.seq = e.due.seq
	heap.Push(&e.due, m)
}

// actAt sets when the task is looked after next, at the end of its time at the latest.
func (e *Engine) actAt(x *entry, at time.Time) {
	if !x.until.IsZero() && at.After(x.until) && x.write == nil {
		at = x.until
	}
	x.act = at
	e.remember(moment{at: at, task: x})
}

// NextTimeout returns when to call HandleTimeout next; ok is false when nothing is due
// ever, as at a node that leads no task.
func (e *Engine) NextTimeout() (time.Time, bool) {
	for len(e.due.list) > 0 {
		if m := e.due.list[0]; !m.stale(e) {
			return m.at, true
		}
		heap.Pop(&e.due)
	}
	return time.Time{}, false
}

// HandleTimeout begins what is due, writes again what was not answered, and gives
// attempts up that take too long.
func (e *Engine) HandleTimeout(now time.Time) {
	for len(e.due.list) > 0 && !e.due.list[0].at.After(now) {
		m := heap.Pop(&e.due).(moment)
		switch {
		case m.stale(e):
		case m.queue != nil:
			m.queue.paused = time.Time{}
		default:
			m.task.act = time.Time{}
			e.do(now, m.task)
		}
	}
	e.start(now)
}

// Errors that a task keeps as its last.
var (
	errNoOutcome = errors.New("no outcome in time")
	errDeadline  = errors.New("the task's time is up")
	errNodeDied  = errors.New("the node that ran it died")
)

// do does what a task's moment has come for.
func (e *Engine) do(now time.Time, x *entry) {
	over := !x.until.IsZero() && !x.until.After(now)
	switch {
	case x.write != nil:
		e.submit(now, x)
	case x.runs:
		e.count.TimedOut++
		e.endRun(x)
		e.finish(now, x, nil, errNoOutcome)
	case over:
		t := x.task
		t.State, t.Wait, t.Left = Dead, 0, e.left(now, x)
		if t.Error == "" {
			t.Error = errDeadline.Error()
		}
		e.put(now, x, t, e.cfg.KeepDead)
	case x.task.State == Running && !x.untaken && x.task.Attempt >= e.most(x.task):
		t := x.task
		t.Left = e.left(now, x)
		t.Error = errNodeDied.Error()
		e.again(now, x, t)
	case !x.ready:
		x.ready = true
		q := e.queue(x.task.Queue)
		q.ready = append(q.ready, x)
		if !x.until.IsZero() {
			e.actAt(x, x.until)
		}
	}
}

// start begins the attempts whose turn it is: of each queue in turn, so that a long one
// does not keep the others waiting.
func (e *Engine) start(now time.Time) {
	names := slices.Sorted(maps.Keys(e.queues))
	for progress := true; progress; {
		progress = false
		for _, name := range names {
			if e.running >= e.cfg.MaxRunning {
				return
			}
			if q := e.queues[name]; q != nil && e.startOne(now, q) {
				progress = true
			}
		}
	}
}

// startOne begins the next attempt of a queue. One whose task nobody took goes on with
// one at a time.
func (e *Engine) startOne(now time.Time, q *queue) bool {
	for len(q.ready) > 0 && q.paused.IsZero() && (q.tries == 0 || !q.probe) {
		x := q.ready[0]
		q.ready[0] = nil
		q.ready = q.ready[1:]
		if !x.ready || e.led[x.task.Name()] != x {
			continue
		}
		x.ready = false
		q.probe = q.tries > 0
		x.probe = q.probe
		if x.untaken {
			e.run(now, x)
		} else {
			e.begin(now, x)
		}
		return true
	}
	return false
}
