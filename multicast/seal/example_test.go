package seal_test

import (
	"crypto/rand"
	"fmt"

	"github.com/aether-lan/aether/multicast/seal"
)

func Example() {
	secret, err := seal.Stretch([]byte("correct horse battery staple"), "chat room kitchen")
	if err != nil {
		fmt.Println(err)
		return
	}
	sealer, err := seal.NewSealer(secret, seal.SenderID{0xa1}, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	packet, _ := sealer.Seal(nil, []byte("dinner is ready"), []byte("kitchen"))

	opener := seal.NewOpener(secret, 100)
	text, from, sequence, err := opener.Open(nil, packet, []byte("kitchen"))
	fmt.Printf("%s %d %s %v\n", from, sequence, text, err)
	_, _, _, err = opener.Open(nil, packet, []byte("kitchen"))
	fmt.Println(err)
	// Output:
	// a1000000 1 dinner is ready <nil>
	// seal: open: replayed
}
