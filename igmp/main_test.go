package igmp_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netlab"
)

// roleVariable makes the test binary a program that joins the groups in it on
// eth0, or is a querier there for the word "serve", until an interrupt.
const roleVariable = "AETHER_TEST_IGMP_ROLE"

func TestMain(m *testing.M) {
	if s, ok := os.LookupEnv(roleVariable); ok {
		os.Exit(roleProgram(s))
	}
	netlab.Main(m)
}

func roleProgram(role string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if role == "serve" {
		err = igmp.Serve(ctx, igmp.ServeConfig{
			Interface: "eth0",
			Run:       igmp.RunConfig[igmp.QuerierEvent]{Event: func(e igmp.QuerierEvent) { fmt.Println(e) }},
		})
	} else {
		cfg := igmp.JoinConfig{Interface: "eth0", Run: igmp.RunConfig[igmp.HostEvent]{Sent: func(p igmp.Packet) { fmt.Println("sent", p) }}}
		for g := range strings.FieldsSeq(role) {
			cfg.Filters = append(cfg.Filters, igmp.InterfaceFilter{Group: addr(g), Mode: igmp.Exclude})
		}
		err = igmp.Join(ctx, cfg)
	}
	fmt.Println("ended:", err)
	if !errors.Is(err, context.Cause(ctx)) {
		return 1
	}
	return 0
}
