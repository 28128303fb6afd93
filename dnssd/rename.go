package dnssd

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rename returns the name to try after name was found in use: "Office (2)" after
// "Office", "Office (3)" after "Office (2)" (RFC 6763 appendix D, RFC 6762 section
// 9). Where the result would be longer than 63 bytes, whole characters are cut off
// before the number.
func Rename(name string) string {
	stem, n := name, 1
	if i := strings.LastIndex(name, " ("); i > 0 && strings.HasSuffix(name, ")") {
		digits := name[i+2 : len(name)-1]
		if v, err := strconv.ParseUint(digits, 10, 31); err == nil && v >= 2 && digits[0] != '0' && digits[0] != '+' {
			stem, n = name[:i], int(v)
		}
	}
	suffix := " (" + strconv.Itoa(n+1) + ")"
	for len(stem) > labelMax-len(suffix) {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	return stem + suffix
}
