package chunk

import (
	"sync"
	"testing"

	"github.com/aether-lan/aether/store"
)

// refs are the chunks that are there, without their bodies.
type refs struct {
	mu    sync.Mutex
	known map[store.Ref]bool
	fresh int64 // bytes of the bodies that were put
}

func (r *refs) put(c Sealed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[c.Ref] = true
	r.fresh += int64(len(c.Body))
	return nil
}

func (r *refs) have(ref store.Ref) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[ref]
}

// BenchmarkWriter_InsertedByte writes 256 MiB that are there, but for one byte more at
// the front. "stored/size" is the bytes of the chunks that were not there before, as
// sealed and with the lists that lead to them, by those of the file, on average over
// the files; "worst-stored/size" is that of the worst of them.
//
//	go test ./store/chunk -run '^$' -bench InsertedByte -benchtime 10x
func BenchmarkWriter_InsertedByte(b *testing.B) {
	const size = 256 << 20
	k := testKeys(b)
	b.SetBytes(size)
	var sum, worst float64
	for files := range b.N {
		b.StopTimer()
		plain := append([]byte{'x'}, noise(byte(files), size)...)
		r := &refs{known: map[store.Ref]bool{}}
		for i, p := range [][]byte{plain[1:], plain} {
			r.fresh = 0
			w := k.NewWriter(r.put, r.have)
			if i == 1 {
				b.StartTimer()
			}
			_, err := w.Write(p)
			if err == nil {
				_, err = w.Close()
			}
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
		}
		part := float64(r.fresh) / size
		sum, worst = sum+part, max(worst, part)
		b.StartTimer()
	}
	b.ReportMetric(sum/float64(b.N), "stored/size")
	b.ReportMetric(worst, "worst-stored/size")
}
