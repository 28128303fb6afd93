package topics

// mutation is a planted mistake. Only tests make engines with one; it is how the
// simulation is shown to find mistakes.
type mutation int

// The mistakes.
const (
	_ mutation = iota // none
	// forgetAnswers: a request that comes again is handled again.
	forgetAnswers
	// commitAlone: the root does not wait for its mirrors.
	commitAlone
	// forgetSeen: messages are not known by their ID.
	forgetSeen
	// keepToItself: a root that is none any more hands nothing over.
	keepToItself
	// ignoreSeen: positions of a root beside this one are not noticed.
	ignoreSeen
	// sendOnce: what is lost is not sent again.
	sendOnce
	// takeAnything: a child takes what comes, whatever was lost before it.
	takeAnything
	// staySmall: what a child lacks is not fetched for it.
	staySmall
	// anyAck: an Ack counts whatever search for a place it is of.
	anyAck
	// manyChildren: no child is ever sent on.
	manyChildren
)
