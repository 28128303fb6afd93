package igmp

// recordLen is how many bytes a record of n sources takes.
func (f Family) recordLen(n int) int { return recordHead + f.addrLen()*(1+n) }

func (f Family) addrLen() int {
	if f == IPv6 {
		return 16
	}
	return 4
}

// sendRecords sends reports of version 3, as few as the MTU allows (RFC 9776
// section 4.2.16).
func (h *Host) sendRecords(records []Record) {
	f := h.cfg.Family
	room := h.cfg.MTU - f.headerLen() - short4
	var batch []Record
	used := 0
	flush := func() {
		if len(batch) > 0 {
			h.send(f.AllReports(), &Report{Version: V3, Records: batch})
		}
		batch, used = nil, 0
	}
	for _, r := range records {
		for _, part := range f.split(r, room) {
			n := f.recordLen(len(part.Sources))
			if used+n > room {
				flush()
			}
			batch, used = append(batch, part), used+n
		}
	}
	flush()
}

// split cuts a record into such as fit into room bytes. Of those to exclude
// sources only one may be sent, since the next would undo it: what does not fit
// is left out, and then not excluded.
func (f Family) split(r Record, room int) []Record {
	most := (room - f.recordLen(0)) / f.addrLen()
	if len(r.Sources) <= most {
		return []Record{r}
	}
	var parts []Record
	for rest := r.Sources; len(rest) > 0; rest = rest[min(most, len(rest)):] {
		part := r
		part.Sources = rest[:min(most, len(rest))]
		parts = append(parts, part)
		if r.Type == ModeIsExclude || r.Type == ChangeToExclude {
			break
		}
	}
	return parts
}
