package drive

import (
	"fmt"
	"sync"
	"testing"
)

// Whoever closes last saves what was written, also where others close, and open
// again, at the same time.
func TestInode_ClosedByManyIsSaved(t *testing.T) {
	r := newRig(t)
	id := r.put(t, "/f", []byte("0000")).ID
	for n := range 2000 {
		want := fmt.Sprintf("%04d", n)
		var all sync.WaitGroup
		begin := make(chan struct{})
		for closer := range 4 {
			i, err := r.Inode(id)
			if err != nil {
				t.Fatal(err)
			}
			if closer == 3 {
				if _, err := i.WriteAt([]byte(want), 0); err != nil {
					t.Fatal(err)
				}
			}
			all.Go(func() {
				<-begin
				if err := i.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		close(begin)
		all.Wait()
		if got := r.read(t, "/f"); string(got) != want {
			t.Fatalf("after all have closed it the file is %q instead of %q", got, want)
		}
	}
}
