package node

import (
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/pool"
)

// chunkKeys returns the keys of all generations of the pool's secret that are here.
func chunkKeys(ring *pool.Ring) (*chunk.Keys, error) {
	var keys *chunk.Keys
	for _, g := range ring.Generations() { // the first is generation 0
		s, _ := ring.Secret(g)
		var err error
		if keys == nil {
			keys, err = chunk.NewKeys(s.Derive(chunkLabel), g)
		} else {
			err = keys.Add(s.Derive(chunkLabel), g)
		}
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// chunkLabel is the use of a secret for chunks.
const chunkLabel = "aether chunks"
