package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// wireText is text from the network in JSON: what could steer a terminal is written
// \uXXXX, which readers of JSON undo.
type wireText string

// MarshalJSON returns the string.
func (t wireText) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(t)); err != nil {
		return nil, err
	}
	return inert(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// plainName is a name as people write it: without the dot of the root.
func plainName(name string) string { return strings.TrimSuffix(name, ".") }

// rdata is the data of a record in zone file form, or as RFC 3597 writes what is
// not understood.
func rdata(r mdns.Record) string {
	rr, err := r.RR()
	if err != nil {
		return fmt.Sprintf(`\# %d %x`, len(r.Data), r.Data)
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// printRecord writes a record as query and monitor do.
func printRecord(p *printer, rec mdns.Record, ifi string, from netip.Addr) error {
	mark := ""
	if rec.Flush {
		mark = " (flush)"
	}
	name, typ, data := plainName(rec.Name), dns.Type(rec.Type).String(), rdata(rec)
	text := fmt.Sprintf("%s %d %s %s%s from %v on %s", name, rec.TTL, typ, data, mark, from, ifi)
	return p.event("record", strings.ReplaceAll(text, "\t", " "),
		"name", wireText(name), "type", typ, "ttl", rec.TTL, "data", wireText(data),
		"cache_flush", rec.Flush, "from", addressText(from), "interface", ifi)
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
