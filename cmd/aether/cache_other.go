//go:build !linux

package main

import "errors"

// dropCache is not possible here.
func dropCache(string) error { return errors.ErrUnsupported }

// spreadOut is for file systems that are not here.
func spreadOut(string) {}
