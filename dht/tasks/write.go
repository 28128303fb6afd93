package tasks

import (
	"encoding/binary"
	"time"

	"github.com/aether-lan/aether/dht/records"
)

// put writes a task's new state, if nobody has changed its record.
func (e *Engine) put(now time.Time, x *entry, t Task, ttl time.Duration) {
	e.endWrite(x)
	w := &write{task: t, request: records.Request{
		Op: records.Swap, Name: t.Name(), Version: x.version, Value: AppendTask(nil, t), TTL: ttl,
	}}
	binary.BigEndian.PutUint64(w.request.ID[:8], e.rand.Uint64())
	binary.BigEndian.PutUint64(w.request.ID[8:], e.rand.Uint64())
	x.write = w
	e.writes[w.request.ID] = x
	e.submit(now, x)
}

// orphanTries is how often a node tries to tell the outcome of an attempt to a record
// that another leads.
const orphanTries = 8

// submit sends the write, and again when there is no answer.
func (e *Engine) submit(now time.Time, x *entry) {
	w := x.write
	if !x.led && w.tries > orphanTries {
		e.drop(x)
		return
	}
	e.requests = append(e.requests, w.request)
	w.request.Again = true
	e.actAt(x, now.Add(e.jitter(min(retryMost, retryFirst<<min(w.tries+4, 16)))))
	w.tries++
}

func (e *Engine) endWrite(x *entry) {
	if x.write != nil {
		delete(e.writes, x.write.request.ID)
		x.write = nil
	}
}

// HandleResponse takes the answer to one of [Engine.Requests].
func (e *Engine) HandleResponse(now time.Time, r records.Response) {
	x := e.writes[r.ID]
	if x == nil {
		return // the record itself has told already
	}
	switch r.Status {
	case records.OK:
		e.written(now, x, r.Record.Version)
	case records.Conflict, records.NotFound:
		e.conflict(now, x, r)
	case records.Unknown:
		// Whether it was done is forgotten; if it was, a new request meets a conflict.
		e.put(now, x, x.write.task, x.write.request.TTL)
	case records.TooLarge, records.Invalid:
		e.drop(x) // it was stored as large as that; nothing of ours can be
	case records.Elsewhere:
		if !x.led || x.write.tries > 3 {
			e.drop(x) // whoever leads the record now sees to the task
			break
		}
		fallthrough
	default: // no majority, busy, full
		e.actAt(x, now.Add(e.jitter(min(retryMost, retryFirst<<min(x.write.tries, 16)))))
	}
	e.start(now)
}

// conflict goes on from the record as it is: somebody else changed or deleted it, or
// an attempt to write it was done and forgotten.
func (e *Engine) conflict(now time.Time, x *entry, r records.Response) {
	e.count.Conflicts++
	t, err := ParseTask(x.task.Name(), r.Record.Value)
	if r.Status == records.NotFound || r.Record.Deleted || r.Record.Version == 0 || !x.led {
		e.drop(x)
		return
	}
	if err != nil || r.Record.Version <= x.version {
		e.actAt(x, now.Add(e.jitter(retryMost))) // the record's change tells more
		return
	}
	e.take(now, x, t, r.Record.Version)
}

// written goes on when a write is done.
func (e *Engine) written(now time.Time, x *entry, version uint64) {
	t := x.write.task
	e.endWrite(x)
	x.task, x.version = t, version
	x.until = time.Time{}
	if t.Left > 0 {
		x.until = now.Add(t.Left)
	}
	switch t.State {
	case Running:
		if !x.led {
			e.drop(x) // it has not begun, and another leads it now
			return
		}
		e.run(now, x)
	case Queued:
		e.events = append(e.events, Again{t, t.Wait})
		e.actAt(x, now.Add(t.Wait))
		if !x.led {
			e.drop(x)
		}
	case Done, Dead:
		if e.count.Done++; t.State == Dead {
			e.count.Done--
			e.count.Dead++
		}
		e.events = append(e.events, Finished{t})
		e.drop(x)
	}
}
