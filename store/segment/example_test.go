package segment_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// A file goes through the three rooms to the disk and back.
func Example() {
	disk := vfs.NewMem() // vfs.Default in life
	kv, err := index.Open(disk, "/kv", index.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer kv.Close()
	bodies, err := segment.Open(disk, "/chunks", kv, segment.Config{Space: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer bodies.Close()
	keys, err := chunk.NewKeys(bytes.Repeat([]byte{1}, chunk.SecretSize), 1)
	if err != nil {
		log.Fatal(err)
	}

	w := keys.NewWriter(func(c chunk.Sealed) error {
		return bodies.Put(c.Ref, c.Body, segment.Replica)
	}, bodies.Has)
	if _, err := w.ReadFrom(strings.NewReader("one more network drive\n")); err != nil {
		log.Fatal(err)
	}
	content, err := w.Close()
	if err != nil {
		log.Fatal(err)
	}
	if err := bodies.Sync(); err != nil { // now it is on the disk
		log.Fatal(err)
	}

	r := keys.NewReader(context.Background(), content, func(_ context.Context, ref store.Ref) ([]byte, error) {
		return bodies.Get(ref)
	})
	defer r.Close()
	if _, err := r.WriteTo(os.Stdout); err != nil {
		log.Fatal(err)
	}
	fmt.Println(content.Size, "bytes,", bodies.Usage().Replicas, "kept")
	// Output:
	// one more network drive
	// 23 bytes, 145 kept
}
