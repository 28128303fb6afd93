package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// floor is what the machine does without any system, as medians in µs.
type floor struct {
	Round     int     `json:"round"`
	Append    float64 `json:"append_us"`    // 4 KiB to the end of a file and fdatasync
	Overwrite float64 `json:"overwrite_us"` // 4 KiB over written ones and fdatasync
	// Quorum: as Append, three files at once, until two of the three are done.
	Quorum float64 `json:"quorum_us"`
	RTT    float64 `json:"rtt_us"` // 64 bytes there and back over loopback TCP
}

const floorTries = 300

func measureFloor(dir string, rep *report, round int) error {
	f := floor{Round: round}
	temp, err := os.MkdirTemp(dir, "bench-floor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	var files [replicas]*os.File
	for i := range files {
		if files[i], err = os.Create(filepath.Join(temp, fmt.Sprint(i))); err != nil {
			return err
		}
		defer files[i].Close()
	}
	var block [4096]byte
	write := func(file *os.File, i int) error {
		if _, err := file.WriteAt(block[:], int64(i)*int64(len(block))); err != nil {
			return err
		}
		return unix.Fdatasync(int(file.Fd()))
	}
	first := func(i int) error { return write(files[0], i) }
	if f.Append, err = median(first); err == nil {
		f.Overwrite, err = median(first)
	}
	if err == nil {
		f.Quorum, err = median(func(i int) error {
			done := make(chan error, replicas)
			for _, file := range files {
				go func() { done <- write(file, floorTries+i) }()
			}
			return errors.Join(<-done, <-done)
		})
	}
	if err == nil {
		f.RTT, err = roundTrip()
	}
	rep.floor(f)
	return err
}

// median returns the median time of f in µs.
func median(f func(i int) error) (float64, error) {
	list := make([]time.Duration, floorTries)
	for i := range list {
		at := time.Now()
		if err := f(i); err != nil {
			return 0, err
		}
		list[i] = time.Since(at)
	}
	slices.Sort(list)
	return part(list, 0.5), nil
}

func roundTrip() (float64, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var b [64]byte
	return median(func(int) error {
		_, err := c.Write(b[:])
		_, rerr := io.ReadFull(c, b[:])
		return errors.Join(err, rerr)
	})
}
