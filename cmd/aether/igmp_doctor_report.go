package main

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/igmp/doctor"
)

// report prints a verdict and findings for each interface and family, and ends with
// the status of the worst.
func (d *igmpExamining) report(names []string, monitors []*igmp.Monitor) error {
	for i, m := range monitors {
		for _, six := range d.families {
			g := d.withProof(doctor.Examine(m, six))
			d.status[g.Verdict]++
			if err := d.diagnosis(names[i], six, m, g); err != nil {
				return err
			}
		}
	}
	switch {
	case d.status[doctor.Unhealthy] > 0:
		return &statusError{int(doctor.Unhealthy), errQuiet}
	case d.status[doctor.Unknown] > 0:
		return &statusError{int(doctor.Unknown), errQuiet}
	}
	return nil
}

// withProof adds what the proof has shown. Where a switch floods although nobody
// asks, members will not be cut off.
func (d *igmpExamining) withProof(g doctor.Diagnosis) doctor.Diagnosis {
	if d.trouble != nil {
		g.Findings = append([]doctor.Finding{{
			Severity: doctor.Warning, Rule: doctor.Switch, Text: "no proof was made: " + d.trouble.Error(),
			Evidence: "the peer", Cure: "run aether igmp doctor --serve on the peer, and let UDP port 4329 through",
		}}, g.Findings...)
		if g.Verdict == doctor.Healthy {
			g.Verdict = doctor.Unknown
		}
	}
	if d.proof == nil {
		return g
	}
	f := d.proof.Finding()
	g.Findings = append([]doctor.Finding{f}, g.Findings...)
	if d.proof.Kind() == doctor.Floods {
		for i := range g.Findings {
			if x := &g.Findings[i]; x.Rule == doctor.NoQuerier && x.Severity == doctor.Broken {
				x.Severity = doctor.Warning
				x.Text += " (the switch between here and the peer floods, so that nobody behind it is cut off)"
			}
		}
	}
	g.Verdict = doctor.Judge(g)
	if d.proof.Kind() == doctor.Unclear && g.Verdict == doctor.Healthy {
		g.Verdict = doctor.Unknown
	}
	return g
}

func (d *igmpExamining) diagnosis(ifi string, six bool, m *igmp.Monitor, g doctor.Diagnosis) error {
	family, protocol := "ipv4", "IGMP"
	if six {
		family, protocol = "ipv6", "MLD"
	}
	text := fmt.Sprintf("%s: %v", protocol, g.Verdict)
	if ifi != "" {
		text = ifi + " " + text
	}
	q := g.Querier.Querier
	st := m.Stats()
	kv := []any{
		"verdict", g.Verdict.String(), "exit_status", int(g.Verdict), "interface", ifi, "family", family,
		"querier", addressText(g.Querier.Addr), "listened", g.Listened.Seconds(),
		"general_queries", st.GeneralQueries, "group_queries", st.GroupQueries, "members", len(m.Members()), "malformed", st.Malformed,
	}
	if g.Querier.Addr.IsValid() {
		kv = append(kv, "version", q.Version, "interval", q.Interval.Seconds(), "max_response", q.MaxResponse.Seconds(),
			"robustness", q.Robustness, "membership_interval", q.Membership().Seconds())
	}
	if !g.Cliff.IsZero() {
		kv = append(kv, "cliff", g.Cliff.Format(time.RFC3339Nano))
	}
	if d.proof != nil {
		kv = append(kv, "switch", d.proof.Kind().String(), "proof_seconds", d.proof.Took.Seconds())
	}
	if err := d.out.event("verdict", text, kv...); err != nil {
		return err
	}
	for _, f := range g.Findings {
		text := fmt.Sprintf("  %-7v  %s: %s\n           heard: %s", f.Severity, f.Rule, f.Text, f.Evidence)
		if f.Cure != "" {
			text += "\n           cure:  " + f.Cure
		}
		err := d.out.event("finding", text, "severity", f.Severity.String(), "rule", string(f.Rule), "text", f.Text,
			"evidence", f.Evidence, "cure", f.Cure, "host", addressText(f.Host), "group", addressText(f.Group), "interface", ifi, "family", family)
		if err != nil {
			return err
		}
	}
	return nil
}
