// Package tasks is a queue of work that outlives its node. It has no specification but
// this page.
//
// A task is a record (package records) named task/QUEUE/ID, and so is on the disks of
// several nodes. The node that leads the record sees to it: it writes that an attempt
// begins, has the task run (the driver sends it to a subscriber of the queue's topic, by
// anycast), and writes the outcome. Each write is a compare-and-set, so that two nodes
// that both believe they lead the record cannot both begin the same attempt.
//
//	          due: write attempt n+1           the write is done: event Run
//	Queued ───────────────────────────► Running ─────────────────► Done
//	   ▲                                   │  │
//	   └── failed: write, wait longer ─────┘  └── attempts or time used up ──► Dead
//
// A task is run at least once, unless it is deleted or its time is up. It is run again
// when its node dies, when the outcome is lost, when the worker says nothing in time.
// What runs it is told the task's ID and the number of the attempt, by which it can
// know work that it has done. A worker that has success to tell is believed whatever
// attempt it was. A task that nobody takes, for no worker is there or all are busy, has
// not been attempted: its queue waits a little and is tried with one task.
//
// Adding a task under an ID that there is already changes nothing; done and dead tasks
// are remembered for a while, so that this also holds for them.
//
// Durations in a record count from when its leader got it, never by the clock of another
// machine: after a change of leader a wait, and what is left of the time, begins again
// as it was last written.
//
// Read task.go first, then engine.go.
package tasks
