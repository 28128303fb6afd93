// Package records keeps named records on the ring of package dht, with compare-and-set,
// leases and watches, so that of two successes none ever contradicts the other.
//
// Read record.go and request.go first.
package records
