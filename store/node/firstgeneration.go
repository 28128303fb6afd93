package node

import (
	"context"

	"github.com/aether-lan/aether/store/pool"
)

// newestGeneration is the generation of the pool's secret under which this machine
// writes.
func (m *Machine) newestGeneration() uint32 { return 0 }

// secretOf returns the pool's secret of generation g, where it is known here.
func (m *Machine) secretOf(g uint32) (pool.Secret, bool) { return m.pool.Secret(), g == 0 }

// generations returns the generations that are known here, the newest first.
func (m *Machine) generations() []uint32 { return []uint32{0} }

// newGeneration begins a new generation of the pool's secret.
func (m *Machine) newGeneration(context.Context) error { return nil }
