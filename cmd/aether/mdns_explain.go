package main

import (
	"time"

	"github.com/miekg/dns"

	"github.com/aether-lan/aether/mdns"
)

// explainTo returns what prints the reason of each decision to p: a line, or an
// object of type "explain". That the reader has gone away stops nobody.
func explainTo(p *printer) func(mdns.Note) {
	return func(n mdns.Note) {
		kv := []any{"interface", n.Interface, "decision", n.Kind.String(), "what", n.What}
		switch {
		case n.Record.Name != "":
			kv = append(kv, "name", wireText(plainName(n.Record.Name)), "type", dns.Type(n.Record.Type).String(),
				"ttl", n.Record.TTL, "data", wireText(rdata(n.Record)))
		case n.Question.Name != "":
			kv = append(kv, "name", wireText(plainName(n.Question.Name)), "type", dns.Type(n.Question.Type).String())
		}
		if n.Peer.IsValid() {
			kv = append(kv, "peer", n.Peer.String())
		}
		if n.Delay > 0 {
			ms := float64(n.Delay.Round(100*time.Microsecond)) / float64(time.Millisecond)
			kv = append(kv, "delay_ms", ms)
		}
		kv = append(kv, "why", n.Why)
		if n.Section != "" {
			kv = append(kv, "section", "RFC 6762 "+n.Section)
		}
		text := n.At.Format("15:04:05.000 ") + n.Interface + " " + n.String()
		if n.Section != "" {
			text = text[:len(text)-len(n.Section)-2] + "(RFC 6762 section " + n.Section + ")"
		}
		_ = p.event("explain", text, kv...)
	}
}
