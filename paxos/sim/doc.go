// Package sim runs a cluster of package paxos in a made-up world: virtual time, a
// network, disks, processes and clocks that fail, all drawn from one seed. A run is
// the same whenever it is repeated, so that any failure can be looked at again.
package sim
