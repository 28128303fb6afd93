package drive

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/store/chunk"
)

func TestCompression_TakesItsShareAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c compression
		const work, rounds = time.Millisecond, 20_000
		var spent time.Duration
		for range rounds { // a writer that is always busy
			if done, ok := c.spend(); ok {
				time.Sleep(3 * work)
				spent += 3 * work
				done()
			}
			time.Sleep(work)
		}
		all := time.Duration(runtime.GOMAXPROCS(0)) * (rounds*work + spent)
		if share := float64(spent) / float64(all); share > 1.05/compressionShare || share < 0.5/compressionShare {
			t.Errorf("%v of %v were spent on compressing: %.3f", spent, all, share)
		}
		time.Sleep(time.Hour) // nothing is written; then come small files
		for i := range 10 {
			done, ok := c.spend()
			if !ok {
				t.Fatalf("small file %d is not compressed after a pause", i)
			}
			time.Sleep(work)
			done()
		}
	})
}

var words = []string{"probe", "announce", "the query of a neighbour", "nothing", "goodbye", "with a conflict", "twice"}

// BenchmarkCompression writes text that shrinks to a third, in turns without compressing,
// with all of it compressed, and as it is done. The sink costs nothing, so that the
// processors are what limits. It reports the times over that without.
func BenchmarkCompression(b *testing.B) {
	const size = 64 << 20
	text := make([]byte, 0, size+64)
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(text) < size { // a line of a log: shrinks to a third
		text = fmt.Appendf(text, "%08d station %d answered %s after %d us\n", len(text), rnd.IntN(100), words[rnd.IntN(len(words))], rnd.IntN(1e6))
	}
	var adaptive compression
	ways := []chunk.Spend{
		func() (func(), bool) { return nil, false },
		func() (func(), bool) { return func() {}, true },
		adaptive.spend,
	}
	var took [3][]float64
	var stored [3]int64
	for n := range max(b.N, 3) {
		for i, way := range ways {
			k, err := chunk.NewKeys(make([]byte, chunk.SecretSize), 1)
			if err != nil {
				b.Fatal(err)
			}
			k.LimitCompression(way)
			bytes := make(chan int64, 1)
			bytes <- 0
			w := k.NewWriter(func(s chunk.Sealed) error { bytes <- <-bytes + int64(len(s.Body)); return nil }, nil)
			copy(text, fmt.Sprint(n, i))
			began := time.Now()
			for range 4 {
				_, _ = w.Write(text)
			}
			if _, err := w.Close(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began).Seconds())
			stored[i] += <-bytes
		}
	}
	median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
	b.ReportMetric(median(took[1])/median(took[0]), "always/none")
	b.ReportMetric(median(took[2])/median(took[0]), "adaptive/none")
	b.ReportMetric(float64(stored[2])/float64(stored[0]), "stored/none")
	b.ReportMetric(0, "ns/op")
}
