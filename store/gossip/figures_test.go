package gossip

import (
	"testing"
	"time"
)

// maxIdle is what a machine of a pool of twenty may say and hear when nothing happens,
// in bytes a second.
const maxIdle = 1000

func TestEngine_TwentyIdleMachinesSayLittle(t *testing.T) {
	w := newWorld(t, 20, 1, sound)
	w.mesh()
	for i := range w.hosts {
		w.write(i, payloads(5, 100)...)
		if err := w.hosts[i].e.SetInventory(w.now, make([]byte, 200)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(time.Minute)
	w.mustAgree(t, 100)
	for _, h := range w.hosts {
		h.e.SetRoot([32]byte{1})
	}
	bytes := w.bytes
	const span = 5 * time.Minute
	w.run(span)
	each := 2 * float64(w.bytes-bytes) / span.Seconds() / float64(len(w.hosts))
	t.Logf("%.0f bytes a second and machine, in both directions", each)
	if each > maxIdle {
		t.Errorf("more than %d", maxIdle)
	}
}
