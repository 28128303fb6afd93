package sim

import (
	"os"
	"strconv"
	"testing"
)

func TestDbg(t *testing.T) {
	s, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	f, _ := os.Create("/tmp/x_trace.txt")
	r := run(t, Options{Seed: s, Trace: f, Mutate: os.Getenv("MUT")})
	t.Log(r)
}
