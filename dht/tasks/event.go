package tasks

import "time"

// Event is what the driver should do, or the user hear: one of the types below.
type Event interface{ event() }

// Run asks the driver to have a task run: to send it to a worker of its queue, and to
// tell the outcome by [Engine.HandleOutcome]. That an attempt has begun is on a majority
// of disks by now.
type Run struct {
	Task    Task
	Timeout time.Duration // no outcome by then is a failure
}

// Finished tells that a task is done or dead.
type Finished struct{ Task Task }

// Again tells that an attempt failed and another follows after Wait.
type Again struct {
	Task Task
	Wait time.Duration
}

// Malformed tells of a record under task/ that is no task. It is left alone.
type Malformed struct {
	Name string
	Err  error
}

func (Run) event()       {}
func (Finished) event()  {}
func (Again) event()     {}
func (Malformed) event() {}
