package linklocal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"testing"

	"github.com/aether-lan/aether/internal/netlab"
	"github.com/aether-lan/aether/linklocal"
)

// claimVariable makes the test binary a program that claims an address as the
// JSON in it says, prints events, and stops at an interrupt.
const claimVariable = "AETHER_TEST_LINKLOCAL_CLAIM"

func TestMain(m *testing.M) {
	if s, ok := os.LookupEnv(claimVariable); ok {
		os.Exit(claimProgram(s))
	}
	netlab.Main(m)
}

// claimOptions is the part of linklocal.Config that the tests vary.
type claimOptions struct {
	Interface, StateDir, Hook   string
	BroadcastOnly, DefaultRoute bool
}

func claimProgram(options string) int {
	var o claimOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		fmt.Println("error", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := linklocal.Claim(ctx, linklocal.Config{
		Interface: o.Interface, StateDir: o.StateDir, Hook: o.Hook, BroadcastOnly: o.BroadcastOnly, DefaultRoute: o.DefaultRoute,
		Event:  func(e linklocal.Event) { fmt.Println(e) },
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	fmt.Println("ended:", err)
	if !errors.Is(err, context.Canceled) {
		return 1
	}
	return 0
}
