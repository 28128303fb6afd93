//go:build race

package main

// laboratories is how many tests run at a time: under the race detector they compute.
const laboratories = "4"
