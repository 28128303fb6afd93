package tasks_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/tasks"
)

func TestTask_AddedTwiceRunsAsOne(t *testing.T) {
	c := newCloud(t, 1, 3, tasks.Config{})
	tk := tasks.Task{Queue: "mail", ID: "7", Payload: []byte("x")}
	if !c.add(tk) || c.add(tk) {
		t.Error("want the first Add to succeed and the second not")
	}
	c.run(time.Minute)
	if c.add(tk) {
		t.Error("a done task was added again")
	}
	c.run(time.Minute)
	if n := c.worked[tk.Name()]; n != 1 || c.task("mail", "7").State != tasks.Done {
		t.Errorf("worked %d times, %v", n, c.task("mail", "7"))
	}
}

func TestTask_RunAgainAfterItsNodeDies(t *testing.T) {
	c := newCloud(t, 1, 2, tasks.Config{})
	c.work = func(node int, r tasks.Run) {
		if r.Task.Attempt == 1 {
			c.after(0, func() { c.crash(node) })
			return
		}
		c.outcome(node, r, []byte("done"), nil)
	}
	c.add(tasks.Task{Queue: "q", ID: "1"})
	c.run(5 * time.Second)
	tk := c.task("q", "1")
	if got := c.begun[tk.Name()]; tk.State != tasks.Done || !reflect.DeepEqual(got, []uint64{1, 2}) {
		t.Errorf("%v; attempts %v", tk, got)
	}
}

// A leader that loses its record while an attempt is under way tells the outcome all
// the same, and the attempt is not repeated.
func TestTask_OutcomeSurvivesAChangeOfLeader(t *testing.T) {
	c := newCloud(t, 1, 2, tasks.Config{})
	c.work = func(node int, r tasks.Run) {
		c.after(100*time.Millisecond, func() { c.lead(r.Task.Name(), 1-node) })
		c.after(time.Second, func() { c.outcome(node, r, nil, nil) })
	}
	c.add(tasks.Task{Queue: "q", ID: "1"})
	c.run(time.Minute)
	tk := c.task("q", "1")
	if got := c.begun[tk.Name()]; tk.State != tasks.Done || len(got) != 1 {
		t.Errorf("%v; attempts %v", tk, got)
	}
}

func TestTask_FailuresBackOffAndEndAsDeadLetter(t *testing.T) {
	c := newCloud(t, 1, 1, tasks.Config{})
	var at []time.Time
	c.work = func(node int, r tasks.Run) {
		at = append(at, c.now)
		c.outcome(node, r, nil, errors.New("out of paper"))
	}
	c.add(tasks.Task{Queue: "q", ID: "1", MaxAttempts: 5})
	c.run(time.Hour)
	tk := c.task("q", "1")
	if tk.State != tasks.Dead || tk.Error != "out of paper" || len(at) != 5 {
		t.Fatalf("%v after %d attempts", tk, len(at))
	}
	for i := 2; i < len(at); i++ {
		if a, b := at[i-1].Sub(at[i-2]), at[i].Sub(at[i-1]); b < a*3/2 {
			t.Errorf("waited %v, then %v", a, b)
		}
	}
	q, err := tasks.Requeue(records.RequestID{1}, c.records[tk.Name()])
	if err != nil {
		t.Fatal(err)
	}
	c.work = func(node int, r tasks.Run) { c.outcome(node, r, nil, nil) }
	c.serve(-1, nil, q)
	c.run(time.Minute)
	if tk := c.task("q", "1"); tk.State != tasks.Done {
		t.Errorf("after Requeue: %v", tk)
	}
}

func TestTask_DeadlineEndsIt(t *testing.T) {
	c := newCloud(t, 1, 1, tasks.Config{MaxAttempts: 1000, MaxBackOff: time.Second})
	c.work = func(node int, r tasks.Run) { c.outcome(node, r, nil, errors.New("no")) }
	c.add(tasks.Task{Queue: "q", ID: "1", Left: 10 * time.Second})
	c.add(tasks.Task{Queue: "q", ID: "late", Left: time.Second, Wait: time.Minute})
	c.run(30 * time.Second)
	for _, id := range []string{"1", "late"} {
		var end time.Duration
		for _, ev := range c.events {
			if f, ok := ev.(tasks.Finished); ok && f.Task.ID == id {
				end = 1
			}
		}
		if tk := c.task("q", id); tk.State != tasks.Dead || end == 0 {
			t.Errorf("%v", tk)
		}
	}
	if n := len(c.begun["task/q/1"]); n < 5 || n > 15 {
		t.Errorf("%d attempts in 10 s", n)
	}
	if n := len(c.begun["task/q/late"]); n != 0 {
		t.Errorf("%d attempts of a task that was to wait longer than it had time", n)
	}
}

func TestTask_WaitsBeforeItsFirstAttempt(t *testing.T) {
	c := newCloud(t, 1, 1, tasks.Config{})
	c.add(tasks.Task{Queue: "q", ID: "1", Wait: time.Minute})
	c.run(59 * time.Second)
	if len(c.begun) != 0 {
		t.Error("begun before its time")
	}
	c.run(10 * time.Second)
	if len(c.begun) != 1 {
		t.Error("not begun")
	}
}

