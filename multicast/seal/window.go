package seal

// window remembers which of the last Window counters were seen (RFC 4303 section
// 3.4.3). It is a ring of bits by counter, as in RFC 6479, so that nothing is
// shifted. Its zero value has seen nothing.
type window struct {
	highest uint64
	floor   uint64 // everything up to here counts as seen
	bits    [Window / 64]uint64
}

// bit returns the word and the mask of counter.
func (w *window) bit(counter uint64) (word *uint64, mask uint64) {
	i := counter % Window
	return &w.bits[i/64], 1 << (i % 64)
}

// seen reports whether counter was marked, or is too far back to tell.
func (w *window) seen(counter uint64) bool {
	switch {
	case counter <= w.floor:
		return true
	case counter > w.highest:
		return false
	case w.highest-counter >= Window:
		return true
	}
	word, mask := w.bit(counter)
	return *word&mask != 0
}

// mark notes that counter was seen.
func (w *window) mark(counter uint64) {
	if counter > w.highest {
		w.advance(counter)
	}
	word, mask := w.bit(counter)
	*word |= mask
}

// advance moves the front of the window to counter and clears what it passes.
func (w *window) advance(counter uint64) {
	if counter-w.highest >= Window {
		clear(w.bits[:])
	} else {
		for c := w.highest + 1; c <= counter && c != 0; c++ {
			word, mask := w.bit(c)
			*word &^= mask
		}
	}
	w.highest = counter
}

// retire makes everything up to highest seen.
func (w *window) retire(highest uint64) { w.highest, w.floor = highest, highest }
