package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"syscall"
	"time"
)

// load makes sessions work.
type load struct {
	ctx      context.Context
	sessions []*session
}

// begin begins all sessions and writes their keys.
func (l *load) begin(sys system) error {
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for i := range l.sessions {
		wg.Go(func() {
			s, err := newSession(l.ctx, sys, i)
			if err == nil {
				err = s.write(l.ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			l.sessions[i], failed = s, errors.Join(failed, err)
		})
	}
	wg.Wait()
	return failed
}

// closed has each session make one request after the other, and returns how long
// each took.
func (l *load) closed(do func(*session, context.Context) error, length time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(length)
	return l.each(func(s *session, took func(time.Duration)) error {
		for at := time.Now(); at.Before(end); {
			if err := do(s, l.ctx); err != nil {
				return err
			}
			now := time.Now()
			took(now.Sub(at))
			at = now
		}
		return nil
	})
}

// open begins rate requests a second at random instants, whatever became of those
// before, and returns how long each took from its instant on: also while it waited for
// a session that was free.
func (l *load) open(do func(*session, context.Context) error, rate float64, length time.Duration) ([]time.Duration, error) {
	due := make(chan time.Time, 1<<20)
	go func() {
		defer close(due)
		r := rand.New(rand.NewPCG(1, 2))
		begin := time.Now()
		for at := time.Duration(0); at < length && l.ctx.Err() == nil; {
			// Timers are coarse: all that are due by now begin now.
			for now := time.Since(begin); at <= now && at < length; {
				due <- begin.Add(at)
				at += time.Duration(r.ExpFloat64() / rate * float64(time.Second))
			}
			time.Sleep(min(100*time.Microsecond, max(0, at-time.Since(begin))))
		}
	}()
	return l.each(func(s *session, took func(time.Duration)) error {
		for at := range due {
			if err := do(s, l.ctx); err != nil {
				return err
			}
			took(time.Since(at))
		}
		return nil
	})
}

// each runs f for all sessions at once, and returns all durations that they gave.
func (l *load) each(f func(s *session, took func(time.Duration)) error) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var wg sync.WaitGroup
	for _, s := range l.sessions {
		wg.Go(func() {
			var mine []time.Duration
			err := f(s, func(d time.Duration) { mine = append(mine, d) })
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	return all, failed
}

// measure reports one point of f.
func measure(o options, rep *report, p point, what string, sys system, f func() ([]time.Duration, error)) error {
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			if allocs, err := os.Create(o.profile + ".allocs"); err == nil {
				_ = pprof.Lookup("allocs").WriteTo(allocs, 0)
				_ = allocs.Close()
			}
		}()
	}
	syncs, cpu, begin := sys.syncs(), cpuTime(), time.Now()
	took, err := f()
	if err != nil {
		return err
	}
	wall := time.Since(begin)
	p.What, p.Count = what, len(took)
	p.PerSecond = float64(len(took)) / wall.Seconds()
	p.CPU = (cpuTime() - cpu).Seconds() / float64(max(1, len(took))) * 1e6
	p.Syncs = float64(sys.syncs()-syncs) / float64(max(1, len(took)))
	slices.Sort(took)
	p.P50, p.P99 = part(took, 0.5), part(took, 0.99)
	rep.point(p)
	return nil
}

// part returns the duration that this part of the sorted ones is below, in µs.
func part(sorted []time.Duration, at float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(at*float64(len(sorted)-1))]) / float64(time.Microsecond)
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
