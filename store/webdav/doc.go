// Package webdav serves the drive over WebDAV (RFC 4918), for file managers: the
// protocol is golang.org/x/net/webdav, this package is the file system below it.
//
// An upload becomes visible when its last byte is on the disk; one that breaks
// off leaves what was there before. ETags are made from the content, so that two
// machines of a pool give the same one for the same bytes.
//
// Read fs.go first, then file.go.
package webdav
