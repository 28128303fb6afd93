package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aether-lan/aether/store/pool"
)

// ErrSecretLost reports a directory that holds the data of a machine, but not the
// secret of the pool that opens it. A new pool must not be made there: it could not
// read the data, and nobody would look for the secret any more.
var ErrSecretLost = errors.New("there is the data of a machine, but the pool's secret is missing: put " + pool.SecretFile +
	" back, or use that of another machine of the pool with serve --secret-file")

// checkRemains turns the error of a directory without a machine into ErrSecretLost
// where there is the data of one.
func checkRemains(dir string, err error) error {
	if errors.Is(err, pool.ErrNoPool) && secretLost(dir) {
		return fmt.Errorf("%s: %w", dir, ErrSecretLost)
	}
	return err
}

func secretLost(dir string) bool {
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	return !there(pool.SecretFile) && (there(indexName) || there(segmentsName))
}
