package log

import (
	"slices"
	"time"
)

func (s *syncs) took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[s.count%uint64(len(s.last))] = d
	s.count++
}

func (s *syncs) read() (count uint64, median, p99 time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int(min(s.count, uint64(len(s.last))))
	if n == 0 {
		return 0, 0, 0
	}
	sorted := slices.Clone(s.last[:n])
	slices.Sort(sorted)
	return s.count, sorted[n/2], sorted[n*99/100]
}
