package pool_test

import (
	"fmt"
	"log"
	"os"

	"github.com/aether-lan/aether/store/pool"
)

func Example() {
	desk, err := os.MkdirTemp("", "desk")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(desk)
	laptop, err := os.MkdirTemp("", "laptop")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(laptop)

	first, err := pool.Create(desk, nil)
	if err != nil {
		log.Fatal(err)
	}
	text := first.Secret().Text() // shown to a person, typed in on the laptop
	secret, err := pool.ParseSecret(text)
	if err != nil {
		log.Fatal(err)
	}
	second, err := pool.Join(laptop, secret, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.ID == second.ID, first.Machine == second.Machine, second.Secret())
	// Output: true false (secret of a pool)
}
