package conform

// Check is one thing that a responder should do right.
type Check struct {
	// Name is one word with hyphens: "known-answer".
	Name string
	// Title says what is checked, in a few words.
	Title string
	// Section is where it is asked for.
	Section string

	instance bool // needs an instance of a service
	restart  bool // needs the target to be restarted
	unicast  bool // needs unicast answers
	run      func(*Tester, *report)
}

// NeedsRestart reports whether the check has the target restarted.
func (c Check) NeedsRestart() bool { return c.restart }

// Checks returns all checks in the order in which they disturb the target more and more.
func Checks() []Check {
	return []Check{
		{Name: "unique-reply", Title: "answers for its unique record at once", Section: "RFC 6762 section 6", run: (*Tester).uniqueReply},
		{Name: "any", Title: "type ANY is answered with all records of the name", Section: "RFC 6762 section 6.5", run: (*Tester).anyType},
		{Name: "case", Title: "names are the same in upper and lower case", Section: "RFC 6762 section 16", run: (*Tester).upperCase},
		{Name: "negative", Title: "NSEC for a type that its name does not have", Section: "RFC 6762 section 6.1", run: (*Tester).negative},
		{Name: "foreign-name", Title: "does not answer for names of others", Section: "RFC 6762 section 6", run: (*Tester).foreignName},
		{Name: "shared-delay", Title: "answers with shared records after 20 to 120 ms at random", Section: "RFC 6762 section 6", instance: true, run: (*Tester).sharedDelay},
		{Name: "several-questions", Title: "all questions of a query are answered", Section: "RFC 6762 sections 5.3, 6.3", instance: true, run: (*Tester).severalQuestions},
		{Name: "additional", Title: "sends what will be asked for next", Section: "RFC 6763 section 12", instance: true, run: (*Tester).additional},
		{Name: "types", Title: "lists its service type", Section: "RFC 6763 section 9", instance: true, run: (*Tester).serviceTypes},
		{Name: "known-answer", Title: "is silent when the answer is known, if its TTL is at least half", Section: "RFC 6762 section 7.1", instance: true, run: (*Tester).knownAnswer},
		{Name: "known-answer-packets", Title: "waits for known answers in further packets", Section: "RFC 6762 section 7.2", instance: true, run: (*Tester).knownAnswerPackets},
		{Name: "rate", Title: "multicasts a record at most once a second", Section: "RFC 6762 section 6", instance: true, run: (*Tester).rate},
		{Name: "aggregation", Title: "gathers answers in one packet", Section: "RFC 6762 section 6.4", instance: true, run: (*Tester).aggregation},
		{Name: "legacy", Title: "answers plain DNS resolvers as they expect", Section: "RFC 6762 section 6.7", run: (*Tester).legacy},
		{Name: "unicast-answer", Title: "answers QU questions by unicast", Section: "RFC 6762 section 5.4", unicast: true, run: (*Tester).unicastAnswer},
		{Name: "unicast-query", Title: "answers queries that come by unicast", Section: "RFC 6762 section 5.5", unicast: true, run: (*Tester).unicastQuery},
		{Name: "malformed", Title: "survives packets that are none", Section: "RFC 6762 section 18", run: (*Tester).malformed},
		{Name: "idle", Title: "is silent when nothing is asked", Section: "RFC 6762 section 8.3", run: (*Tester).idle},
		{Name: "probing", Title: "probes, announces and says goodbye", Section: "RFC 6762 sections 8.1, 8.3, 10.1", restart: true, run: (*Tester).probing},
		{Name: "tie-break-won", Title: "goes on when it wins against another prober", Section: "RFC 6762 section 8.2", restart: true, run: (*Tester).tieBreakWon},
		{Name: "tie-break-lost", Title: "waits a second and keeps its name when it loses", Section: "RFC 6762 section 8.2", restart: true, run: (*Tester).tieBreakLost},
		{Name: "denied", Title: "takes another name when its own is taken", Section: "RFC 6762 sections 8.1, 9", restart: true, run: (*Tester).denied},
		{Name: "conflict", Title: "probes again after a conflict", Section: "RFC 6762 section 9", run: (*Tester).conflict},
		{Name: "probe-rate", Title: "slows down after fifteen conflicts", Section: "RFC 6762 section 8.1", restart: true, run: (*Tester).probeRate},
	}
}
