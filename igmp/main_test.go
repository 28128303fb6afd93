package igmp_test

import (
	"testing"

	"github.com/aether-lan/aether/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }
