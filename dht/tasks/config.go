package tasks

import "time"

// Config is how a leader sees to its tasks. Its zero value works.
type Config struct {
	// Seed decides jitter and the IDs of requests; a real node draws it at random.
	Seed uint64
	// MaxTasks bounds the tasks that a node sees to; 0 means 65,536. What comes beyond
	// is left alone and counted, until another is done.
	MaxTasks int
	// MaxRunning bounds how many attempts are under way at a time; 0 means 256.
	MaxRunning int
	// MaxAttempts ends tasks that do not say themselves when; 0 means 10.
	MaxAttempts uint64
	// Timeout is how long an attempt may take, if its task does not say; 0 means 1
	// minute.
	Timeout time.Duration
	// BackOff is the wait after the first failure; it doubles with each, to MaxBackOff.
	// 0 means 1 s and 5 minutes.
	BackOff, MaxBackOff time.Duration
	// TakeOver is how long a new leader waits for the outcome of an attempt that the
	// one before began, before it begins another; 0 means 2 s.
	TakeOver time.Duration
	// KeepDone and KeepDead are how long finished tasks are remembered; 0 means an hour
	// and a week.
	KeepDone, KeepDead time.Duration
}

func orDefault[T int | uint64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.MaxTasks, 1<<16)
	orDefault(&c.MaxRunning, 256)
	orDefault(&c.MaxAttempts, 10)
	orDefault(&c.Timeout, time.Minute)
	orDefault(&c.BackOff, time.Second)
	orDefault(&c.MaxBackOff, 5*time.Minute)
	orDefault(&c.TakeOver, 2*time.Second)
	orDefault(&c.KeepDone, time.Hour)
	orDefault(&c.KeepDead, 7*24*time.Hour)
	return c
}
