package bulk_test

import (
	"fmt"
	"strings"

	"github.com/aether-lan/aether/multicast/bulk"
)

func ExampleDescribe() {
	content := strings.NewReader(strings.Repeat("aether ", 500_000))
	object, tree, err := bulk.Describe("words.txt", content, content.Size(), bulk.MaxBlock)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(object.Sections(), "sections, the last of", object.Length(2), "bytes")
	fmt.Println(bulk.VerifySection(object.Root, tree.Leaf(2), 2, object.Sections(), tree.Proof(2)))
	// Output:
	// 3 sections, the last of 616416 bytes
	// true
}
