// Package oracle says what the drive must show, given a set of operations. It works it
// out from the whole set, slowly, and without looking at how package tree does it, so
// that tests can compare the two.
//
// The rules are those of the doc comment of package tree; the terms are its own: node,
// place, version, winner, loser, group. An operation has seen another when its author
// had applied that one before. Read View first, then registers, file and render.
package oracle
