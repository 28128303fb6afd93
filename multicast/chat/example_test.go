package chat_test

import (
	"context"
	"fmt"
	"time"

	"github.com/aether-lan/aether/multicast/chat"
)

func ExampleJoin() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	talk, err := chat.Join(ctx, chat.Config{
		RoomConfig: chat.RoomConfig{Room: "kitchen", Name: "ana"},
		Passphrase: []byte("correct horse battery staple"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer talk.Close()
	if err := talk.Say(ctx, "dinner is ready"); err != nil {
		fmt.Println(err)
	}
	for e := range talk.Events(ctx) {
		fmt.Println(e)
	}
}
