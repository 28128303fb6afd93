package tree_test

import (
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/internal/oracle"
	"github.com/aether-lan/aether/store/tree"
)

// view returns each path with what it shows, as the oracle has it.
func view(ops []tree.Op) map[string]string { return oracle.View(ops) }

// walked returns what the tree itself shows, in the oracle's words.
func walked(t *tree.Tree, r store.Reader) (map[string]string, error) { return oracle.Shown(t, r) }

func nodeID(d store.Dot) store.FileID { return oracle.NodeID(d) }
