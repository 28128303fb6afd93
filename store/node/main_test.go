package node

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test started may run on: neither Serve, nor Open, nor Connect
// leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
