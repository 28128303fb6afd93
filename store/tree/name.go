package tree

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// maxName is the longest name in bytes: what Linux file systems hold.
const maxName = 255

// ErrBadName reports a name that no file can have.
var ErrBadName = errors.New("bad name")

// CheckName returns ErrBadName for a name that is empty, ".", "..", longer than
// 255 bytes, not UTF-8, or has a slash or NUL in it.
func CheckName(name string) error {
	switch {
	case name == "", name == ".", name == "..", len(name) > maxName,
		strings.ContainsAny(name, "/\x00"), !utf8.ValidString(name):
		return fmt.Errorf("%w: %.64q", ErrBadName, name)
	}
	return nil
}

// conflictName is where the loser of a conflict is shown. It depends on the
// wanted name and the losing operation alone, so that every machine shows the
// same; the operation's number makes it the only one of its kind.
func conflictName(name string, m mark) string {
	return tagged(name, fmt.Sprintf(conflictTag+"%s %s-%d)", m.Time.Wall().Format("2006-01-02 1504"), m.Machine.Short(), m.Seq))
}

// conflictTag is in every name that conflictName makes.
const conflictTag = " (conflict "

// tagged puts tag between stem and extension of a name, and shortens the stem
// where the whole would be too long.
func tagged(name, tag string) string {
	ext := path.Ext(name)
	if ext == name || len(ext) > 32 {
		ext = "" // a dot file, or no extension at all
	}
	stem := strings.TrimSuffix(name, ext)
	for len(stem)+len(tag)+len(ext) > maxName {
		_, n := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-n]
	}
	return stem + tag + ext
}

// split cuts a path of the drive into names. The root has none.
func split(p string) ([]string, error) {
	p = strings.Trim(p, "/")
	if p == "" {
		return nil, nil
	}
	names := strings.Split(p, "/")
	for _, n := range names {
		if err := CheckName(n); err != nil {
			return nil, err
		}
	}
	return names, nil
}
