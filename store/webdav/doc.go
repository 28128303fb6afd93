// Package webdav serves the drive over WebDAV (RFC 4918, classes 1 and 2), for file
// managers and for programs that know no other way.
//
// A request passes, in this order:
//
//	host.go      pages of other sites, and host names that are not ours: refused
//	auth.go      the password
//	front.go     the conditions of the headers If, If-Match and If-None-Match; PUT,
//	             DELETE and MKCOL
//	lock.go      LOCK and UNLOCK; locks.go keeps the locks, durably
//	copy.go      COPY and MOVE, each one change of the drive
//	props.go     PROPFIND and PROPPATCH: what must be known before, then on to
//	x/net/webdav GET, HEAD, OPTIONS, and the listing of properties
//
// An upload becomes visible when its last byte is on the disk; one that breaks off
// leaves what was there before. A condition on what an upload replaces is checked
// again in the change that replaces it. ETags are made from the content, so that two
// machines of a pool give the same one for the same bytes. Dead properties are
// extended attributes of the file. A symbolic link is shown as what it leads to; one
// that leads out of the drive or nowhere is not shown.
//
// The field's words: a resource is a file or directory; a collection is a directory;
// a dead property is one that only its client understands; a lock token is a URI that
// whoever holds a lock brings along to write.
//
// Read webdav.go first, then front.go.
package webdav
