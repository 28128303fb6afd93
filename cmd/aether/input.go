package main

import (
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// openInput opens the file that a user named; "-" is standard input.
func openInput(app *cli.App, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(app.Reader), nil
	}
	return os.Open(name)
}
