//go:build !race

package main

// laboratories is how many tests run at a time: they wait more than they compute.
const laboratories = "6"
