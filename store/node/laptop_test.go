package node

import (
	"path/filepath"
	"testing"

	"github.com/aether-lan/aether/store/pool"
)

// A machine says of itself that it is a laptop, and all others give it less.
func TestLaptop_IsToldToThePool(t *testing.T) {
	dir, secret := t.TempDir(), pool.NewSecret()
	desk := serve(t, filepath.Join(dir, "desk"), secret)
	d := filepath.Join(dir, "lap")
	if _, err := Init(Config{Dir: d, Set: Settings{Name: "lap", Laptop: "yes"}}, secret); err != nil {
		t.Fatal(err)
	}
	lap := serve(t, d, secret, desk.addr)
	knows := func() (yes bool) {
		_ = desk.core.call(t.Context(), func() { yes = desk.core.members.byID[lap.ID()].Laptop })
		return yes
	}
	eventually(t, "the desk knows", knows)
	if _, err := Init(Config{Dir: filepath.Join(dir, "x"), Set: Settings{Laptop: "perhaps"}}, secret); err == nil {
		t.Error("a laptop perhaps")
	}
}