// Without workers no attempts are used up, and a thousand waiting tasks cost a try
// now and then; when one comes, all are run.
func TestTask_ThousandWaitForAWorker(t *testing.T) {
	c := newCloud(t, 1, 3, tasks.Config{})
	free, tries := false, 0
	c.work = func(node int, r tasks.Run) {
		if !free {
			tries++
			c.after(time.Millisecond, func() { c.outcome(node, r, nil, tasks.ErrNotTaken) })
			return
		}
		c.after(50*time.Millisecond, func() {
			c.worked[r.Task.Name()]++
			c.outcome(node, r, nil, nil)
		})
	}
	for i := range 1000 {
		c.add(tasks.Task{Queue: "q", ID: fmt.Sprint(i)})
	}
	c.run(10 * time.Second)
	first := tries
	c.run(time.Hour)
	if perHour := tries - first; perHour > 3*3600/5 {
		t.Errorf("%d tries in an hour", perHour)
	}
	free = true
	c.run(30 * time.Second)
	for i := range 1000 {
		tk := c.task("q", fmt.Sprint(i))
		if tk.State != tasks.Done || tk.Attempt != 1 || c.worked[tk.Name()] != 1 {
			t.Fatalf("%v, worked %d times", tk, c.worked[tk.Name()])
		}
	}
}

func TestTask_NoMoreRunThanMay(t *testing.T) {
	c := newCloud(t, 1, 1, tasks.Config{MaxRunning: 7, MaxTasks: 50})
	now, most := 0, 0
	c.work = func(node int, r tasks.Run) {
		now++
		most = max(most, now)
		c.after(time.Second, func() { now--; c.outcome(node, r, nil, nil) })
	}
	for i := range 60 {
		c.add(tasks.Task{Queue: fmt.Sprint("q", i%3), ID: fmt.Sprint(i)})
	}
	c.run(time.Minute)
	if st := c.nodes[0].Status(); most != 7 || st.Done != 50 || st.Refused != 10 {
		t.Errorf("%d at a time, %+v", most, st)
	}
}

func TestTask_RefusesBadNamesAndSizes(t *testing.T) {
	for _, tk := range []tasks.Task{
		{Queue: "", ID: "1"}, {Queue: "a/b", ID: "1"}, {Queue: "q"}, {Queue: strings.Repeat("q", 201), ID: "1"},
		{Queue: "q", ID: strings.Repeat("i", 513)}, {Queue: "q", ID: "1", Payload: make([]byte, tasks.MaxPayload+1)},
	} {
		if _, err := tasks.Add(records.RequestID{}, tk); err == nil {
			t.Errorf("%d bytes of queue, %d of ID, %d of payload were taken", len(tk.Queue), len(tk.ID), len(tk.Payload))
		}
	}
	full := tasks.Task{
		Queue: "q", ID: "1", Payload: make([]byte, tasks.MaxPayload), Error: strings.Repeat("e", tasks.MaxError),
		Attempt: 1 << 60, MaxAttempts: 1 << 60, Wait: time.Hour, Left: time.Hour, Timeout: time.Hour, State: tasks.Dead,
	}
	if n := len(tasks.AppendTask(nil, full)); n > records.MaxValue {
		t.Errorf("the largest task has %d bytes, a record holds %d", n, records.MaxValue)
	}
}

// A record that is no task is told and left alone.
func TestTask_MalformedRecordIsLeftAlone(t *testing.T) {
	c := newCloud(t, 1, 1, tasks.Config{})
	c.records["task/q/1"] = records.Record{Name: "task/q/1", Version: 1, Value: []byte("what?")}
	c.nodes[0].HandleRecord(c.now, c.records["task/q/1"])
	c.run(time.Minute)
	if len(c.events) != 1 || c.records["task/q/1"].Version != 1 {
		t.Errorf("%+v", c.events)
	}
}

// Fields of a newer program are still there when an older one has run the task.
func TestTask_UnknownFieldsAreKept(t *testing.T) {
	c := newCloud(t, 1, 1, tasks.Config{})
	c.add(tasks.Task{Queue: "q", ID: "1", Unknown: []byte{40, 3, 'n', 'e', 'w'}})
	c.run(time.Minute)
	if tk := c.task("q", "1"); tk.State != tasks.Done || !bytes.Equal(tk.Unknown, []byte{40, 3, 'n', 'e', 'w'}) {
		t.Errorf("%+v", tk)
	}
}

func FuzzParseTask(f *testing.F) {
	f.Add(tasks.AppendTask(nil, tasks.Task{
		Payload: []byte("p"), State: tasks.Running, Attempt: 3, MaxAttempts: 9, Wait: time.Second, Left: time.Hour,
		Timeout: time.Minute, Error: "e", Result: []byte("r"), Unknown: []byte{77, 1, 2},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		tk, err := tasks.ParseTask("task/q/id", b)
		if err != nil {
			return
		}
		if again := tasks.AppendTask(nil, tk); !bytes.Equal(again, b) {
			t.Fatalf("%+v\n%x\n%x", tk, b, again)
		}
	})
}
