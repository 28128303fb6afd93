package probe

import (
	"bytes"
	"fmt"
	"strconv"
)

// mcjoin, a tool of the same purpose, sends its numbers as text: "Sender PID 4711,
// MC group 225.1.2.3 ... count: 12, freq: 100", with zeros behind. The first number
// is 0.
const (
	mcjoinPID   = "Sender PID "
	mcjoinCount = "count: "
)

// parseMcjoin reads the sender's process number and the number of a datagram.
func parseMcjoin(b []byte) (pid, seq uint64, ok bool) {
	if !bytes.HasPrefix(b, []byte(mcjoinPID)) {
		return 0, 0, false
	}
	_, rest, found := bytes.Cut(b, []byte(mcjoinCount))
	pid, okPID := leadingNumber(b[len(mcjoinPID):])
	seq, okSeq := leadingNumber(rest)
	return pid, seq, found && okPID && okSeq
}

// leadingNumber reads the decimal digits at the front of b.
func leadingNumber(b []byte) (uint64, bool) {
	n := 0
	for n < len(b) && n < 20 && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(b[:n]), 10, 47)
	return v, err == nil
}

// appendMcjoin appends the text that mcjoin understands, with zeros up to a length
// of size. The number on the wire is one less than seq.
func appendMcjoin(b []byte, m message, group string, size int) []byte {
	begin := len(b)
	b = fmt.Appendf(b, "%s%d, MC group %s ... %s%d, freq: %d", mcjoinPID, m.from.id&0x3fffff, group,
		mcjoinCount, m.seq-1, m.interval.Milliseconds())
	if n := size - (len(b) - begin); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	return b
}
