package topics

// The fields of each message: their numbers stand for ever, and a number that is
// given up is not given again.

func (Request) kind() kind  { return kindRequest }
func (Reply) kind() kind    { return kindReply }
func (Attach) kind() kind   { return kindAttach }
func (Attached) kind() kind { return kindAttached }
func (Redirect) kind() kind { return kindRedirect }
func (Detach) kind() kind   { return kindDetach }
func (Forward) kind() kind  { return kindForward }
func (Ack) kind() kind      { return kindAck }
func (Offer) kind() kind    { return kindOffer }
func (Outcome) kind() kind  { return kindOutcome }

func (m Request) write(w *writer) {
	w.uint(1, uint64(m.Kind))
	w.uint(2, m.Number)
	w.uint(3, m.Oldest)
	w.id(4, m.Key)
	w.text(5, m.Service)
	w.bytes(6, m.Payload)
	w.time(7, m.Wait)
}

func (m *Request) set(n uint64, v value) {
	switch n {
	case 1:
		x := v.uint()
		if m.Kind = Kind(x); x > uint64(ToOne) {
			v.fail()
		}
	case 2:
		m.Number = v.uint()
	case 3:
		m.Oldest = v.uint()
	case 4:
		m.Key = v.id()
	case 5:
		m.Service = v.text(MaxName)
	case 6:
		m.Payload = v.bytes(MaxPayload)
	case 7:
		m.Wait = v.time()
	}
}

func (v value) status() Status {
	x := v.uint()
	if x > uint64(Nobody) {
		v.fail()
	}
	return Status(x)
}

func (m Reply) write(w *writer) {
	w.uint(1, m.Number)
	w.uint(2, uint64(m.Status))
	w.text(3, m.Text)
	w.bytes(4, m.Payload)
	w.id(5, m.By)
	w.position(6, m.At)
	w.uint(7, m.Copies)
	w.uint(8, m.Asked)
}

func (m *Reply) set(n uint64, v value) {
	switch n {
	case 1:
		m.Number = v.uint()
	case 2:
		m.Status = v.status()
	case 3:
		m.Text = v.text(MaxText)
	case 4:
		m.Payload = v.bytes(MaxPayload)
	case 5:
		m.By = v.id()
	case 6:
		m.At = v.position()
	case 7:
		m.Copies = v.uint()
	case 8:
		m.Asked = v.uint()
	}
}

func (m Attach) write(w *writer) {
	w.text(1, m.Topic)
	w.position(2, m.At)
	w.bool(3, m.Fresh)
	w.uint(4, m.Nodes)
	w.bool(5, m.Moved)
	w.uint(6, m.Try)
	w.id(7, m.Without)
	w.position(8, m.Seen)
}

func (m *Attach) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.At = v.position()
	case 3:
		m.Fresh = v.bool()
	case 4:
		m.Nodes = v.uint()
	case 5:
		m.Moved = v.bool()
	case 6:
		m.Try = v.uint()
	case 7:
		m.Without = v.id()
	case 8:
		m.Seen = v.position()
	}
}

func (m Attached) write(w *writer) {
	w.text(1, m.Topic)
	w.position(2, m.At)
	w.position(3, m.Newest)
	w.ids(4, m.Path)
	w.bool(5, m.Wanted)
	w.position(6, m.WantAfter)
	w.uint(7, m.Total)
}

func (m *Attached) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.At = v.position()
	case 3:
		m.Newest = v.position()
	case 4:
		m.Path = v.ids(MaxPath)
	case 5:
		m.Wanted = v.bool()
	case 6:
		m.WantAfter = v.position()
	case 7:
		m.Total = v.uint()
	}
}

func (m Redirect) write(w *writer) {
	w.text(1, m.Topic)
	w.peer(2, m.To)
}

func (m *Redirect) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.To = v.peer()
	}
}

func (m Detach) write(w *writer) {
	w.text(1, m.Topic)
	w.bool(2, m.Move)
}

func (m *Detach) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.Move = v.bool()
	}
}

func (v value) role() Role {
	x := v.uint()
	if x > uint64(Heir) {
		v.fail()
	}
	return Role(x)
}

func (m Forward) write(w *writer) {
	w.text(1, m.Topic)
	w.uint(2, uint64(m.Role))
	w.position(3, m.At)
	w.position(4, m.After)
	w.bool(5, m.Missed)
	w.request(6, m.ID)
	w.bytes(7, m.Payload)
	w.time(8, m.Age)
}

func (m *Forward) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.Role = v.role()
	case 3:
		m.At = v.position()
	case 4:
		m.After = v.position()
	case 5:
		m.Missed = v.bool()
	case 6:
		m.ID = v.request()
	case 7:
		m.Payload = v.bytes(MaxPayload)
	case 8:
		m.Age = v.time()
	}
}

func (m Ack) write(w *writer) {
	w.text(1, m.Topic)
	w.uint(2, uint64(m.Role))
	w.position(3, m.At)
	w.uint(4, m.Try)
}

func (m *Ack) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.Role = v.role()
	case 3:
		m.At = v.position()
	case 4:
		m.Try = v.uint()
	}
}

func (m Offer) write(w *writer) {
	w.text(1, m.Topic)
	w.request(2, m.ID)
	w.bytes(3, m.Payload)
	w.time(4, m.Wait)
	w.bool(5, m.Again)
}

func (m *Offer) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.ID = v.request()
	case 3:
		m.Payload = v.bytes(MaxPayload)
	case 4:
		m.Wait = v.time()
	case 5:
		m.Again = v.bool()
	}
}

func (m Outcome) write(w *writer) {
	w.text(1, m.Topic)
	w.request(2, m.ID)
	w.uint(3, uint64(m.Status))
	w.bytes(4, m.Payload)
	w.text(5, m.Text)
	w.id(6, m.By)
	w.uint(7, m.Asked)
}

func (m *Outcome) set(n uint64, v value) {
	switch n {
	case 1:
		m.Topic = v.text(MaxName)
	case 2:
		m.ID = v.request()
	case 3:
		m.Status = v.status()
	case 4:
		m.Payload = v.bytes(MaxPayload)
	case 5:
		m.Text = v.text(MaxText)
	case 6:
		m.By = v.id()
	case 7:
		m.Asked = v.uint()
	}
}
