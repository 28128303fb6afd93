package tree

import (
	"encoding/binary"

	"github.com/aether-lan/aether/store"
)

// The second byte of the tree's keys.
const (
	keyNode   = 'n' // node: its record
	keyChild  = 'k' // parent, node: empty
	keyCount  = 'q' // directory: how many of its children are shown, and since when it shows what it shows
	keyRow    = 'e' // directory, name, 0, class, order: what is shown there
	keyLink   = 'l' // file, link: empty
	keyXattr  = 'x' // node, name: an extended attribute
	keyMove   = 'm' // time, machine, number: a directory's move
	keyVector = 'v' // machine: the last of its operations that was applied
	keySeen   = 's' // machine, other machine, number: what it had seen of the other
	keyDirty  = 'y' // machine: applied since our own last operation
	keyParked = 'w' // machine, number: an operation that waits
	keyState  = 'z' // clock and totals
	keyLapse  = 'o' // what is being forgotten, and who is retired: see lapse.go
	keyBefore = 'b' // file: how its versions were sealed before they were sealed anew
	keyPast   = 'h' // directory, name, 0, end: what was shown there until then
	keyDue    = 'H' // end, directory, name: empty; past rows by age
)

func key(kind byte, parts ...[]byte) []byte {
	k := make([]byte, 0, 96)
	k = append(k, store.PrefixTree, kind)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// end returns the first key after all that begin with prefix.
func end(prefix []byte) []byte {
	e := append([]byte(nil), prefix...)
	for i := len(e) - 1; i >= 0; i-- {
		if e[i]++; e[i] != 0 {
			return e[:i+1]
		}
	}
	return nil
}

// Classes of rows. Of the rows of one name the first is shown: a directory before
// a file, a file before a conflict copy.
const (
	classDir  = 0
	classFile = 1
	classCopy = 2
)

// rowPrefix begins the keys of the rows of one name. Names hold no NUL, so rows
// sort by name.
func rowPrefix(home store.FileID, name string) []byte {
	return append(key(keyRow, home[:], []byte(name)), 0)
}

// dirRow is the row of a directory; the lowest ID comes first.
func dirRow(home store.FileID, name string, id store.FileID) []byte {
	return append(append(rowPrefix(home, name), classDir), id[:]...)
}

// fileRow is the row of a file at its own name; the latest placement comes first.
func fileRow(home store.FileID, name string, at mark, id store.FileID) []byte {
	k := append(rowPrefix(home, name), classFile)
	k = append(k, u64(^uint64(at.Time))...)
	for _, b := range at.Machine {
		k = append(k, ^b)
	}
	k = append(k, u64(^at.Seq)...)
	return append(k, id[:]...)
}

// placedAt takes the placement out of a fileRow's key.
func placedAt(k []byte) (at mark) {
	k = k[len(k)-16-32:]
	at.Time = store.Time(^be64(k))
	for i := range at.Machine {
		at.Machine[i] = ^k[8+i]
	}
	at.Seq = ^be64(k[24:])
	return at
}

// copyRow is the row of a conflict copy.
func copyRow(home store.FileID, name string, at mark) []byte {
	k := append(rowPrefix(home, conflictName(name, at)), classCopy)
	k = append(k, at.Machine[:]...)
	return append(k, u64(at.Seq)...)
}

// rowParts takes the name and class out of a row's key.
func rowParts(k []byte) (name string, class byte) {
	rest := k[2+16:]
	for i, b := range rest {
		if b == 0 {
			return string(rest[:i]), rest[i+1]
		}
	}
	return string(rest), classCopy // not reached: every row has the NUL
}
