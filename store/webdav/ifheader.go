package webdav

import (
	"errors"
	"strings"
)

// errBadIf reports an If header that is not one.
var errBadIf = errors.New("webdav: not an If header")

// condition is one of an If header: a state token or an entity tag.
type condition struct {
	not   bool
	token string // a URI
	etag  string // with its quotes
}

// ifList is a list of conditions that must all hold. resource is the URL they are
// about, empty for that of the request.
type ifList struct {
	resource   string
	conditions []condition
}

// maxConditions bounds the conditions of an If header.
const maxConditions = 1024

// parseIf reads an If header (RFC 4918 section 10.4.2): lists of which one must hold.
//
//	If           = "If" ":" ( 1*No-tag-list | 1*Tagged-list )
//	No-tag-list  = List
//	Tagged-list  = Resource-Tag 1*List
//	List         = "(" 1*Condition ")"
//	Condition    = ["Not"] (State-token | "[" entity-tag "]")
//	State-token  = Coded-URL
//	Resource-Tag = "<" Simple-ref ">"
func parseIf(s string) (lists []ifList, err error) {
	resource, tagged, n, lastTag := "", false, 0, false
	for s = skipSpace(s); s != ""; s = skipSpace(s) {
		switch s[0] {
		case '<':
			if lastTag || len(lists) > 0 && !tagged {
				return nil, errBadIf
			}
			if resource, s, err = enclosed(s, '>'); err != nil {
				return nil, err
			}
			tagged, lastTag = true, true
		case '(':
			l := ifList{resource: resource}
			if l.conditions, s, err = parseList(s[1:]); err != nil {
				return nil, err
			}
			if n += len(l.conditions); n > maxConditions {
				return nil, errBadIf
			}
			lists, lastTag = append(lists, l), false
		default:
			return nil, errBadIf
		}
	}
	if len(lists) == 0 || lastTag {
		return nil, errBadIf
	}
	return lists, nil
}

// parseList reads conditions up to the parenthesis that ends them.
func parseList(s string) (list []condition, rest string, err error) {
	for {
		var c condition
		if s = skipSpace(s); s == "" {
			return nil, "", errBadIf
		}
		if s[0] == ')' {
			if len(list) == 0 {
				return nil, "", errBadIf
			}
			return list, s[1:], nil
		}
		if len(s) >= 3 && strings.EqualFold(s[:3], "Not") {
			c.not = true
			s = skipSpace(s[3:])
		}
		switch {
		case strings.HasPrefix(s, "<"):
			c.token, s, err = enclosed(s, '>')
		case strings.HasPrefix(s, "["):
			c.etag, s, err = entityTag(s[1:])
		default:
			err = errBadIf
		}
		if err != nil {
			return nil, "", err
		}
		list = append(list, c)
	}
}

// enclosed returns what stands between the first byte of s and the first end.
func enclosed(s string, end byte) (in, rest string, err error) {
	i := strings.IndexByte(s, end)
	if i < 2 {
		return "", "", errBadIf
	}
	return s[1:i], s[i+1:], nil
}

// entityTag reads an entity tag (RFC 9110 section 8.8.3) and the bracket behind it.
func entityTag(s string) (tag, rest string, err error) {
	quote := strings.IndexByte(s, '"')
	if quote != 0 && (quote != 2 || s[:2] != "W/") {
		return "", "", errBadIf
	}
	end := strings.IndexByte(s[quote+1:], '"')
	if end < 0 {
		return "", "", errBadIf
	}
	end += quote + 2
	rest = skipSpace(s[end:])
	if !strings.HasPrefix(rest, "]") {
		return "", "", errBadIf
	}
	return s[:end], rest[1:], nil
}

func skipSpace(s string) string { return strings.TrimLeft(s, " \t") }

// tokens are the state tokens that the lists bring: one that is named is submitted,
// whatever comes of its list (RFC 4918 section 10.4.1).
func tokens(lists []ifList) map[string]bool {
	m := map[string]bool{}
	for _, l := range lists {
		for _, c := range l.conditions {
			if c.token != "" {
				m[c.token] = true
			}
		}
	}
	return m
}
