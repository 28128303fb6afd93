package main

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/aether-lan/aether/dnssd"
)

func addressTexts(list []netip.Addr) []string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return texts
}

// instanceFields are the JSON members of an instance.
func instanceFields(i dnssd.Instance) []any {
	kv := []any{
		"instance", wireText(i.Name), "service", wireText(i.Service), "domain", wireText(i.Domain), "interface", i.Interface,
		"ifindex", i.IfIndex, "from", addressText(i.From), "host", wireText(i.Host), "port", i.Port, "addresses", addressTexts(i.Addresses), "txt", txtObject(i.TXT),
	}
	binary := txtObject{}
	for _, a := range i.TXT {
		if !utf8.Valid(a.Value) {
			binary = append(binary, dnssd.Attribute{Key: a.Key, Value: []byte(base64.StdEncoding.EncodeToString(a.Value))})
		}
	}
	if len(binary) > 0 {
		kv = append(kv, "txt_base64", binary)
	}
	return kv
}

// txtObject is attributes as a JSON object in their order: a key without value has
// null. Bytes that are not UTF-8 become the replacement character.
type txtObject dnssd.TXT

// MarshalJSON returns the object.
func (t txtObject) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, a := range t {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := wireText(a.Key).MarshalJSON()
		if err != nil {
			return nil, err
		}
		value := []byte("null")
		if a.Value != nil {
			if value, err = wireText(a.Value).MarshalJSON(); err != nil {
				return nil, err
			}
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// instanceLine is the first line of an instance, as avahi-browse writes it.
func instanceLine(mark string, i dnssd.Instance) string {
	return strings.TrimRight(printable(fmt.Sprintf("%s %-8s %-30s %-20s %s", mark, i.Interface, i.Name, i.Service, i.Domain)), " ")
}

// instanceBlock is all lines of an instance that was resolved.
func instanceBlock(i dnssd.Instance) string {
	quoted := make([]string, len(i.TXT))
	for n, s := range i.TXT.Strings() {
		quoted[n] = `"` + printable(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)) + `"`
	}
	lines := []string{instanceLine("=", i), fmt.Sprintf("   hostname = [%s]", printable(i.Host))}
	for _, a := range i.Addresses {
		lines = append(lines, fmt.Sprintf("   address = [%s]", a))
	}
	lines = append(lines, fmt.Sprintf("   port = [%d]", i.Port), fmt.Sprintf("   txt = [%s]", strings.Join(quoted, " ")))
	return strings.Join(lines, "\n")
}
